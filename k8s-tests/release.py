"""The operator in the cluster, as its chart installs it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kube import Kube, KubeError, eventually

CHART = Path(__file__).parent.parent / "charts" / "meterpipe"
NAMESPACE = "meterpipe-system"
NAME = "meterpipe"
DEPLOYMENT = f"deployment/{NAME}"
IMAGE = ("image.repository=localhost/meterpipe", "image.tag=test", "image.pullPolicy=Never")
TICKS = 100  # a second, in /proc


@dataclass(frozen=True)
class Release:
    """The chart's release."""

    kube: Kube

    def install(self, *values: str) -> None:
        """Install the chart, or upgrade to these values; `key=value` as for `helm --set`."""
        words = [word for value in (*IMAGE, *values) for word in ("--set", value)]
        self.kube.helm("upgrade", "--install", "--take-ownership", NAME, CHART, "--create-namespace", *words)
        self.wait()

    def restart(self) -> None:
        """Exchange the pod, for one of the present image."""
        self.kube.kubectl("rollout", "restart", DEPLOYMENT)
        self.wait()

    @property
    def pod(self) -> dict[str, Any]:
        """The operator's pod; KubeError while there is not exactly one."""
        selector = f"app.kubernetes.io/component=operator,app.kubernetes.io/instance={NAME}"
        pods = self.kube.get("pods", "-l", selector)["items"]
        found = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        if len(found) != 1:
            raise KubeError(f"{len(found)} operator pods")
        return dict(found[0])

    def kill(self) -> None:
        """End the operator's pod without warning; its Deployment brings another one."""
        name = self.pod["metadata"]["name"]
        self.kube.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")

    def stop(self) -> None:
        """Have no operator."""
        self.kube.kubectl("scale", DEPLOYMENT, "--replicas=0")
        selector = "app.kubernetes.io/component=operator"
        eventually(lambda: self.kube.get("pods", "-l", selector)["items"], lambda pods: not pods)

    def start(self) -> None:
        """Have the operator again, and wait until it is ready."""
        self.kube.kubectl("scale", DEPLOYMENT, "--replicas=1")
        self.wait()

    def wait(self) -> None:
        """Wait until the operator is ready."""
        self.kube.rollout(NAME)

    def cpu_seconds(self) -> float:
        """Return the CPU time the operator has used so far."""
        stat = self.kube.kubectl("exec", self.pod["metadata"]["name"], "--", "cat", "/proc/1/stat")
        fields: Sequence[str] = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def cpu_share(self, seconds: float) -> float:
        """Return the share of a core that the operator uses while we wait."""
        before, begun = self.cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        return (self.cpu_seconds() - before) / (time.monotonic() - begun)
