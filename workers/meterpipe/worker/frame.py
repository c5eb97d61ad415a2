"""The one loop of every worker: step until told to stop, then finish, commit and leave; a crash is logged and ends it.

Time is handed in; the only reach outside are the logger and the signal handlers that `stop_on_signals` installs.
"""

import gc
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from meterpipe.worker.ports import Worker
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger("meterpipe.worker")

Clock = Callable[[], float]
STALE_AFTER = 60.0
READY_EVERY = 1.0


class Health:
    """What the probes see of the loop. Written by the loop, read by the threads that answer HTTP.

    Live while starting (a worker may wait long for its services) and then as long as steps follow one another within
    `stale_after` seconds. Ready when the worker said so after its last steps.
    """

    def __init__(self, clock: Clock = time.monotonic, stale_after: float = STALE_AFTER) -> None:
        self.stale_after = stale_after
        self._clock = clock
        self._stepped: float | None = None
        self._ready = False

    def stepped(self) -> None:
        """The loop is alive."""
        self._stepped = self._clock()

    def set_ready(self, ready: bool) -> None:
        """Whether the worker can do its work."""
        self._ready = ready

    def since_step(self) -> float:
        """Seconds since the last step; 0 while starting."""
        return 0.0 if self._stepped is None else self._clock() - self._stepped

    def live(self) -> bool:
        """Whether the loop moves."""
        return self.since_step() <= self.stale_after

    def ready(self) -> bool:
        """Whether the worker is live and can do its work."""
        return self._ready and self.live()


class Stopped(BaseException):
    """Told to stop while there was nothing to finish yet. Not an Exception: no handler of errors may swallow it."""


class Stop:
    """The wish to stop. The first signal sets `event`; before the loop runs nothing needs finishing: it ends at once.

    So does a second SIGINT, the impatient Ctrl-C. A SIGTERM after another signal is the same wish again: a terminal and
    a supervisor may both send one.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.looping = False
        self._interrupted = False

    def on_signal(self, number: int, _frame: FrameType | None = None) -> None:
        """Handle SIGTERM and SIGINT."""
        name = signal.Signals(number).name
        again = number == signal.SIGINT and self._interrupted
        self._interrupted = self._interrupted or number == signal.SIGINT
        if again or not self.looping:
            log.warning("%s: leaving at once", name)
            raise Stopped(name)
        if not self.event.is_set():
            log.info("%s: finishing, committing, leaving", name)
        self.event.set()


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Within it SIGTERM and SIGINT ask the worker to stop. Main thread only."""
    stop = Stop()
    before = {number: signal.signal(number, stop.on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def settle_memory() -> None:
    """Spare the garbage collector what a worker makes by the thousand: batches hold no cycles.

    What exists now stays for good and need not be looked at again; what comes is looked at seldom.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def run(
    worker: Worker,
    telemetry: Telemetry,
    stop: threading.Event,
    health: Health | None = None,
    clock: Clock = time.monotonic,
) -> int:
    """Step `worker` until `stop` is set, then close it. Gives back the exit code of the process: 0, or 1 after a crash.

    After a crash the worker is not closed: closing commits, and what a broken worker holds must not be committed.
    """
    health = health or Health(clock)
    health.stepped()
    settle_memory()
    log.info("%s started", worker.kind)
    try:
        _loop(worker, telemetry, stop, health, clock)
        health.set_ready(False)
        worker.close()
    except Exception:
        health.set_ready(False)
        log.exception("%s crashed; nothing more is committed, another process takes over", worker.kind)
        return 1
    log.info("%s stopped", worker.kind)
    return 0


def _loop(worker: Worker, telemetry: Telemetry, stop: threading.Event, health: Health, clock: Clock) -> None:
    """Step, and account for the time of each step."""
    asked: float | None = None
    now = clock()
    while not stop.is_set():
        waited = telemetry.waiting.seconds
        taken = worker.step()
        began, now = now, clock()
        telemetry.count(Metric.BUSY, max(0.0, now - began - (telemetry.waiting.seconds - waited)))
        if taken:
            telemetry.count(Metric.RECORDS, taken)
        health.stepped()
        if asked is None or now - asked >= READY_EVERY:
            health.set_ready(worker.ready())
            asked = now
