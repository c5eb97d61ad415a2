"""The idle advance: time passes for a silent partition, but never so that a live meter comes too late."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.idle import REPLAY_MS, idle_watermark

GRACE = 300_000
NOW = 1_700_000_000_000


class Clock:
    """A partition that was last heard of at `now`, with readings `behind` ms old."""

    def __init__(self, behind=0):
        self.now, self.idle = NOW, 0
        self.watermark = NOW - behind - GRACE

    def pass_by(self, ms):
        self.now += ms
        self.idle += ms
        return idle_watermark(self.watermark, self.idle, self.now, GRACE)


def test_a_silent_partition_moves_with_the_clock():
    clock = Clock()
    assert clock.pass_by(61_000) == clock.watermark + 61_000
    assert clock.pass_by(60_000) == clock.watermark + 121_000


def test_a_silent_meter_still_closes_its_window():
    clock = Clock()
    end_of_window = NOW + 60_000
    assert clock.pass_by(60_000 + GRACE - 1) < end_of_window
    assert clock.pass_by(1) == end_of_window


@pytest.mark.parametrize("behind", [0, 1, 5_000, 3_600_000])
def test_it_never_passes_what_a_live_meter_may_still_send_in_time(behind):
    clock = Clock(behind)
    for _ in range(50):
        assert clock.pass_by(250_000) <= clock.now - GRACE


def test_readings_of_the_near_future_do_not_push_it_further():
    clock = Clock(behind=-GRACE)
    assert clock.pass_by(10_000) == clock.watermark


@pytest.mark.parametrize("behind", [REPLAY_MS + 1, 10 * 365 * REPLAY_MS])
def test_a_replay_of_old_readings_is_not_moved_by_the_clock(behind):
    clock = Clock(behind)
    assert clock.pass_by(3_600_000) == clock.watermark


@given(
    watermark=st.integers(0, 2 * NOW),
    idle=st.integers(0, 10**12),
    now=st.integers(0, 2 * NOW),
    grace=st.integers(0, 10**9),
    more=st.integers(0, 10**9),
)
def test_it_never_falls_and_never_runs_faster_than_the_clock(watermark, idle, now, grace, more):
    first = idle_watermark(watermark, idle, now, grace)
    assert watermark <= first <= watermark + idle
    if now - watermark + more <= REPLAY_MS + grace:
        assert first <= idle_watermark(watermark, idle + more, now + more, grace) <= first + more
