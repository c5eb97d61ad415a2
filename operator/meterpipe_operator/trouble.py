"""Why pods do not run, in the words of the kubelet, the scheduler and the pods themselves. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from meterpipe_operator.kinds import Manifest
from meterpipe_operator.labels import COMPONENT

BAD = frozenset(
    (
        "CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull",
        "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
    )
)  # fmt: skip
LENGTH = 400


class Trouble(NamedTuple):
    """What is wrong with the pods of a component."""

    component: str
    reason: str
    message: str


def troubles(pods: Iterable[Manifest]) -> list[Trouble]:
    """One for each component and reason, in their order; pods that are being deleted are past caring."""
    found: dict[tuple[str, str], Trouble] = {}
    for pod in sorted(pods, key=lambda one: str(one["metadata"]["name"])):
        if not pod["metadata"].get("deletionTimestamp") and (one := _trouble(pod)):
            found.setdefault(one[:2], one)
    return [found[key] for key in sorted(found)]


def _trouble(pod: Manifest) -> Trouble | None:
    component = (pod["metadata"].get("labels") or {}).get(COMPONENT, "")
    status = pod.get("status") or {}
    name = pod["metadata"]["name"]
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason")
        if reason in BAD:
            last = (container.get("lastState") or {}).get("terminated") or {}
            return Trouble(component, reason, f"pod {name}: {_last_words(last) or waiting.get('message') or reason}")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Trouble(component, "Unschedulable", f"pod {name}: {condition.get('message', '')}"[:LENGTH])
    return None


def _last_words(terminated: Mapping[str, Any]) -> str:
    """How the container ended: out of memory, or the last of what it said."""
    if not terminated:
        return ""
    if terminated.get("reason") == "OOMKilled":
        return "out of memory: raise its resources.limits.memory"
    said = str(terminated.get("message") or "").strip()
    ended = f"exit code {terminated.get('exitCode')}"
    return f"{ended}: …{said[-LENGTH:]}" if len(said) > LENGTH else f"{ended}: {said}" if said else ended
