import numpy as np
from meterpipe.core.quality import RANKS, Quality, rank_of


def test_a_good_reading_beats_an_estimate_and_an_estimate_beats_an_invalid_one():
    assert rank_of(0) < rank_of(Quality.ESTIMATED) < rank_of(Quality.DATA_NOT_VALID) < rank_of(Quality.CRITICAL_ERROR)


def test_summer_time_and_a_power_cut_make_no_reading_worse():
    assert rank_of(Quality.DAYLIGHT_SAVING | Quality.POWER_DOWN) == rank_of(0)


def test_the_worst_flag_decides():
    assert rank_of(Quality.CLOCK_ADJUSTED | Quality.CLOCK_INVALID) == rank_of(Quality.CLOCK_INVALID)


def test_the_table_of_ranks_is_the_function_for_every_byte():
    assert [rank_of(q) for q in range(256)] == RANKS[np.arange(256)].tolist()


def test_the_bits_are_those_of_the_dlms_status_byte():
    assert [flag.name for flag in Quality] == [
        "CRITICAL_ERROR",
        "CLOCK_INVALID",
        "DATA_NOT_VALID",
        "DAYLIGHT_SAVING",
        "ESTIMATED",
        "CLOCK_ADJUSTED",
        "RECOVERED_VALUE",
        "POWER_DOWN",
    ]
