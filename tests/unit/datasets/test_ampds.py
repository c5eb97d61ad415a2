import pytest
from meterpipe.datasets.ampds import read_ampds_gas, read_ampds_water
from meterpipe.datasets.loaded import ReadOptions
from meterpipe.datasets.sheet import BrokenLineError

HEADER = "unix_ts,counter,avg_rate,inst_rate\n"


@pytest.fixture
def file(tmp_path):
    def make(text: str):
        path = tmp_path / "Water_WHW.csv"
        path.write_text(HEADER + text)
        return path

    return make


def test_water_has_a_register_a_rate_over_the_minute_and_one_at_the_instant(file):
    loaded = read_ampds_water(file("1333263600,1.0,0.5,0.25\n1333263660,1.5,0.5,0.0\n"), ReadOptions())
    (house,) = loaded.households
    assert house.ts.tolist() == [1333263600000, 1333263660000]
    assert [(c.metric, c.attribute, c.interval_s, c.value.tolist()) for c in house.channels] == [
        ("WATER", "SUMMATION", 0, [1.0, 1.5]),
        ("WATER", "AVERAGE_RATE", 60, [0.5, 0.5]),
        ("WATER", "INSTANTANEOUS_DEMAND", 0, [0.25, 0.0]),
    ]


def test_gas_is_gas(file):
    loaded = read_ampds_gas(file("1333263600,1.0,0.5,0.25\n"), ReadOptions())
    assert {c.metric for c in loaded.households[0].channels} == {"GAS"}


@pytest.mark.parametrize("stamp", ["1333263600.5", "-1", "", "2012-04-01", "99999999999999"])
def test_a_time_that_is_no_whole_second_is_broken(file, stamp):
    with pytest.raises(BrokenLineError, match=r"Water_WHW\.csv:3: column unix_ts: found .*seconds since 1970"):
        read_ampds_water(file(f"1333263600,1,0,0\n{stamp},1,0,0\n"), ReadOptions())


def test_rows_out_of_order_are_put_in_order(file):
    loaded = read_ampds_water(file("120,2,0,0\n60,1,0,0\n"), ReadOptions())
    assert loaded.households[0].channels[0].value.tolist() == [1.0, 2.0]


def test_a_counter_that_falls_is_sent_as_it_is_and_told(file):
    loaded = read_ampds_water(file("60,5,0,0\n120,1,0,0\n180,6,0,0\n"), ReadOptions())
    assert loaded.households[0].channels[0].value.tolist() == [5.0, 1.0, 6.0]
    assert "falls 1 times" in loaded.notes[0]
