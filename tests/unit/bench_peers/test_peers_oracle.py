from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.peers.flush import STEP_MS, flush_times
from bench.peers.oracle import expected_windows, late_readings
from bench.peers.verify import compare

MINUTE = 60_000


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40 * MINUTE)), max_size=60),
    st.sampled_from([60, 600]),
)
def test_a_reading_is_late_when_its_window_closed_before_it_came(log: list[tuple[int, int]], window_s: int) -> None:
    newest: dict[int, int] = {}
    late = []
    for partition, at in log:
        end = at // (window_s * 1000) * window_s * 1000 + window_s * 1000
        late.append(partition in newest and end + 300_000 <= newest[partition])
        newest[partition] = max(newest.get(partition, at), at)
    partitions, times = (np.array([row[i] for row in log], np.int64) for i in (0, 1))
    assert late_readings(partitions, times, window_s).tolist() == late


def windows(lateness: str = "perWindow") -> pa.Table:
    """Give the windows of three readings, of which the last is late for its minute but not for its hour."""
    return expected_windows(
        ["m1", "m2", "m1"],
        np.zeros(3, np.int64),
        np.array([5 * MINUTE, 20 * MINUTE, 6 * MINUTE], np.int64),
        np.array([1.0, 2.0, 4.0]),
        lateness=lateness,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("lateness", "minutes", "hours"), [("perWindow", 2, 3), ("smallest", 2, 2), ("none", 3, 3)])
def test_a_late_reading_enters_the_windows_that_the_policy_leaves_open(lateness: str, minutes: int, hours: int) -> None:
    rows = windows(lateness).to_pylist()
    assert sum(row["count"] for row in rows if row["window_s"] == 60) == minutes
    assert sum(row["count"] for row in rows if row["window_s"] == 3600) == hours


def test_the_same_windows_in_another_order_are_all_exact() -> None:
    table = windows()
    result = compare(table.take(list(reversed(range(len(table))))), table)
    assert result.ok
    assert result.exact == result.expected == len(table)


def test_missing_repeated_changed_and_unknown_windows_are_told_apart() -> None:
    table = windows()
    assert compare(table.slice(1), table).missing == 1
    assert compare(pa.concat_tables([table, table.slice(0, 1)]), table).repeated == 1
    changed = table.set_column(6, "sum", pa.array([*table["sum"].to_pylist()[:-1], 99.0]))
    assert compare(changed, table).different == 1
    assert compare(table, table.slice(1)).unexpected == 1
    assert compare(table, table.filter(pa.compute.equal(table["meter"], "m1"))).unexpected == 4


def test_a_window_with_a_late_reading_is_right_when_the_bounds_allow_it() -> None:
    low, high = windows("smallest"), windows("none")
    assert not compare(high, low).ok
    result = compare(high, low, high)
    assert result.ok
    assert result.between > 0
    assert compare(low, low, high).ok


def test_the_flush_starts_at_the_newest_reading_and_passes_the_end_of_its_day_in_small_steps() -> None:
    times = flush_times(1_700_000_012_345)
    assert times[0] == 1_700_000_012_345
    assert times[-1] > (1_700_000_012_345 // 86_400_000 + 1) * 86_400_000 + 300_000
    assert all(0 < after - before <= STEP_MS for before, after in itertools.pairwise(times))
