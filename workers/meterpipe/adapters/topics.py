"""The topics of a pipeline: made before use, since auto-created ones would have one partition and no settings."""

import time

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from meterpipe.adapters.kafka import new_admin
from meterpipe.adapters.progress import quiet
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.topics import TopicPlan, plan_topics

TIMEOUT = 30.0


class TopicError(Exception):
    """A topic exists and cannot serve this pipeline."""


def ensure_topics(config: WorkerConfig) -> list[str]:
    """Create the topics that are missing, bring the settings of owned ones up to date; the names of those created.

    A topic with another number of partitions is refused: keys would move to partitions that lack their state.
    """
    admin = new_admin(quiet(config.kafka))
    source, *rest = plan_topics(config.pipeline)
    created = _ensure(admin, [source])
    rest = plan_topics(config.pipeline, _largest_message(admin, source.name))[1:]
    return created + _ensure(admin, rest)


def delete_topics(config: WorkerConfig) -> None:
    """Delete the topics the pipeline owns, as far as they exist."""
    admin = new_admin(quiet(config.kafka))
    owned = [plan.name for plan in plan_topics(config.pipeline) if plan.owned]
    for future in admin.delete_topics(owned, operation_timeout=TIMEOUT).values():
        _unless(KafkaError.UNKNOWN_TOPIC_OR_PART, future)


def _ensure(admin: AdminClient, plans: list[TopicPlan]) -> list[str]:
    found = _partitions(admin)
    missing = [plan for plan in plans if plan.name not in found]
    created = []
    if missing:
        wanted = [
            NewTopic(p.name, num_partitions=p.partitions, replication_factor=p.replicas, config=p.config)
            for p in missing
        ]
        for name, future in admin.create_topics(wanted, operation_timeout=TIMEOUT).items():
            if _unless(KafkaError.TOPIC_ALREADY_EXISTS, future):
                created.append(name)
        _await_leaders(admin, [plan.name for plan in missing])
        found = _partitions(admin)
    for plan in plans:
        if found[plan.name] != plan.partitions:
            raise TopicError(
                f"topic {plan.name} has {found[plan.name]} partitions, the pipeline says {plan.partitions}: "
                f"set spec.kafka.topics.readings.partitions to {found[plan.name]}, "
                "or give the pipeline another name and replay into it"
            )
    _bring_up_to_date(admin, [plan for plan in plans if plan.owned and plan.name not in created])
    return created


def _partitions(admin: AdminClient) -> dict[str, int]:
    """Number of partitions by topic."""
    return {name: len(topic.partitions) for name, topic in admin.list_topics(timeout=TIMEOUT).topics.items()}


def _bring_up_to_date(admin: AdminClient, plans: list[TopicPlan]) -> None:
    changes = []
    for plan in plans:
        present = _config(admin, plan.name)
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in plan.config.items()
            if present.get(key) != value
        ]
        if entries:
            changes.append(ConfigResource(ResourceType.TOPIC, plan.name, incremental_configs=entries))
    if changes:
        for future in admin.incremental_alter_configs(changes, request_timeout=TIMEOUT).values():
            future.result()


def _config(admin: AdminClient, topic: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = admin.describe_configs([resource], request_timeout=TIMEOUT)[resource].result()
    return {name: entry.value for name, entry in entries.items()}


def _largest_message(admin: AdminClient, topic: str) -> int:
    return int(_config(admin, topic)["max.message.bytes"])


def _await_leaders(admin: AdminClient, names: list[str]) -> None:
    """Wait until clients can use all partitions; creation returns a moment earlier."""
    deadline = time.monotonic() + TIMEOUT
    while waiting := [name for name in names if not _led(admin, name)]:
        if time.monotonic() > deadline:
            raise TopicError(f"no leader after {TIMEOUT:.0f} s for the partitions of {', '.join(waiting)}")
        time.sleep(0.02)


def _led(admin: AdminClient, name: str) -> bool:
    topic = admin.list_topics(name, timeout=TIMEOUT).topics[name]
    return topic.error is None and all(partition.leader >= 0 for partition in topic.partitions.values())


def _unless(code: int, future: object) -> bool:
    """Wait for `future`; False if it failed with `code`, which is as good."""
    try:
        future.result()  # type: ignore[attr-defined]
    except KafkaException as error:
        if error.args[0].code() == code:
            return False
        raise
    return True
