"""The PodMonitor of a pipeline: Prometheus' operator scrapes all its workers."""

from typing import Any

from meterpipe_operator.labels import COMPONENT, PIPELINE, Owner, metadata
from meterpipe_operator.workers import WORKERS


def pod_monitor(owner: Owner) -> dict[str, Any]:
    """One for all workers; series carry pipeline and worker as labels."""
    workers = {"key": COMPONENT, "operator": "In", "values": sorted(WORKERS)}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata(owner, "workers", "workers"),
        "spec": {
            "selector": {"matchLabels": {PIPELINE: owner.name}, "matchExpressions": [workers]},
            "podMetricsEndpoints": [
                {
                    "port": "metrics",
                    "path": "/metrics",
                    "relabelings": [
                        _relabel("__meta_kubernetes_pod_label_app_kubernetes_io_instance", "pipeline"),
                        _relabel("__meta_kubernetes_pod_label_app_kubernetes_io_component", "worker"),
                    ],
                }
            ],
        },
    }


def _relabel(source: str, target: str) -> dict[str, Any]:
    return {"action": "replace", "sourceLabels": [source], "targetLabel": target}
