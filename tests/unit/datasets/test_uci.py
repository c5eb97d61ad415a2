from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from meterpipe.core.quality import Quality
from meterpipe.datasets.clock import DayOrder
from meterpipe.datasets.loaded import ReadOptions
from meterpipe.datasets.sheet import BrokenLineError
from meterpipe.datasets.uci import read_uci

HEADER = (
    "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;"
    "Sub_metering_1;Sub_metering_2;Sub_metering_3"
)
FIRST = "16/12/2006;17:24:00;4.216;0.418;234.840;18.400;0.000;1.000;17.000"


@pytest.fixture
def read(tmp_path):
    def make(*lines: str, header: str = HEADER, **options):
        path = tmp_path / "house.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        loaded = read_uci(path, ReadOptions(**options))
        return loaded.households[0], loaded

    return make


def values(household) -> dict[str, list[float]]:
    return {c.attribute: c.value.tolist() for c in household.channels}


def utc(*fields: int) -> int:
    return int(datetime(*fields, tzinfo=UTC).timestamp() * 1000)


def test_a_row_becomes_seven_channels_at_the_utc_of_french_time(read):
    house, _ = read(FIRST)
    assert house.ts.tolist() == [utc(2006, 12, 16, 16, 24)]
    assert values(house) == {
        "ACTIVE_POWER": [4.216],
        "REACTIVE_POWER": [0.418],
        "VOLTAGE": [234.84],
        "INTENSITY": [18.4],
        "SUB_METERING_1": [0.0],
        "SUB_METERING_2": [1.0],
        "SUB_METERING_3": [17.0],
    }
    assert {(c.metric, c.interval_s) for c in house.channels} == {("ELECTRICITY", 60)}


def test_active_and_reactive_power_follow_their_names_not_their_places(read):
    header = HEADER.replace("active_power", "X").replace("reX", "active_power").replace("X", "reactive_power")
    assert header.startswith("Date;Time;Global_reactive_power;Global_active_power")
    house, _ = read("16/12/2006;17:24:00;0.418;4.216;234.840;18.400;0.000;1.000;17.000", header=header)
    assert values(house)["ACTIVE_POWER"] == [4.216]
    assert values(house)["REACTIVE_POWER"] == [0.418]


def test_question_marks_are_missing_values(read):
    house, loaded = read(FIRST, "28/4/2007;00:21:00;?;?;?;?;?;?;")
    assert len(house) == 2
    assert all(np.isnan(c.value[1]) for c in house.channels)
    assert loaded.broken == 0


def test_the_broken_line_17_is_named(read):
    lines = [f"16/12/2006;17:{minute:02d}:00;4.2;0.4;234.8;18.4;0;1;17" for minute in range(20)]
    lines[15] = lines[15].replace("234.8", "23x.8")
    with pytest.raises(
        BrokenLineError, match=r"house\.csv:17: column Voltage: found '23x\.8', expected a number \(V\)"
    ):
        read(*lines)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (FIRST.replace("16/12/2006", "31/11/2006"), "column Date: found '31/11/2006', expected a date as dd/mm/yyyy"),
        (FIRST.replace("17:24:00", "25:24:00"), "column Time: found '25:24:00', expected a time as hh:mm:ss"),
        (FIRST.replace("/2006", ""), "column Date"),
        (FIRST[:-7], "expected 9 fields separated by ';'"),
    ],
)
def test_each_kind_of_broken_line_says_what_was_expected(read, line, complaint):
    with pytest.raises(BrokenLineError) as error:
        read(FIRST, line)
    assert ":3: " in str(error.value)
    assert complaint in str(error.value)


def test_broken_lines_are_skipped_on_demand_and_counted(read):
    house, loaded = read(FIRST, FIRST.replace("4.216", "x"), FIRST.replace("17:24", "17:26"), skip_broken=True)
    assert (len(house), loaded.broken) == (2, 1)


def days(first: date, count: int, form) -> list[str]:
    return [
        f"{form(first + timedelta(days=n))};12:00:00;1;2;230;4;0;0;0" for n in range(count)
    ]  # fmt: skip


def test_swapped_days_are_put_right_and_told(read):
    lines = days(
        date(2007, 1, 20), 90, lambda d: f"{d.month}/{d.day}/{d.year}" if d.day <= 12 else f"{d.day}/{d.month}/{d.year}"
    )
    house, loaded = read(*lines)
    steps = np.diff(house.ts) / 3_600_000
    assert set(steps.tolist()) <= {23.0, 24.0}
    assert "had day and month swapped" in loaded.notes[0]


def test_month_first_throughout_is_understood(read):
    house, _ = read(*days(date(2007, 5, 1), 60, lambda d: f"{d.month}/{d.day}/{d.year}"))
    assert set(np.diff(house.ts).tolist()) == {86_400_000}
    assert house.ts[0] == utc(2007, 5, 1, 10)


def test_the_order_of_day_and_month_can_be_forced(read):
    house, _ = read("3/4/2007;12:00:00;1;2;230;4;0;0;0", day_order=DayOrder.SWAPPED)
    assert house.ts.tolist() == [utc(2007, 3, 4, 11)]


def minutes(day: str, *times: str) -> list[str]:
    return [f"{day};{t}:00;1;2;230;4;0;0;0" for t in times]


def test_the_hour_repeated_in_autumn_gives_an_unbroken_hour_more(read):
    house, _ = read(*minutes("28/10/2007", "01:30", "02:00", "02:30", "02:00", "02:30", "03:00"))
    assert np.diff(house.ts).tolist() == [1_800_000] * 5


def test_times_skipped_in_spring_are_flagged_and_told(read):
    house, loaded = read(*minutes("25/3/2007", "01:30", "02:30", "03:30"))
    assert Quality.CLOCK_INVALID in house.quality.tolist()
    assert "1 rows at local times that never existed in Europe/Paris" in loaded.notes[0]
    assert (np.diff(house.ts) >= 0).all()


def test_a_clock_without_summer_time_can_be_named(read):
    house, loaded = read(*minutes("25/3/2007", "01:30", "02:30", "03:30"), zone="Etc/GMT-1")
    assert np.diff(house.ts).tolist() == [3_600_000] * 2
    assert loaded.notes == ()


def test_repeated_rows_stay_repeated(read):
    house, _ = read(FIRST, FIRST)
    assert len(house) == 2
