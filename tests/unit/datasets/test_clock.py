from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from meterpipe.datasets.clock import DayOrder, clock_ms, read_days, to_utc

PARIS = ZoneInfo("Europe/Paris")
MINUTE = 60_000


def ms(*fields: int) -> int:
    return int(datetime(*fields, tzinfo=UTC).timestamp() * 1000)


def days_from(first: date, count: int) -> list[date]:
    return [first + timedelta(days=n) for n in range(count)]


def triples(days: list[date], swap: bool = False) -> list[tuple[int, int, int]]:
    """Year, month, day; with `swap` as a tool leaves them that takes dd/mm for mm/dd."""
    return [(d.year, d.day, d.month) if swap and d.day <= 12 else (d.year, d.month, d.day) for d in days]


def ordinals(days: list[date]) -> list[int]:
    return [d.toordinal() - date(1970, 1, 1).toordinal() for d in days]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"17:24:00", 62_640_000),
        (b"00:30:00.0000000", 1_800_000),
        (b"7:05", 25_500_000),
        (b"23:59:59.999", 86_399_999),
        (b"24:00:00", None),
        (b"12:60", None),
        (b"noon", None),
        (b"", None),
    ],
)
def test_a_time_of_day_is_read_or_refused(text, expected):
    assert clock_ms(text) == expected


@given(st.dates(date(2000, 1, 1), date(2030, 1, 1)), st.integers(1, 900))
def test_days_as_written_stay_as_they_are(first, count):
    days = days_from(first, count)
    assert read_days(triples(days)).days == ordinals(days)


@given(st.dates(date(2000, 1, 1), date(2030, 1, 1)), st.integers(40, 900))
def test_days_swapped_with_months_up_to_the_twelfth_are_put_right(first, count):
    days = days_from(first, count)
    written = triples(days, swap=True)
    found = read_days(written)
    assert found.days == ordinals(days)
    assert found.swapped == sum(w != t for w, t in zip(written, triples(days), strict=True))


def test_swapped_days_sorted_by_their_wrong_dates_are_put_right_too():
    days = days_from(date(2012, 2, 20), 740)
    written = sorted(triples(days, swap=True))
    assert sorted(read_days(written).days) == ordinals(days)


def test_a_file_with_month_first_throughout_is_told_by_its_days_above_twelve():
    days = days_from(date(2007, 1, 1), 60)
    assert read_days([(d.year, d.day, d.month) for d in days]).days == ordinals(days)


def test_the_one_date_that_contradicts_all_others_is_no_date():
    days = days_from(date(2007, 1, 1), 60)
    assert read_days([*triples(days), (2007, 13, 1)]).days == [*ordinals(days), None]


def test_the_user_has_the_last_word_on_the_order():
    assert read_days([(2007, 3, 4)], DayOrder.AS_WRITTEN).days == ordinals([date(2007, 3, 4)])
    assert read_days([(2007, 3, 4)], DayOrder.SWAPPED).days == ordinals([date(2007, 4, 3)])


def test_a_single_doubtful_day_is_taken_as_written():
    assert read_days([(2007, 3, 4)]).days == ordinals([date(2007, 3, 4)])


def test_days_that_do_not_exist_are_no_days():
    assert read_days([(2007, 2, 30), None, (2007, 2, 1)]).days == [None, None, *ordinals([date(2007, 2, 1)])]


def test_winter_and_summer_time_differ_by_an_hour():
    local = np.array([ms(2007, 1, 15, 12), ms(2007, 7, 15, 12)])
    assert to_utc(local, PARIS).utc.tolist() == [ms(2007, 1, 15, 11), ms(2007, 7, 15, 10)]


def test_the_hour_that_exists_twice_is_told_apart_by_the_order_of_the_file():
    local = np.array([ms(2007, 10, 28, 2, 0), ms(2007, 10, 28, 2, 30), ms(2007, 10, 28, 2, 0), ms(2007, 10, 28, 2, 30)])
    found = to_utc(local, PARIS)
    assert found.utc.tolist() == [
        ms(2007, 10, 28, 0, 0),
        ms(2007, 10, 28, 0, 30),
        ms(2007, 10, 28, 1, 0),
        ms(2007, 10, 28, 1, 30),
    ]
    assert not found.unreal.any()


def test_an_hourly_meter_reads_the_doubled_hour_twice_at_the_same_local_time():
    local = np.array([ms(2007, 10, 28, 1), ms(2007, 10, 28, 2), ms(2007, 10, 28, 2), ms(2007, 10, 28, 3)])
    assert np.diff(to_utc(local, PARIS).utc).tolist() == [60 * MINUTE] * 3


def test_a_repeated_row_in_the_doubled_hour_does_not_begin_its_second_pass():
    local = np.array([ms(2007, 10, 28, 2, 0), ms(2007, 10, 28, 2, 0), ms(2007, 10, 28, 2, 1)])
    assert np.diff(to_utc(local, PARIS).utc).tolist() == [0, MINUTE]


def test_times_that_never_existed_are_marked_and_keep_the_distance_to_what_was_before():
    local = np.array([ms(2007, 3, 25, 1, 59), ms(2007, 3, 25, 2, 0), ms(2007, 3, 25, 2, 59), ms(2007, 3, 25, 3, 0)])
    found = to_utc(local, PARIS)
    assert found.utc.tolist() == [
        ms(2007, 3, 25, 0, 59),
        ms(2007, 3, 25, 1, 0),
        ms(2007, 3, 25, 1, 59),
        ms(2007, 3, 25, 1, 0),
    ]
    assert found.unreal.tolist() == [False, True, True, False]


ZONES = st.sampled_from(
    ["Europe/Paris", "Europe/London", "America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kolkata"]
)


STARTS = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1))


@settings(max_examples=60)
@given(ZONES, STARTS, st.integers(1, 40), st.sampled_from([15, 30, 60]))
def test_a_meter_read_all_through_gets_its_true_times_back(zone, start, days, step):
    assume(zone != "Australia/Lord_Howe" or step < 60)  # of its doubled half hour one hourly reading says nothing
    first = ms(start.year, start.month, start.day)
    utc = first + np.arange(days * 1440 // step, dtype=np.int64) * step * MINUTE
    info = ZoneInfo(zone)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    local = np.array([
        u + (epoch + timedelta(milliseconds=u)).astimezone(info).utcoffset() // timedelta(milliseconds=1)
        for u in utc.tolist()
    ])  # fmt: skip
    found = to_utc(local, info)
    assert found.utc.tolist() == utc.tolist()
    assert not found.unreal.any()
