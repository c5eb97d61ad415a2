"""Pipelines and what a cluster holds, as test values."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from meterpipe.spec.load import pipeline_of
from meterpipe.spec.models import MeterPipeline
from meterpipe_operator import kinds
from meterpipe_operator.desired import Desired, desired
from meterpipe_operator.facts import (
    CassandraFacts,
    Facts,
    IngestFacts,
    KafkaFacts,
    LakeFacts,
    Login,
    NotifierFacts,
    Secret,
    Settings,
)
from meterpipe_operator.kinds import Kind, Manifest, Ref, ref_of
from meterpipe_operator.labels import APPLIED, Owner
from meterpipe_operator.plan import stamped

SETTINGS = Settings("registry.example/meterpipe:1")
OWNER = Owner("city", "energy", "uid-1", 7)
EVERYTHING = frozenset(kind for kind in kinds.KINDS if kind.optional)
KAFKA = KafkaFacts(
    "k1:9094,k2:9094",
    {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "city", "security.protocol": "SASL_PLAINTEXT"},
    Secret("city-kafka", ("password",), "d-kafka", {"password": "cHc="}),
)
CASSANDRA = CassandraFacts(("c1",), 9042, "dc1", Login("worker", Secret("store", ("password",), "d-store")))
LAKE = LakeFacts(Secret("s3", ("accessKey", "secretKey"), "d-lake"))
INGEST = IngestFacts({"north": Secret("gates", ("tokens",), "d-gates")})
NOTIFIER = NotifierFacts(
    Secret("hook", ("key", "token", "ca.crt"), "d-hook"), Secret("clerks", ("tokens",), "d-clerks")
)
TOLD: dict[str, Any] = {
    "webhook": {"url": "https://desk.example:8443/alarms", "secretName": "hook"},
    "api": {"enabled": True, "secretName": "clerks"},
}
"""Of spec.alarms.notifier, what NOTIFIER has the secrets of."""
EXTRAS: dict[str, Any] = {
    "validation": {"enabled": True},
    "ingest": {"replicas": 1, "groups": [{"name": "north", "secretName": "gates"}]},
    "routing": {"routes": [{"name": "solar"}]},
    "alarms": {"enabled": True},
    "activity": {"enabled": True, "redis": {"host": "redis"}},
}
"""The workers that a pipeline need not have."""
GIVEN: dict[str, Any] = {
    "kafka": {"bootstrapServers": "k1:9094,k2:9094"},
    "cassandra": {"contactPoints": ["c1"], "secretName": "store"},
    "lake": {"endpoint": "http://s3:7070", "secretName": "s3"},
}


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """`one` with `other` laid over it, level by level."""
    result = dict(one)
    for key, value in other.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def bare(spec: Mapping[str, Any], name: str = "city", namespace: str = "energy") -> MeterPipeline:
    """A pipeline with exactly this specification."""
    head = {"apiVersion": "meterpipe.io/v1alpha1", "kind": "MeterPipeline"}
    return pipeline_of({**head, "metadata": {"name": name, "namespace": namespace}, "spec": dict(spec)})


def pipeline(spec: Mapping[str, Any] | None = None) -> MeterPipeline:
    """A pipeline on given services, with changes."""
    return bare(merged(GIVEN, spec or {}))


def facts(**changes: Any) -> Facts:
    """Facts of a cluster where all is well, with changes."""
    return Facts(
        **{"settings": SETTINGS, "kafka": KAFKA, "cassandra": CASSANDRA, "lake": LAKE, "ingest": INGEST, **changes}
    )


def wanted(spec: Mapping[str, Any] | None = None, **changes: Any) -> Desired:
    """What shall be there for that pipeline."""
    return desired(pipeline(spec), OWNER, facts(**changes))


def ref(kind: Kind, name: str, namespace: str = "energy") -> Ref:
    """An object of the pipeline's namespace."""
    return Ref(kind, namespace, name)


def by_ref(found: Desired) -> dict[Ref, dict[str, Any]]:
    """The objects by reference; each is there once."""
    result = {ref_of(one): one for one in found.objects}
    assert len(result) == len(found.objects)
    return result


def deployment(found: Desired, worker: str) -> dict[str, Any]:
    """The Deployment of a worker."""
    return by_ref(found)[ref(kinds.DEPLOYMENT, f"city-{worker}")]


def live(one: Mapping[str, Any], **status: Any) -> dict[str, Any]:
    """An object as the API server has it after it was applied: defaults and its own fields added."""
    result = dict(one) if APPLIED in one["metadata"].get("annotations", {}) else stamped(dict(one))
    result["metadata"] = {**result["metadata"], "uid": "u", "resourceVersion": "5", "generation": 1}
    if one["kind"] == "Deployment":
        result["spec"] = merged({"progressDeadlineSeconds": 600, "replicas": 1}, one["spec"])
    return result | ({"status": status} if status else {})


def done(job: Mapping[str, Any], kind: str = "Complete", message: str = "") -> dict[str, Any]:
    """A Job that ended."""
    return live(job, conditions=[{"type": kind, "status": "True", "message": message}])


def secret(name: str, namespace: str = "energy", **values: str) -> dict[str, Any]:
    """A Secret; two underscores in a key stand for a dot."""
    data = {key.replace("__", "."): base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data}


def cluster(*objects: Manifest) -> dict[Ref, Manifest]:
    """A cluster that holds these objects; its `get` is what facts are read with."""
    return {ref_of(one): one for one in objects}


def names(objects: Iterable[Mapping[str, Any]], kind: Kind) -> list[str]:
    """Names of the objects of a kind, in order."""
    return [one["metadata"]["name"] for one in objects if one["kind"] == kind.name]
