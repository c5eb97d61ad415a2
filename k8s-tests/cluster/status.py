"""What a cluster is doing, for people and for programs."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.layout import Cluster
from cluster.lifecycle import kubectl_of, loaded_images
from cluster.record import read_record
from cluster.shell import run


@dataclass(frozen=True)
class Status:
    """``programs``: name to its pid inside the namespaces (None while it is down) and its starts so far."""

    name: str
    up: bool = False
    node_ready: bool = False
    network: str = ""
    kubeconfig: str = ""
    logs: str = ""
    programs: dict[str, dict[str, int | None]] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    def as_text(self) -> str:
        """Return it as lines for people."""
        if not self.up:
            return f"cluster {self.name} is not up"
        node = "Ready" if self.node_ready else "not Ready"
        lines = [f"cluster {self.name} is up, node {node}"]
        lines += [f"network     {self.network}", f"kubeconfig  {self.kubeconfig}", f"logs        {self.logs}"]
        for name, state in self.programs.items():
            starts = state["starts"] or 0
            shown = f"pid {state['pid']}" if state["pid"] else "down, starts again in a second"
            lines.append(f"  {name:24} {shown}{f', started {starts} times' if starts > 1 else ''}")
        return "\n".join([*lines, "images", *(f"  {name}" for name in self.images)])


def read(states: Path, name: str) -> Status:
    """Look at a cluster; asking one that is not there is no error."""
    record = read_record(states / name)
    if record is None or record.init is None or not record.init.alive:
        return Status(name)
    cluster = Cluster(name, record.network, states / name)
    try:
        listed = loaded_images(record.init)
    except ClusterError:
        listed = []
    return Status(
        name,
        up=True,
        node_ready=_node_ready(cluster),
        network=f"{record.network}.0.0/16",
        kubeconfig=str(cluster.kubeconfig),
        logs=str(cluster.logs),
        programs=_programs(cluster),
        images=listed,
    )


def _node_ready(cluster: Cluster) -> bool:
    ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    try:
        return run(*kubectl_of(cluster), "get", "node", cluster.node, "-o", ready, timeout=5) == "True"
    except ClusterError:
        return False


def _programs(cluster: Cluster) -> dict[str, dict[str, int | None]]:
    try:
        found: dict[str, dict[str, int | None]] = json.loads((cluster.state / "programs.json").read_text())
    except FileNotFoundError:
        return {}
    return found
