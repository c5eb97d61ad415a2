"""What the pods of workers and tasks have in common: the tightest security that works, nothing they do not use."""

from collections.abc import Sequence
from typing import Any

from meterpipe.spec.kubernetes import Amounts, Pods, Resources

from meterpipe_operator.facts import Settings
from meterpipe_operator.mounts import CONFIG_FILE, ROOT, VOLUME

USER = 1000
"""The image's user; also the group that may read the mounted secrets."""
TEMPORARY = "1Gi"


def resources(wanted: Resources) -> dict[str, Any]:
    """Requests and limits, without what is not set."""
    found = {"requests": _amounts(wanted.requests), "limits": _amounts(wanted.limits)}
    return {name: amounts for name, amounts in found.items() if amounts}


def _amounts(amounts: Amounts) -> dict[str, str]:
    return amounts.model_dump(exclude_none=True)


def container(
    name: str, command: Sequence[str], pods: Pods, settings: Settings, wanted: Resources, **more: Any
) -> dict[str, Any]:
    """The one container of a pod. Its last log lines are kept as the reason of its end."""
    return {
        "name": name,
        "image": pods.image or settings.image,
        "imagePullPolicy": pods.pull_policy or settings.pull_policy,
        "args": [*command, "--config", str(ROOT / CONFIG_FILE)],
        "env": [{"name": "HOME", "value": "/tmp"}, {"name": "PYTHONUNBUFFERED", "value": "1"}],
        "resources": resources(wanted),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": VOLUME, "mountPath": str(ROOT), "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        **more,
    }


def pod_spec(
    worker: dict[str, Any], volume: dict[str, Any], account: str, pods: Pods, settings: Settings, **more: Any
) -> dict[str, Any]:
    """The pod around the container: no token of the API server, no privileges, a place to write in /tmp alone."""
    spec: dict[str, Any] = {
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [worker],
        "volumes": [volume, {"name": "tmp", "emptyDir": {"sizeLimit": TEMPORARY}}],
        **more,
    }
    if names := list(dict.fromkeys((*settings.pull_secrets, *pods.pull_secrets))):
        spec["imagePullSecrets"] = [{"name": name} for name in names]
    if pods.node_selector:
        spec["nodeSelector"] = dict(pods.node_selector)
    if pods.tolerations:
        spec["tolerations"] = [one.model_dump(by_alias=True, exclude_none=True) for one in pods.tolerations]
    if pods.priority_class:
        spec["priorityClassName"] = pods.priority_class
    return spec
