import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.notify.policy import LONGEST_S, LONGEST_WAIT_S, Answer, Pace, Verdict, backoff, retry_after

NOW = 1_767_225_600.0  # 2026-01-01


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_two_hundred_and_something_is_taken(status):
    assert Answer(status, "").verdict is Verdict.TAKEN


@pytest.mark.parametrize("status", [None, 500, 502, 503, 504, 599, 408, 429])
def test_what_may_pass_is_tried_again(status):
    assert Answer(status, "").verdict is Verdict.AGAIN


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 410, 422])
def test_what_will_not_pass_is_refused_and_redirects_are_not_followed(status):
    assert Answer(status, "").verdict is Verdict.REFUSED


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_to_a_bound_and_leave_half_to_chance(attempt, chance):
    pause = backoff(attempt, chance)
    assert backoff(attempt, 0.0) <= pause <= 2 * backoff(attempt, 0.0) <= LONGEST_S
    assert backoff(attempt, chance) <= backoff(attempt + 1, chance)


def test_the_first_pauses_double():
    assert [backoff(n, 0.0) for n in range(1, 6)] == [0.25, 0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 0 ", 0.0),
        ("999999999999999999999999", LONGEST_WAIT_S),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 00:00:30 -0000", 30.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2099 00:00:00 GMT", LONGEST_WAIT_S),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text, seconds):
    assert retry_after(text, NOW) == seconds


@given(st.text())
def test_whatever_retry_after_says_the_wait_is_bounded(text):
    wait = retry_after(text, NOW)
    assert wait is None or 0 <= wait <= LONGEST_WAIT_S


def test_a_dead_receiver_is_asked_by_one_at_a_time_at_growing_intervals():
    pace, now = Pace(16), 100.0
    pauses = []
    for _ in range(12):
        pace.failed(now, now, 0.0)
        pauses.append(max(0.0, pace.until - now))
        now = max(now, pace.until) + 0.01
    assert pace.allowed == 1
    assert pauses == pytest.approx([0.0, *(backoff(n, 0.0) for n in range(1, 12))])


def test_requests_that_were_under_way_together_fail_as_one():
    pace = Pace(16)
    for _ in range(16):
        pace.failed(100.0, 101.0, 0.0)
    assert pace.allowed == 8
    assert pace.until <= 101.0


def test_one_that_fails_beside_others_that_succeed_stops_nobody():
    pace, now = Pace(16), 100.0
    for _ in range(50):
        pace.failed(now, now, 0.9)
        for _ in range(15):
            pace.taken()
        now += 1.0
    assert pace.until <= now
    assert pace.allowed == 16


def test_what_the_receiver_asks_for_counts_if_it_is_longer():
    pace = Pace(4)
    pace.told(120.0)
    pace.told(110.0)
    assert pace.until == 120.0
