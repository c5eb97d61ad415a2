"""Getting at the shared cluster from tests: the command `cluster`, and what the fixtures hand out."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from kube import Kube

TOOL = Path(__file__).parent / "cluster" / "cluster"
NAME = os.environ.get("METERPIPE_TEST_NAME", "tests")  # of the shared cluster; two sessions at once need two
NOT_OF_A_CLUSTER = ("build", "check", "images", "make-image")  # verbs without --name


@dataclass(frozen=True)
class Harness:
    """The shared cluster; ``ours``: made by cluster/cluster, so that the node and its programs are within reach."""

    kube: Kube
    ours: bool

    @contextmanager
    def namespace(self) -> Iterator[Kube]:
        """Make a namespace and give access to it; it is deleted afterwards with all in it."""
        name = f"test-{uuid.uuid4().hex[:8]}"
        self.kube.kubectl("create", "namespace", name)
        try:
            yield self.kube.inside(name)
        finally:
            self.kube.kubectl("delete", "namespace", name, "--wait=false")

    def load(self, *images: str | Path) -> None:
        """Bring images of `cluster images`, or docker-archive files, onto the node; elsewhere they must be there."""
        if self.ours:
            run_tool("load-image", *images)


def tool(*words: str | Path, name: str = NAME) -> list[str]:
    """Return the command `cluster VERB ...` for a named cluster."""
    verb, *rest = map(str, words)
    named = [] if verb in NOT_OF_A_CLUSTER else ["--name", name]
    return [sys.executable, str(TOOL), verb, *named, *rest]


def run_tool(*words: str | Path, name: str = NAME) -> str:
    """Run `cluster VERB ...` and return its stdout; what it says meanwhile is shown by pytest when a test fails."""
    command = tool(*words, name=name)
    done = subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)} ended with exit code {done.returncode}; its stderr says why", pytrace=False)
    return done.stdout


def is_up() -> bool:
    """Tell whether the shared cluster runs already."""
    return subprocess.run(tool("status"), capture_output=True, check=False).returncode == 0
