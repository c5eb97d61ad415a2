"""From a pipeline and what the cluster holds to its facts. Pure: the cluster is looked at through a function."""

from collections.abc import Iterable, Mapping

from meterpipe.spec.models import MeterPipeline

from meterpipe_operator import kinds
from meterpipe_operator.facts import CassandraFacts, Facts, Live, Missing, Settings
from meterpipe_operator.given import (
    cassandra_given,
    ingest_given,
    kafka_given,
    lake_given,
    notifier_given,
    redis_given,
    registry_given,
)
from meterpipe_operator.k8ssandra import k8ssandra_facts
from meterpipe_operator.kinds import Kind, Manifest, kind_of
from meterpipe_operator.labels import COMPONENT, REPLAYED, WINDOWS
from meterpipe_operator.plan import state_of
from meterpipe_operator.secrets import Look
from meterpipe_operator.strimzi import Found, strimzi_facts


def facts_of(
    pipeline: MeterPipeline, look: Look, observed: Iterable[Manifest], there: frozenset[Kind], settings: Settings
) -> Facts:
    """All facts of one pipeline.

    `look` reads any object of kinds Secret, Kafka, KafkaUser, K8ssandraCluster. `observed`: all objects of ours for it.
    `there`: the optional kinds the cluster has.
    """
    own = tuple(observed)
    spec = pipeline.spec
    found = (
        strimzi_facts(pipeline, spec.kafka.strimzi, look, there)
        if spec.kafka.strimzi
        else Found(None, kafka_given(pipeline, look))
    )
    return Facts(
        settings=settings,
        kafka=found.kafka,
        cassandra=_cassandra(pipeline, look, there),
        lake=lake_given(pipeline, look),
        registry=registry_given(pipeline, look),
        ingest=ingest_given(pipeline, look),
        notifier=notifier_given(pipeline, look),
        redis=redis_given(pipeline, look),
        strimzi=found.strimzi,
        kinds=there,
        live=live_deployments(own),
        done=frozenset(one["metadata"]["name"] for one in own if kind_of(one) == kinds.JOB and state_of(one)),
    )


def _cassandra(pipeline: MeterPipeline, look: Look, there: frozenset[Kind]) -> CassandraFacts | Missing:
    asked = pipeline.spec.cassandra.k8ssandra
    return k8ssandra_facts(pipeline, asked, look, there) if asked else cassandra_given(pipeline, look)


def live_deployments(observed: Iterable[Manifest]) -> Mapping[str, Live]:
    """What counts of our Deployments, by worker. Those that are being deleted are gone."""
    deployments = (
        one for one in observed if kind_of(one) == kinds.DEPLOYMENT and not one["metadata"].get("deletionTimestamp")
    )
    return {one["metadata"].get("labels", {}).get(COMPONENT, ""): live_of(one) for one in deployments}


def live_of(deployment: Manifest) -> Live:
    """What counts of a Deployment."""
    metadata, spec = deployment["metadata"], deployment["spec"]
    status = deployment.get("status") or {}
    annotations = metadata.get("annotations") or {}
    wanted, pods = spec.get("replicas", 1), status.get("replicas", 0)
    seen = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
    return Live(
        replicas=wanted,
        managers=managers_of(deployment),
        pods=pods,
        windows=annotations.get(WINDOWS, ""),
        replayed=annotations.get(REPLAYED, ""),
        recreate=(spec.get("strategy") or {}).get("type") == "Recreate",
        settled=seen and status.get("updatedReplicas", 0) == wanted == pods,
    )


def managers_of(deployment: Manifest) -> frozenset[str]:
    """Field managers that own spec.replicas."""
    entries = deployment["metadata"].get("managedFields") or ()
    return frozenset(
        one.get("manager", "") for one in entries if "f:replicas" in (one.get("fieldsV1") or {}).get("f:spec", {})
    )
