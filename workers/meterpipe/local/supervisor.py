"""Keeps worker processes running: restarts one that ended, later each time it fails again, and stops all in the end."""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from signal import SIGTERM

from meterpipe.local import process
from meterpipe.local.errors import LocalError
from meterpipe.local.paths import DataDir
from meterpipe.local.process import Command

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
HEALTHY_AFTER = 60.0  # seconds a process has to run for its earlier failures to be forgotten
BAD_INPUT = 2  # exit code of a process whose configuration is wrong: trying again changes nothing
PATIENCE = 20.0  # seconds between SIGTERM and SIGKILL


def delay(failures: int) -> float:
    """Seconds to wait before the next start after that many failures in a row: 0.5, 1, 2, … 30."""
    return float(min(FIRST_DELAY * 2 ** min(failures - 1, 10), LONGEST_DELAY)) if failures > 0 else 0.0


@dataclass(slots=True)
class Job:
    """One worker that shall run, and what became of it so far."""

    command: Command
    child: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    failures: int = 0
    restarts: int = 0


class Supervisor:
    """Runs one process a command. `tick` often, from the main thread; then `stop`. Processes end with this one."""

    def __init__(self, data: DataDir, commands: Sequence[Command], clock: Callable[[], float] = time.monotonic) -> None:
        self._data, self._clock = data, clock
        self.jobs = {command.name: Job(command) for command in commands}

    def tick(self) -> list[str]:
        """Start what is due, notice what ended; lines that tell of it. LocalError if a process refuses its input."""
        return [line for job in self.jobs.values() if (line := self._look_after(job))]

    def stop(self, patience: float = PATIENCE) -> list[str]:
        """SIGTERM to all at once, then wait for each; names of those that had to be killed."""
        running = {name: job.child for name, job in self.jobs.items() if job.child and job.child.poll() is None}
        for child in running.values():
            child.send_signal(SIGTERM)
        deadline = time.monotonic() + patience
        killed = []
        for name, child in running.items():
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                killed.append(name)
        for name in self.jobs:
            self._data.pid(name).unlink(missing_ok=True)
        return killed

    def _look_after(self, job: Job) -> str | None:
        now = self._clock()
        if job.child is None:
            if now >= job.due:
                job.child, job.started = process.start(job.command, self._data, tethered=True), now
            return None
        code = job.child.poll()
        if code is None:
            return None
        name = job.command.name
        if code == BAD_INPUT:
            log = process.log_tail(self._data, name)
            raise LocalError(f"{name} refuses its configuration:\n{log}", f"see {self._data.log(name)}")
        job.failures = 1 if now - job.started > HEALTHY_AFTER else job.failures + 1
        job.child, job.due = None, now + delay(job.failures)
        job.restarts += 1
        ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"{name} {ended}; starting it again in {delay(job.failures):.1f} s (log: {self._data.log(name)})"
