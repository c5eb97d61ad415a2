"""The chart as tests use it: helm without a cluster."""

import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from cluster import programs
from cluster.store import Store, cache_root

CHART = Path(__file__).parent.parent / "charts" / "meterpipe"
ALL_ON = CHART / "ci" / "all-values.yaml"
Manifest = dict[str, Any]


@cache
def helm_program() -> Path:
    """Return the path of helm, built when it has not been built before."""
    return programs.build(Store(cache_root()), "helm")


def helm(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run helm and return what it printed and how it ended."""
    command = [str(helm_program()), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def template(*words: str | Path, release: str = "mp", namespace: str = "system") -> str:
    """Return the manifests that the chart gives, as one text."""
    # helm cannot ask a cluster here; it takes the version that the test cluster has
    version = programs.kubernetes_version((programs.HERE / "go" / "kubernetes" / "go.mod").read_text())
    done = helm("template", release, CHART, "--namespace", namespace, "--kube-version", version, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(*words: str | Path) -> list[Manifest]:
    """Return the manifests that the chart gives."""
    return [document for document in yaml.safe_load_all(template(*words)) if document]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Return those of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Give every value that is no mapping, or an empty one, with its path."""
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from leaves(value, (*path, key))
    else:
        yield path, values
