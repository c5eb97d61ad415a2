"""KafkaTopics and the KafkaUser of a pipeline, in the namespace of the Strimzi cluster."""

import re
from collections.abc import Iterable
from typing import Any

from meterpipe.spec.models import MeterPipeline
from meterpipe.spec.names import Names, names_of, restore_group, shorten
from meterpipe.spec.topics import TopicPlan, plan_topics

from meterpipe_operator.digest import digest
from meterpipe_operator.facts import StrimziFacts
from meterpipe_operator.labels import LIMIT, Owner, foreign
from meterpipe_operator.workers import workers_of

API = "kafka.strimzi.io/v1"
CLUSTER = "strimzi.io/cluster"
PRODUCED = ("Read", "Write", "Describe", "DescribeConfigs", "Delete")
"""What workers do with their own topics; Delete is that of records, when a replay forgets the state."""
CONSUMED = ("Read", "Describe", "DescribeConfigs")


def kafka_topics(pipeline: MeterPipeline, owner: Owner, strimzi: StrimziFacts) -> list[dict[str, Any]]:
    """The topics that the pipeline owns; a topic that it names is somebody else's."""
    return [_topic(plan, owner, strimzi) for plan in plan_topics(pipeline) if plan.owned]


def user_name(pipeline: MeterPipeline) -> str:
    """Name of the KafkaUser; of its Secret too."""
    return shorten(names_of(pipeline).prefix, LIMIT)


def kafka_user(pipeline: MeterPipeline, owner: Owner, strimzi: StrimziFacts) -> dict[str, Any] | None:
    """The user of the pipeline's workers, None if the listener asks for none."""
    if strimzi.authentication is None:
        return None
    spec: dict[str, Any] = {"authentication": {"type": strimzi.authentication}}
    if strimzi.authorization:
        spec["authorization"] = {"type": "simple", "acls": list(_acls(pipeline))}
    cluster = {CLUSTER: strimzi.cluster}
    return {
        "apiVersion": API,
        "kind": "KafkaUser",
        "metadata": foreign(owner, strimzi.namespace, user_name(pipeline), "kafka", **cluster),
        "spec": spec,
    }


def resource_name(topic: str) -> str:
    """Name of the KafkaTopic: Kafka allows capitals, dots and underscores where Kubernetes does not."""
    plain = re.sub(r"[^a-z0-9-]+", "-", topic.lower()).strip("-")
    return shorten(topic if plain == topic else f"{plain}-{digest(topic)[:8]}", 253)


def _topic(plan: TopicPlan, owner: Owner, strimzi: StrimziFacts) -> dict[str, Any]:
    cluster = {CLUSTER: strimzi.cluster}
    return {
        "apiVersion": API,
        "kind": "KafkaTopic",
        "metadata": foreign(owner, strimzi.namespace, resource_name(plan.name), "kafka", **cluster),
        "spec": {
            "topicName": plan.name,
            "partitions": plan.partitions,
            "replicas": plan.replicas,
            "config": dict(plan.config),
        },
    }


def _acls(pipeline: MeterPipeline) -> Iterable[dict[str, Any]]:
    """Names in full: a prefix would reach into pipelines whose names begin like ours."""
    names: Names = names_of(pipeline)
    for plan in plan_topics(pipeline):
        only_read = plan.name == names.readings and pipeline.spec.ingest.replicas == 0
        yield _acl("topic", plan.name, CONSUMED if only_read else PRODUCED)
    for route in pipeline.spec.routing.routes:
        if route.topic is not None:
            yield _acl("topic", route.topic, ("Write", "Describe"))
    if pipeline.spec.alarms.enabled and pipeline.spec.alarms.notifier.webhook:
        yield _acl("group", names.group("webhook"), ("Read", "Describe"))
    if pipeline.spec.alarms.enabled:  # who reads thresholds beside the readings: the worker, and the API
        yield _acl("group", restore_group(names.thresholds), ("Read", "Describe"))
    changelogs = {"aggregator": names.changelog, "validation": names.validation_changelog}
    changelogs |= {"alarms": names.alarms_changelog, "activity": names.activity_changelog}
    for kind in workers_of(pipeline.spec):
        yield _acl("group", names.group(kind.name), ("Read", "Describe"))
        if kind.name in changelogs:
            yield _acl("group", restore_group(changelogs[kind.name]), ("Read", "Describe"))
        if kind.name in changelogs or kind.name == "router":
            yield _acl("transactionalId", f"{names.group(kind.name)}-", ("Write", "Describe"), "prefix")


def _acl(kind: str, name: str, operations: Iterable[str], pattern: str = "literal") -> dict[str, Any]:
    return {
        "resource": {"type": kind, "name": name, "patternType": pattern},
        "operations": list(operations),
        "host": "*",
    }
