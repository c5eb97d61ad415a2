"""The Service of a worker: a name under which its pods are found."""

from collections.abc import Mapping
from typing import Any

from meterpipe_operator.labels import Owner, metadata, selector


def service(owner: Owner, component: str, metrics: int, ports: Mapping[str, int]) -> dict[str, Any]:
    """A Service of the metrics' port, and of others.

    Without others it is headless: nothing is balanced, each pod has its own figures, and those not ready yet are listed
    too, e.g. for a Prometheus without PodMonitors. With others it has an address, and pods that are ready share what
    comes in.
    """
    all_ports = {**ports, "metrics": metrics}
    headless: dict[str, Any] = {} if ports else {"clusterIP": "None", "publishNotReadyAddresses": True}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(owner, component, component),
        "spec": {
            **headless,
            "selector": selector(owner.name, component),
            "ports": [
                {"name": name, "port": port, "targetPort": name, "protocol": "TCP"} for name, port in all_ports.items()
            ],
        },
    }
