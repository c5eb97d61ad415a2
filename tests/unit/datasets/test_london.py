from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from meterpipe.datasets.loaded import ReadOptions
from meterpipe.datasets.london import read_london
from meterpipe.datasets.sheet import BrokenLineError

TRIAL = "LCLid,stdorToU,DateTime,KWH/hh (per half hour) \n"


@pytest.fixture
def file(tmp_path):
    def make(text: str, name: str = "block_0.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return make


def utc(*fields: int) -> int:
    return int(datetime(*fields, tzinfo=UTC).timestamp() * 1000)


def test_a_file_of_the_trial_gives_its_households_each_in_time_order(file):
    text = TRIAL + (
        "MAC000003,Std,2012-07-01 00:30:00.0000000, 0.2 \n"
        "MAC000002,Std,2012-07-01 00:00:00.0000000, 0.1 \n"
        "MAC000003,Std,2012-07-01 00:00:00.0000000, 0.3 \n"
    )
    loaded = read_london(file(text.replace(", 0", ",0").replace(" \nMAC", "\nMAC")), ReadOptions())
    assert [(h.meter, h.channels[0].value.tolist()) for h in loaded.households] == [
        ("MAC000003", [0.3, 0.2]),
        ("MAC000002", [0.1]),
    ]
    channel = loaded.households[0].channels[0]
    assert (channel.metric, channel.attribute, channel.interval_s) == ("ELECTRICITY", "ACTIVE_ENERGY", 1800)


def test_times_are_utc_all_year(file):
    loaded = read_london(file("start,value\n2013-01-15 12:00:00,1\n2013-07-15 12:00:00,1\n"), ReadOptions())
    assert loaded.households[0].ts.tolist() == [utc(2013, 1, 15, 12), utc(2013, 7, 15, 12)]


def test_null_is_a_missing_value(file):
    loaded = read_london(file(TRIAL + "MAC1,Std,2012-07-01 00:30:00.0000000,Null\n"), ReadOptions())
    assert np.isnan(loaded.households[0].channels[0].value).tolist() == [True]


def test_spaces_around_the_trial_s_numbers_are_no_error(file):
    loaded = read_london(file(TRIAL + "MAC1,Std,2012-07-01 00:30:00.0000000, 0.25 \n"), ReadOptions())
    assert loaded.households[0].channels[0].value.tolist() == [0.25]


def test_duplicates_and_gaps_stay_in(file):
    text = "start,value\n2013-07-26 00:00:00,0.17\n2013-07-26 00:00:00,0.17\n2013-07-26 01:00:00,0.2\n"
    assert np.diff(read_london(file(text), ReadOptions()).households[0].ts).tolist() == [0, 3_600_000]


def test_a_single_household_is_called_after_its_file_or_as_told(file):
    path = file("start,value\n2013-07-26 00:00:00,0.17\n", "MAC000002.csv")
    assert read_london(path, ReadOptions()).households[0].meter == "MAC000002"
    assert read_london(path, ReadOptions(meter="m")).households[0].meter == "m"


def test_swapped_days_are_put_right(file):
    days = [date(2012, 2, 20) + timedelta(days=n) for n in range(400)]
    written = sorted((d.year, d.day, d.month) if d.day <= 12 else (d.year, d.month, d.day) for d in days)
    text = "start,value\n" + "".join(f"{y:04d}-{m:02d}-{d:02d} 00:00:00,1\n" for y, m, d in written)
    loaded = read_london(file(text), ReadOptions())
    assert loaded.households[0].ts[0] == utc(2012, 2, 20)
    assert set(np.diff(loaded.households[0].ts).tolist()) == {86_400_000}
    assert "had day and month swapped" in loaded.notes[0]


@pytest.mark.parametrize("stamp", ["2013-02-30 00:00:00", "2013-07-26", "26/07/2013 00:00:00", "2013-07-26 24:00:00"])
def test_a_time_that_is_none_names_line_and_form(file, stamp):
    path = file(f"start,value\n2013-07-25 00:00:00,1\n{stamp},1\n")
    with pytest.raises(BrokenLineError, match=r":3: column start: found .*expected a time as yyyy-mm-dd hh:mm:ss"):
        read_london(path, ReadOptions())


def test_a_row_without_a_household_is_broken(file):
    with pytest.raises(BrokenLineError, match="column LCLid"):
        read_london(file(TRIAL + ",Std,2012-07-01 00:30:00.0000000,1\n"), ReadOptions())
