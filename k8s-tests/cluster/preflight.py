"""Whether this machine can run a cluster, checked before anything is changed."""

import os
import shutil
import sys
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


def problem() -> ClusterError | None:
    """Say what keeps this machine from running a cluster, None when nothing does."""
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
    missing = {package for program, package in PACKAGES.items() if not shutil.which(program)}
    if not (CNI_PLUGINS / "bridge").exists():
        missing.add("containernetworking-plugins")
    if missing:
        return ClusterError(
            f"programs are missing from {', '.join(sorted(missing))}",
            f"apt-get install --no-install-recommends {' '.join(sorted(missing))}",
        )
    return None


def check() -> None:
    """Raise what ``problem`` says."""
    if error := problem():
        raise error
