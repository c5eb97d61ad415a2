"""What is remembered of a cluster between commands: one JSON file in its state folder, and /proc."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cluster.layout import Cluster

FILE = "cluster.json"
GLOBAL_SYSCTLS = (  # kubelet sets these for the whole machine; `down` puts them back
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


@dataclass(frozen=True)
class Process:
    """A process that is still the same one: pids come back, start times (clock ticks since boot) do not."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Tell whether the process is there and not just waiting to be collected."""
        return _started(self.pid) == self.started

    @staticmethod
    def of(pid: int) -> "Process":
        """Take a note of a running process."""
        return Process(pid, _started(pid) or 0)


@dataclass(frozen=True)
class Record:
    """A cluster's name and network, its two outermost processes, and the machine's sysctls before it."""

    name: str
    network: str
    unshare: Process | None = None  # made the namespaces and waits; child of nobody
    init: Process | None = None  # process 1 inside
    sysctls: dict[str, str] = field(default_factory=dict)

    def save(self, state: Path) -> None:
        """Write it to the state folder."""
        draft = state / f".{FILE}"
        draft.write_text(json.dumps(asdict(self), indent=1))
        draft.rename(state / FILE)


def read_record(state: Path) -> Record | None:
    """Read the record of a state folder, None when there is none."""
    try:
        data = json.loads((state / FILE).read_text())
    except FileNotFoundError:
        return None
    for key in ("unshare", "init"):
        if data[key] is not None:
            data[key] = Process(**data[key])
    return Record(**data)


def read_cluster(state: Path) -> Cluster:
    """Read the cluster whose state folder this is."""
    record = read_record(state)
    if record is None:
        raise FileNotFoundError(state / FILE)
    return Cluster(record.name, record.network, state)


def sysctls() -> dict[str, str]:
    """Read the machine's values of GLOBAL_SYSCTLS."""
    paths = {name: Path("/proc/sys") / name for name in GLOBAL_SYSCTLS}
    return {name: path.read_text().strip() for name, path in paths.items() if path.exists()}


def restore(values: dict[str, str]) -> None:
    """Write back what differs from the given values."""
    for name, value in values.items():
        path = Path("/proc/sys") / name
        if path.read_text().strip() != value:
            path.write_text(value)


def processes_in_namespace_of(pid: int) -> list[int]:
    """List the processes that share a pid namespace with the given one, as seen from the machine."""
    try:
        wanted = os.readlink(f"/proc/{pid}/ns/pid")
    except FileNotFoundError:
        return []
    return [int(p.parent.name) for p in Path("/proc").glob("[0-9]*/ns") if _readlink(p / "pid") == wanted]


def _readlink(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])
