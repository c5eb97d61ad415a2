"""The loop: steps until told to stop, finishes, accounts for its time, and says when it is well."""

import logging
import signal
import threading
from collections.abc import Callable

import pytest
from meterpipe.worker.frame import Health, Stop, Stopped, run, stop_on_signals
from meterpipe.worker.telemetry import Memory, Metric, Waiting


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """A worker that does what each step of its script says, then asks to stop."""

    kind = "scripted"

    def __init__(self, *script: Callable[[], int]) -> None:
        self.script = list(script)
        self.stop = threading.Event()
        self.closed = 0
        self.is_ready = True

    def step(self) -> int:
        taken = self.script.pop(0)()
        if not self.script:
            self.stop.set()
        return taken

    def close(self) -> None:
        self.closed += 1

    def ready(self) -> bool:
        return self.is_ready


class Bench:
    """A telemetry, a clock and a health that belong together."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.telemetry = Memory()
        self.telemetry.waiting = Waiting(self.clock, lambda: 0.0)
        self.health = Health(self.clock, stale_after=10)

    def busy(self, seconds: float, taken: int = 0) -> Callable[[], int]:
        def step() -> int:
            self.clock.now += seconds
            return taken

        return step

    def waiting(self, seconds: float, then_busy: float = 0.0, taken: int = 0) -> Callable[[], int]:
        def step() -> int:
            with self.telemetry.waiting:
                self.clock.now += seconds
            self.clock.now += then_busy
            return taken

        return step

    def run(self, worker: Scripted) -> int:
        return run(worker, self.telemetry, worker.stop, self.health, self.clock)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def fail() -> int:
    raise RuntimeError("the disk is gone")


def test_a_worker_told_to_stop_finishes_its_step_and_is_closed_once(bench: Bench):
    worker = Scripted(bench.busy(1), bench.busy(1))
    assert bench.run(worker) == 0
    assert (worker.script, worker.closed) == ([], 1)


def test_a_worker_told_to_stop_before_its_first_step_is_closed_without_one(bench: Bench):
    worker = Scripted(fail)
    worker.stop.set()
    assert bench.run(worker) == 0
    assert worker.closed == 1


def test_messages_taken_in_are_counted(bench: Bench):
    bench.run(Scripted(bench.busy(1, taken=5), bench.busy(1, taken=0), bench.busy(1, taken=7)))
    assert bench.telemetry.value(Metric.RECORDS) == 12


def test_waiting_is_no_busy_time(bench: Bench):
    bench.run(Scripted(bench.waiting(3), bench.busy(2), bench.waiting(5, then_busy=0.5)))
    assert bench.telemetry.value(Metric.BUSY) == pytest.approx(2.5)


def test_a_crash_is_logged_with_its_trace_and_exit_code_1(bench: Bench, caplog: pytest.LogCaptureFixture):
    worker = Scripted(bench.busy(1), fail)
    assert bench.run(worker) == 1
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "the disk is gone" in (record.exc_text or "")
    assert "scripted crashed" in record.getMessage()


def test_a_crashed_worker_is_not_closed_because_closing_commits(bench: Bench):
    worker = Scripted(fail)
    bench.run(worker)
    assert worker.closed == 0


def test_a_worker_that_fails_to_finish_has_crashed(bench: Bench):
    class Clumsy(Scripted):
        def close(self) -> None:
            fail()

    assert bench.run(Clumsy(bench.busy(1))) == 1


def test_a_worker_is_live_while_starting_however_long(bench: Bench):
    bench.clock.now += 1000
    assert bench.health.live()
    assert not bench.health.ready()


def test_a_loop_that_hangs_is_not_live(bench: Bench):
    seen = []

    def hang() -> int:
        bench.clock.now += 10
        seen.append(bench.health.live())
        bench.clock.now += 1
        seen.append(bench.health.live())
        return 0

    bench.run(Scripted(hang))
    assert seen == [True, False]


def test_a_hanging_loop_is_not_ready_either(bench: Bench):
    bench.health.stepped()
    bench.health.set_ready(True)
    bench.clock.now += 11
    assert not bench.health.ready()


def test_readiness_is_what_the_worker_says_asked_once_a_second(bench: Bench):
    asked = []

    class Counting(Scripted):
        def ready(self) -> bool:
            asked.append(bench.clock.now)
            return True

    bench.run(Counting(*[bench.busy(0.4) for _ in range(10)]))
    assert len(asked) == 4


def test_a_worker_that_is_not_ready_is_live(bench: Bench):
    worker = Scripted(bench.busy(1), bench.busy(1))
    worker.is_ready = False
    states = []
    worker.script.insert(1, lambda: states.append((bench.health.live(), bench.health.ready())) or 0)
    bench.run(worker)
    assert states == [(True, False)]


def test_a_stopped_worker_is_not_ready(bench: Bench):
    bench.run(Scripted(bench.busy(1)))
    assert not bench.health.ready()


def test_a_signal_asks_the_loop_to_stop():
    stop = Stop()
    stop.looping = True
    stop.on_signal(signal.SIGTERM)
    assert stop.event.is_set()


def test_a_signal_before_the_loop_runs_ends_at_once():
    with pytest.raises(Stopped):
        Stop().on_signal(signal.SIGTERM)


def test_a_second_interrupt_ends_at_once():
    stop = Stop()
    stop.looping = True
    stop.on_signal(signal.SIGINT)
    with pytest.raises(Stopped):
        stop.on_signal(signal.SIGINT)


def test_a_terminal_and_a_supervisor_may_both_ask_to_stop():
    stop = Stop()
    stop.looping = True
    stop.on_signal(signal.SIGINT)
    stop.on_signal(signal.SIGTERM)
    stop.on_signal(signal.SIGTERM)
    assert stop.event.is_set()


def test_real_signals_reach_the_loop_and_handlers_are_put_back(bench: Bench):
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        worker = Scripted(bench.busy(1), lambda: signal.raise_signal(signal.SIGTERM) or 0, fail)
        stop.looping = True
        assert run(worker, bench.telemetry, stop.event, bench.health, bench.clock) == 0
    assert signal.getsignal(signal.SIGTERM) == before
    assert worker.closed == 1


def test_a_second_interrupt_gets_out_of_a_hanging_close(bench: Bench):
    class Hanging(Scripted):
        def close(self) -> None:
            signal.raise_signal(signal.SIGINT)
            pytest.fail("still there")

    with stop_on_signals() as stop:
        stop.looping = True
        worker = Hanging(lambda: signal.raise_signal(signal.SIGINT) or 0, fail)
        with pytest.raises(Stopped):
            run(worker, bench.telemetry, stop.event, bench.health, bench.clock)
