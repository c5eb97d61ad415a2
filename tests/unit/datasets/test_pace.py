import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.datasets.pace import Pace
from meterpipe.datasets.publish import end_of_day, paced

DAY = 86_400_000


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def batch(ts: list[int]) -> pa.RecordBatch:
    return pa.record_batch([pa.array(ts, pa.int64())], names=["ts"])


def sent_at(batches: list[pa.RecordBatch], pace: Pace) -> list[tuple[float, int]]:
    clock = Clock()
    return [(clock() - 100, t) for b in paced(batches, pace, clock, clock.sleep) for t in b.column("ts").to_pylist()]


def test_a_rate_spreads_readings_evenly_over_batches():
    times = [at for at, _ in sent_at([batch(list(range(50))), batch(list(range(50, 100)))], Pace(rate=10))]
    assert times == pytest.approx([n / 10 for n in range(100)], abs=0.06)


def test_a_speedup_keeps_step_with_event_time():
    found = sent_at([batch([0, 60_000, 120_000])], Pace(speedup=60))
    assert [at for at, _ in found] == pytest.approx([0, 1, 2], abs=0.06)


def test_the_slower_of_rate_and_speedup_wins():
    found = sent_at([batch([0, 1000, 60_000])], Pace(rate=1, speedup=60))
    assert [at for at, _ in found] == pytest.approx([0, 1, 2], abs=0.06)


def test_without_a_bound_batches_pass_untouched():
    whole = [batch([1, 2]), batch([3])]
    assert [b is w for b, w in zip(paced(whole, Pace(), Clock(), lambda s: None), whole, strict=True)] == [True, True]


def test_a_late_reading_waits_for_nothing_but_its_turn():
    assert [t for _, t in sent_at([batch([60_000, 0, 60_001])], Pace(speedup=1))] == [60_000, 0, 60_001]


@given(st.lists(st.lists(st.integers(0, 10_000), max_size=20), max_size=4), st.floats(1, 1000), st.floats(0.5, 100))
def test_every_reading_comes_once_in_order_and_never_before_it_is_due(parts, rate, speedup):
    found = sent_at([batch(p) for p in parts], Pace(rate, speedup))
    flat = [t for p in parts for t in p]
    assert [t for _, t in found] == flat
    for n, (at, t) in enumerate(found):
        assert at >= max(n / rate, (t - flat[0]) / 1000 / speedup) - 0.06


@pytest.mark.parametrize("bounds", [{"rate": 0}, {"rate": -1}, {"speedup": 0}, {"rate": float("nan")}])
def test_a_bound_must_be_above_nought(bounds):
    with pytest.raises(ValueError, match="must be above 0"):
        Pace(**bounds)


@given(st.integers(-(10**12), 10**13), st.integers(0, 86_400), st.sampled_from([60, 600, 3600, 86_400]))
def test_the_end_of_the_day_and_the_grace_close_every_window_of_the_last_reading(last, grace, size):
    watermark = end_of_day(last, grace) - grace * 1000
    assert last // (size * 1000) * size * 1000 + size * 1000 <= watermark
    assert watermark - last <= DAY
    assert np.sign(watermark % DAY) == 0
