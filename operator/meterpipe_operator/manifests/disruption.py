"""The PodDisruptionBudget of a worker with several pods: a drained node takes one at a time."""

from typing import Any

from meterpipe_operator.labels import Owner, metadata, selector


def disruption_budget(owner: Owner, component: str) -> dict[str, Any]:
    """At most one pod away by eviction. Pods that do not work are evicted freely: they would only hold up the drain."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(owner, component, component),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(owner.name, component)},
        },
    }
