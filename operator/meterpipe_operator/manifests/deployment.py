"""The Deployment of a worker.

How pods are exchanged. A worker's pods are one consumer group with eager rebalancing: each coming and each going stops
all of them for a moment and moves partitions. So `maxSurge: 100%` brings all new pods at once (one rebalance, or few)
and `maxUnavailable: 0` lets the old ones go when the new ones are in the group; if there is no room for all of them, it
goes on with those that fit. A pod without a partition is ready too, so more pods than partitions do not block it.

Aggregators whose window sizes or source (readings, or what the validation passes on) change are the exception: a
partition that moved from a new pod to an old one and back would have windows begun, flushed and begun again. They are
all stopped before the first new one starts (`Recreate`), until the change is through.
"""

from typing import Any

from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.models import MeterPipeline

from meterpipe_operator.facts import Live, Settings
from meterpipe_operator.labels import CONFIG, REPLAYED, SECRETS, WINDOWS, Owner, metadata, name, selector
from meterpipe_operator.labels import labels as labels_of
from meterpipe_operator.manifests.config import config_digest
from meterpipe_operator.manifests.pods import container, pod_spec
from meterpipe_operator.mounts import Mounted, secrets_digest, volume
from meterpipe_operator.workers import Kind

ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}
RECREATE = {"type": "Recreate"}
HISTORY = 3


def deployment(
    pipeline: MeterPipeline,
    owner: Owner,
    kind: Kind,
    config: WorkerConfig,
    secrets: Mounted,
    settings: Settings,
    replicas: int | None,
    live: Live | None,
    replayed: str | None = None,
) -> dict[str, Any]:
    """The Deployment `<pipeline>-<worker>`. `replicas` None: somebody else owns the number."""
    pods = pipeline.spec.pods
    labels = labels_of(owner.name, kind.name)
    matching = selector(owner.name, kind.name)
    worker = container(
        "worker",
        ("worker", kind.name),
        pods,
        settings,
        kind.scaled(pipeline.spec).resources,
        ports=[
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in {**kind.ports(pipeline.spec), "metrics": pipeline.spec.monitoring.port}.items()
        ],
        **probes(),
    )
    spec: dict[str, Any] = {
        "revisionHistoryLimit": HISTORY,
        "selector": {"matchLabels": matching},
        "strategy": strategy(kind, pipeline, live),
        "template": {
            "metadata": {
                "labels": {**pods.labels, **labels},
                "annotations": {**pods.annotations, CONFIG: config_digest(config), SECRETS: secrets_digest(secrets)},
            },
            "spec": pod_spec(
                worker,
                volume(name(owner.name, kind.name), secrets),
                name(owner.name, kind.name),
                pods,
                settings,
                terminationGracePeriodSeconds=kind.grace,
                topologySpreadConstraints=[_spread(pods.topology_key, matching)],
            ),
        },
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(owner, kind.name, kind.name, annotations=_annotations(kind, pipeline, replayed)),
        "spec": spec,
    }


def probes() -> dict[str, Any]:
    """Started: it answers. Live: its loop moves (or halted under 60 s ago). Ready: its services have taken it in."""

    def at(path: str, period: int, failures: int) -> dict[str, Any]:
        get = {"path": path, "port": "metrics", "scheme": "HTTP"}
        return {"httpGet": get, "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures}

    return {
        "startupProbe": at("/live", 2, 60),
        "livenessProbe": at("/live", 15, 3),
        "readinessProbe": at("/ready", 5, 2),
    }


def windows_of(pipeline: MeterPipeline) -> str:
    """The value of the annotation WINDOWS: sizes, and whether readings come by the validation."""
    sizes = ",".join(map(str, pipeline.spec.aggregator.windows))
    return f"{sizes} validated" if pipeline.spec.validation.enabled else sizes


def strategy(kind: Kind, pipeline: MeterPipeline, live: Live | None) -> dict[str, Any]:
    """How pods are exchanged. Recreate stays until the exchange it was meant for is through."""
    if kind.name != "aggregator" or live is None:
        return dict(ROLLING)
    changing = live.windows != windows_of(pipeline) or (live.recreate and not live.settled)
    return dict(RECREATE if changing else ROLLING)


def _annotations(kind: Kind, pipeline: MeterPipeline, replayed: str | None) -> dict[str, str]:
    if kind.name != "aggregator":
        return {}
    return {WINDOWS: windows_of(pipeline)} | ({REPLAYED: replayed} if replayed else {})


def _spread(key: str, matching: dict[str, str]) -> dict[str, Any]:
    """Pods of one template spread over nodes as well as can be."""
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": matching},
        "matchLabelKeys": ["pod-template-hash"],
    }
