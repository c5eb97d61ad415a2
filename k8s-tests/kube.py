"""kubectl and helm for tests: words in, text or values out, and waiting that says what it saw last."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class KubeError(Exception):
    """A command failed; the text holds the command and what it printed."""


@dataclass(frozen=True)
class Kube:
    """Access to one cluster as its administrator, in one namespace unless a command names another."""

    kubeconfig: Path
    bin: Path | None = None  # where kubectl and helm are, None: in PATH
    namespace: str = "default"

    def inside(self, namespace: str) -> "Kube":
        """Return the same access in another namespace."""
        return Kube(self.kubeconfig, self.bin, namespace)

    def kubectl(self, *words: str | Path, stdin: str = "", timeout: float = 120) -> str:
        """Run kubectl and return its stdout."""
        return self.run("kubectl", *words, stdin=stdin, timeout=timeout)

    def helm(self, *words: str | Path, timeout: float = 300) -> str:
        """Run helm and return its stdout."""
        return self.run("helm", *words, timeout=timeout)

    def run(self, program: str, *words: str | Path, stdin: str = "", timeout: float = 120) -> str:
        """Run a command for this cluster; KubeError when it fails."""
        command = [program, "--namespace", self.namespace, *map(str, words)]
        done = subprocess.run(
            command, input=stdin, env=self.environment(), capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode:
            raise KubeError(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stdout}{done.stderr}".strip())
        return done.stdout

    def start(self, program: str, *words: str | Path) -> subprocess.Popen[str]:
        """Start a command for this cluster in the background."""
        command = [program, "--namespace", self.namespace, *map(str, words)]
        return subprocess.Popen(
            command,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def environment(self) -> dict[str, str]:
        """Return the environment of kubectl and helm for this cluster."""
        path = f"{self.bin}:{os.environ['PATH']}" if self.bin else os.environ["PATH"]
        return {**os.environ, "PATH": path, "KUBECONFIG": str(self.kubeconfig)}

    def get(self, *words: str) -> Any:
        """Return what `kubectl get` finds, as JSON values."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def apply(self, manifest: str | Path) -> None:
        """Apply a file, a folder, or the text of manifests."""
        if isinstance(manifest, Path):
            self.kubectl("apply", "-f", manifest)
        else:
            self.kubectl("apply", "-f", "-", stdin=manifest)

    def rollout(self, *deployments: str, timeout: int = 180) -> None:
        """Wait until every replica of these Deployments is the newest and available."""
        for name in deployments:
            self.kubectl("rollout", "status", f"deployment/{name}", f"--timeout={timeout}s", timeout=timeout + 10)


def eventually(ask: Callable[[], T], wanted: Callable[[T], bool], seconds: float = 60) -> T:
    """Ask until the answer is wanted and return it; a KubeError counts as an answer not wanted.

    ``seconds`` is no promise of speed but the point where waiting on makes no sense.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            answer = ask()
            if wanted(answer):
                return answer
            seen = repr(answer)
        except KubeError as error:
            seen = str(error)
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s; last seen: {seen}")
        time.sleep(0.2)
