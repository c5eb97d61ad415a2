"""The Service of a worker: a name under which all its pods are found, e.g. by a Prometheus without PodMonitors."""

from typing import Any

from meterpipe_operator.labels import Owner, metadata, selector


def service(owner: Owner, component: str, port: int) -> dict[str, Any]:
    """A headless Service: nothing is balanced, each pod has its own figures; those not ready yet are listed too."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(owner, component, component),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(owner.name, component),
            "ports": [{"name": "metrics", "port": port, "targetPort": "metrics", "protocol": "TCP"}],
        },
    }
