"""The operator as a process of this machine, for tests that kill and restart it."""

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kube import Kube, eventually

IMAGE = "localhost/operator-stub:test"


@dataclass
class Operator:
    """An operator of one namespace, run beside the cluster."""

    kube: Kube
    log: Path
    more: Sequence[str] = ()
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.port = free_port()
        words = ["--namespace", self.kube.namespace, "--image", IMAGE, "--pull-policy", "Never", *self.more]
        words += ["--port", str(self.port), "--kubeconfig", str(self.kube.kubeconfig)]
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "meterpipe.cli.main", "operator", *words]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        eventually(self.is_ready, bool, 60)

    def is_ready(self) -> bool:
        """Whether it answers so."""
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.ask("ready").startswith("ready")
        except OSError:
            return False

    def kill(self) -> None:
        """End it without warning."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def stop(self) -> int:
        """End it as a kubelet would, and return its exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(30)
        self.process = None
        return code

    def ask(self, path: str) -> str:
        """What it answers at its port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def metric(self, name: str) -> float:
        """One of its metrics."""
        lines = [line for line in self.ask("metrics").splitlines() if line.startswith(f"{name} ")]
        return float(lines[0].rpartition(" ")[2])

    @property
    def writes(self) -> float:
        """How often it has written to the API server."""
        return self.metric("meterpipe_operator_writes")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
