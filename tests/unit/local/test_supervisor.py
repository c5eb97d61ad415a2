"""The supervisor, on real short-lived processes and a clock that is told what time it is."""

import os
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.local import process
from meterpipe.local.errors import LocalError
from meterpipe.local.paths import DataDir
from meterpipe.local.process import Command
from meterpipe.local.supervisor import LONGEST_DELAY, Supervisor, delay


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def data(tmp_path):
    return DataDir(tmp_path).create()


def python(name: str, code: str) -> Command:
    return Command(name, (sys.executable, "-S", "-c", code))


def ended(supervisor: Supervisor, name: str) -> None:
    """Wait until the process has ended by itself."""
    child = supervisor.jobs[name].child
    assert child is not None
    child.wait()


def alive(data: DataDir, name: str, timeout: float = 120) -> process.Running:
    deadline = time.monotonic() + timeout
    while not (found := process.find(data, name)):
        assert time.monotonic() < deadline
    return found


@given(st.integers(1, 1000))
def test_the_delay_grows_with_every_failure_up_to_a_bound(failures):
    assert 0 < delay(failures) <= delay(failures + 1) <= LONGEST_DELAY


def test_a_crashed_worker_is_started_again_but_not_before_its_delay_is_over(data):
    clock = Clock()
    supervisor = Supervisor(data, [python("w-0", "raise SystemExit(7)")], clock)
    assert supervisor.tick() == []
    ended(supervisor, "w-0")
    (line,) = supervisor.tick()
    assert "w-0 ended with exit code 7; starting it again in 0.5 s" in line
    assert supervisor.tick() == []
    assert supervisor.jobs["w-0"].child is None
    clock.now += 0.6
    supervisor.tick()
    assert supervisor.jobs["w-0"].child is not None
    ended(supervisor, "w-0")
    assert "in 1.0 s" in supervisor.tick()[0]


def test_a_worker_that_ran_long_is_forgiven_its_earlier_crashes(data):
    clock = Clock()
    supervisor = Supervisor(data, [python("w-0", "raise SystemExit(7)")], clock)
    for _ in range(4):
        supervisor.tick()
        ended(supervisor, "w-0")
        supervisor.tick()
        clock.now += 31
    assert supervisor.jobs["w-0"].failures == 4
    supervisor.tick()
    ended(supervisor, "w-0")
    clock.now += 61
    assert "in 0.5 s" in supervisor.tick()[0]


def test_a_wrong_configuration_is_no_reason_to_try_again(data):
    supervisor = Supervisor(data, [python("w-0", "print('field x is wrong', flush=True); raise SystemExit(2)")])
    supervisor.tick()
    ended(supervisor, "w-0")
    with pytest.raises(LocalError, match="field x is wrong"):
        supervisor.tick()


def test_stopping_asks_first_and_kills_who_does_not_listen(data):
    polite = "import time; print('up', flush=True); time.sleep(60)"
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {polite}"
    supervisor = Supervisor(data, [python("polite-0", polite), python("deaf-0", deaf)])
    supervisor.tick()
    for name in supervisor.jobs:
        alive(data, name)
        while "up" not in data.log(name).read_text():
            time.sleep(0.01)
    assert supervisor.stop(patience=0.5) == ["deaf-0"]
    assert process.find_all(data) == {}


def test_a_worker_ends_with_its_supervisor_even_if_that_is_killed(data):
    code = (
        "import sys, time; from pathlib import Path; from meterpipe.local.paths import DataDir;"
        "from meterpipe.local.process import Command; from meterpipe.local.supervisor import Supervisor;"
        f"s = Supervisor(DataDir(Path({str(data.root)!r})), [Command('w-0', (sys.executable, '-c',"
        "'import time; time.sleep(600)'))]); s.tick(); time.sleep(600)"
    )
    child = process.start(Command("supervisor", (sys.executable, "-c", code)), data, tethered=False)
    worker = alive(data, "w-0")
    while "tether" in cmdline(worker.pid):  # tied to its parent before it becomes the command
        time.sleep(0.01)
    os.kill(child.pid, 9)
    child.wait()
    assert worker.wait(120)


def cmdline(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read()
