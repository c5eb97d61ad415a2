"""The ServiceAccount of a worker: no roles, no token in its pods; only who it is, for clouds that give roles by it."""

from typing import Any

from meterpipe.spec.kubernetes import Pods

from meterpipe_operator.labels import Owner, metadata


def service_account(owner: Owner, component: str, pods: Pods) -> dict[str, Any]:
    """The ServiceAccount `<pipeline>-<component>`."""
    extra = {"annotations": dict(pods.service_account_annotations)} if pods.service_account_annotations else {}
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(owner, component, component, **extra),
        "automountServiceAccountToken": False,
    }
