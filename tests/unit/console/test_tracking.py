"""Time to so many results, and the delay of each window."""

from math import ceil

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.delays import Count, Delays, EventTime
from meterpipe.core.tracking import Tracker

SECOND = 1000
instants = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3)), max_size=30)


def column(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@given(instants, st.lists(st.integers(1, 5), max_size=5), st.integers(-5, 60))
def test_event_time_is_reached_by_the_first_reading_so_late_however_they_are_batched(steps, sizes, instant):
    ts = [at for at, _ in steps]
    arrived = np.cumsum([pause for _, pause in steps], dtype=np.int64).tolist()
    event_time, at = EventTime(), 0
    for size in [*sizes, len(ts)]:
        event_time.add(column(*ts[at : at + size]), column(*arrived[at : at + size]))
        at += size
    first = next((n for n, when in enumerate(ts) if when >= instant), None)
    assert event_time.reached(instant) == (arrived[first] if first else None)


@given(st.lists(st.tuples(st.integers(-5, 500), st.integers(1, 40)), min_size=1), st.integers(1, 100))
def test_percentiles_are_those_of_the_sorted_delays(groups, percent):
    delays = Delays()
    for delay, windows in groups:
        delays.add(delay, windows)
    every = sorted(max(0, delay) for delay, windows in groups for _ in range(windows))
    found = delays.percentiles([percent])
    assert found == {f"p{percent}": every[ceil(len(every) * percent / 100) - 1], "max": every[-1]}


def test_a_count_tells_when_it_reached_what_is_wanted():
    count = Count(3)
    for at in (10, 30, 20):
        count.add(2, at)
    assert (count.count, count.at, count.done) == (6, 30, True)


def followed() -> Tracker:
    """Two windows of a minute, complete by the reading 90 s after the epoch that arrived at 2 s; grace 30 s."""
    tracker = Tracker((60,), 30, {"results": 2, "rows": 2})
    tracker.add_readings(0, 1, 1, 1 * SECOND)
    tracker.add_readings(0, 2, 1, 2 * SECOND)
    tracker.add_event_times(0, column(5 * SECOND, 90 * SECOND), column(1 * SECOND, 2 * SECOND))
    tracker.add_results(60, 0, 7, 2_250, column(0, 0))
    return tracker


def test_the_delay_runs_from_the_reading_that_completes_the_window():
    summary = followed().summary()
    assert summary["windows"]["60"]["delayMs"] == {"p50": 250, "p90": 250, "p95": 250, "p99": 250, "max": 250}
    assert summary["results"] == {"count": 2, "wanted": 2, "seconds": 1.25}
    assert summary["windows"]["60"]["unexplained"] == 0


def test_rows_count_once_the_sink_has_committed_them():
    tracker = followed()
    tracker.written(60, 0, 6, 3 * SECOND)
    assert not tracker.done
    tracker.written(60, 0, 7, 4 * SECOND)
    assert tracker.done
    assert tracker.summary()["rows"]["seconds"] == 3.0
    assert tracker.summary()["windows"]["60"]["rowDelayMs"]["max"] == 2000


def test_of_rows_written_before_anybody_looked_only_the_number_is_known():
    tracker = followed()
    tracker.written(60, 0, 7, None)
    tracker.archived(0, 2, None)
    assert tracker.summary()["rows"] == {"count": 2, "wanted": 2, "seconds": None}
    assert tracker.summary()["lakeRows"]["count"] == 2
    assert tracker.summary()["windows"]["60"]["rowDelayMs"] == {}


def test_results_may_be_seen_before_the_readings_they_came_of():
    tracker = Tracker((60,), 30, {})
    tracker.add_results(60, 0, 7, 5 * SECOND, column(0))
    assert tracker.summary()["windows"]["60"]["unexplained"] == 1
    tracker.add_event_times(0, column(5 * SECOND, 90 * SECOND), column(1 * SECOND, 2 * SECOND))
    assert tracker.summary()["windows"]["60"]["delayMs"]["max"] == 3000


def test_windows_closed_by_the_clock_have_no_delay():
    tracker = Tracker((60,), 30, {})
    tracker.add_event_times(0, column(5 * SECOND), column(1 * SECOND))
    tracker.add_results(60, 0, 7, 5 * SECOND, column(0))
    assert tracker.summary()["windows"]["60"] == {
        "results": 1, "delayMs": {}, "rowDelayMs": {}, "unexplained": 1
    }  # fmt: skip
