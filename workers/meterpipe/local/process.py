"""Plain processes: started with a log and a pid file, found again by a later run, stopped in good order."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

from meterpipe.local.paths import DataDir

TETHER = Path(__file__).with_name("tether.py")


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. `env` is added to this process's environment."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Running:
    """One process of this machine. The start time tells it from a later process that got the same pid."""

    pid: int
    started: int

    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        return _stat(self.pid) == ("alive", self.started)

    def signal(self, number: Signals) -> None:
        """Send it a signal if it is still there."""
        if self.alive():
            os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, at most `seconds`; whether it has."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def stop(self, patience: float) -> bool:
        """SIGTERM, and SIGKILL after `patience` seconds. Whether it ended by itself."""
        self.signal(SIGTERM)
        if self.wait(patience):
            return True
        self.signal(SIGKILL)
        self.wait(10)
        return False


def start(command: Command, data: DataDir, *, tethered: bool) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own (Ctrl-C of the terminal does not reach it); its output is appended.

    A tethered process ends with this one, however this one ends; call from the main thread then.
    """
    argv = list(command.argv)
    if tethered:
        argv = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *argv]
    with data.log(command.name).open("ab") as log:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | dict(command.env),
            start_new_session=True,
        )
    note(data, command.name, child.pid)
    return child


def note(data: DataDir, name: str, pid: int) -> None:
    """Write the pid file of process `name`, so that another run finds it: whole or not at all."""
    state, started = _stat(pid)
    if state == "alive":
        path = data.pid(name)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(asdict(Running(pid, started))))
        part.replace(path)


def find(data: DataDir, name: str) -> Running | None:
    """The running process of this name, if any. A pid file of a process that is gone is removed."""
    path = data.pid(name)
    try:
        running = Running(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):  # not ours
        running = Running(0, 0)
    if running.alive():
        return running
    path.unlink(missing_ok=True)
    return None


def find_all(data: DataDir) -> dict[str, Running]:
    """All running processes of the data directory by name."""
    names = sorted(path.stem for path in data.pid("x").parent.glob("*.json"))
    return {name: running for name in names if (running := find(data, name))}


def log_tail(data: DataDir, name: str, lines: int = 15) -> str:
    """The last lines of a process's log, indented."""
    try:
        text = data.log(name).read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def _stat(pid: int) -> tuple[str, int]:
    """State of a pid and its start time in clock ticks since boot."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "gone", 0
    return ("zombie" if fields[0] in "ZX" else "alive"), int(fields[19])
