"""NetworkPolicies: what may reach a pod, and where it may connect to."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from meterpipe_operator.labels import COMPONENT, Owner, metadata, selector

DNS = 53
ANYWHERE: dict[str, Any] = {}


def network_policy(
    owner: Owner, component: str, inward: Iterable[int], outward: Iterable[int] | None
) -> dict[str, Any]:
    """A worker: reached at ports `inward` alone; connects to DNS and TCP ports `outward`, None: wherever it likes."""
    return _policy(owner, component, {"matchLabels": selector(owner.name, component)}, outward, [_tcp(inward)])


def tasks_policy(owner: Owner, tasks: Iterable[str], outward: Iterable[int] | None) -> dict[str, Any]:
    """Pods of Jobs: reached by nobody."""
    shared = {key: value for key, value in selector(owner.name, "").items() if key != COMPONENT}
    of_tasks = {"key": COMPONENT, "operator": "In", "values": sorted(tasks)}
    return _policy(owner, "tasks", {"matchLabels": shared, "matchExpressions": [of_tasks]}, outward, [])


def port_of(address: str) -> int:
    """TCP port of `host:port` or of a URL."""
    if "://" in address:
        parts = urlsplit(address)
        return parts.port or (443 if parts.scheme == "https" else 80)
    return int(address.rpartition(":")[2])


def _policy(
    owner: Owner, component: str, pods: dict[str, Any], outward: Iterable[int] | None, ingress: list[dict[str, Any]]
) -> dict[str, Any]:
    names = {"ports": [{"port": DNS, "protocol": "UDP"}, {"port": DNS, "protocol": "TCP"}]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(owner, component, component),
        "spec": {
            "podSelector": pods,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": [ANYWHERE] if outward is None else [names, _tcp(outward)],
        },
    }


def _tcp(ports: Iterable[int]) -> dict[str, Any]:
    return {"ports": [{"port": port, "protocol": "TCP"} for port in sorted(set(ports))]}
