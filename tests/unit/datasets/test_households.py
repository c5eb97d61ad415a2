from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.readings import READING_SCHEMA
from meterpipe.datasets.households import Channel, Household, Selection, count_readings, meters_of, replay

DAY = 86_400_000


def house(meter: str, ts: list[int], *values: list[float], attributes: tuple[str, ...] = ("A", "B")) -> Household:
    channels = tuple(Channel("M", a, 60, np.array(v, float)) for a, v in zip(attributes, values, strict=False))
    return Household(meter, np.array(ts, np.int64), np.zeros(len(ts), np.uint8), channels)


def rows(batches, *names: str) -> list[tuple]:
    table = pa.Table.from_batches(list(batches))
    return list(zip(*(table.column(n).to_pylist() for n in names), strict=True))


ONE, TWO = house("one", [10, 30], [1.0, 2.0]), house("two", [20, 30], [5.0, 6.0])


def test_households_are_merged_in_time_order():
    found = rows(replay([ONE, TWO], Selection()), "ts", "meter", "value")
    assert found == [(10, "one", 1.0), (20, "two", 5.0), (30, "one", 2.0), (30, "two", 6.0)]


def test_the_batches_have_the_columns_of_a_reading():
    batch = next(replay([ONE], Selection()))
    assert batch.schema.names == READING_SCHEMA.names
    assert [f.type for f in batch.schema][3:] == [f.type for f in READING_SCHEMA][3:]


def test_further_households_are_derived_by_a_thousandth_of_their_number():
    found = rows(replay([ONE, TWO], Selection(households=5)), "ts", "meter", "value")
    assert [r for r in found if r[0] == 10] == [(10, "one", 1.0), (10, "one-2", 1.002), (10, "one-4", 1.004)]
    assert [r for r in found if r[0] == 20] == [(20, "two", 5.0), (20, "two-3", 5.003)]


def test_fewer_households_than_the_file_has_are_the_first_ones():
    assert {r[0] for r in rows(replay([ONE, TWO], Selection(households=1)), "meter")} == {"one"}


def test_missing_values_send_nothing():
    assert rows(replay([house("m", [1, 2], [float("nan"), 3.0], [4.0, 5.0])], Selection()), "ts", "attribute") == [
        (1, "B"),
        (2, "A"),
        (2, "B"),
    ]


def test_attributes_times_limit_and_shift_select():
    base = [house("m", [0, 10, 20, 30], [0.0, 1.0, 2.0, 3.0], [9.0] * 4)]
    chosen = Selection(attributes=frozenset({"A"}), since=10, until=30, day_offset=-2, limit=5)
    assert rows(replay(base, chosen), "ts", "value") == [(10 - 2 * DAY, 1.0), (20 - 2 * DAY, 2.0)]
    assert rows(replay(base, replace(chosen, limit=1)), "value") == [(1.0,)]


def test_derived_names_that_clash_with_a_real_one_are_refused():
    with pytest.raises(ValueError, match="one-2"):
        meters_of([ONE, house("one-2", [], [])], 3)


HOUSES = st.lists(
    st.lists(st.tuples(st.integers(0, 50), st.floats(0, 9) | st.just(float("nan"))), max_size=20),
    min_size=1,
    max_size=3,
)


@given(HOUSES, st.integers(1, 8), st.none() | st.integers(1, 30), st.integers(1, 12))
def test_whatever_the_batches_time_never_runs_back_and_every_reading_comes_once(data, households, limit, batch_rows):
    base = [
        house(f"h{i}", [t for t, _ in sorted(d)], [v for _, v in sorted(d)], attributes=("A",))
        for i, d in enumerate(data)
    ]
    selection = Selection(households=households, limit=limit)
    batches = list(replay(base, selection, batch_rows))
    assert sum(map(len, batches)) == count_readings(base, selection)
    assert all(len(b) for b in batches)
    found = rows(batches, "ts", "meter", "value") if batches else []
    assert [r[0] for r in found] == sorted(r[0] for r in found)
    assert found == (rows(replay(base, selection), "ts", "meter", "value") if batches else [])


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.integers(2, 50))
def test_counters_stay_monotone_in_derived_households(values, households):
    base = [house("m", list(range(len(values))), sorted(values), attributes=("SUMMATION",))]
    found = rows(replay(base, Selection(households=households)), "meter", "value")
    for meter in {m for m, _ in found}:
        own = [v for m, v in found if m == meter]
        assert own == sorted(own)
