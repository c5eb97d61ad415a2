"""The topics a pipeline needs, as values: whoever makes them (an admin client, Strimzi) makes the same. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from meterpipe.spec.models import MeterPipeline
from meterpipe.spec.names import Names, names_of

MAX_MESSAGE = 8 * 1024 * 1024
"""Bytes an owned topic takes at once, at least: a message, or a batch of them as it is sent."""
DEAD_LETTER_ROOM = 65_536  # bytes: a dead letter is the refused message plus headers that say why

# State is small and rewritten all the time: small segments, closed soon, so that compaction keeps up.
COMPACTED = MappingProxyType(
    {
        "cleanup.policy": "compact",
        "segment.bytes": str(64 * 1024 * 1024),
        "segment.ms": "600000",
        "min.cleanable.dirty.ratio": "0.2",
        "delete.retention.ms": "60000",
        "max.message.bytes": str(MAX_MESSAGE),
    }
)


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic as the pipeline needs it. `owned` ones get these settings; of a named one only partitions are checked."""

    name: str
    partitions: int
    replicas: int
    config: dict[str, str]
    owned: bool = True


def plan_topics(pipeline: MeterPipeline, max_message: int = MAX_MESSAGE) -> list[TopicPlan]:
    """All topics of `pipeline`; `max_message`: bytes of the largest message its readings topic takes."""
    names, readings = names_of(pipeline), pipeline.spec.kafka.topics.readings
    kept = {"retention.ms": str(readings.retention * 1000 if readings.retention >= 0 else -1)}
    largest = max(MAX_MESSAGE, max_message)
    sized = kept | {"max.message.bytes": str(largest)}
    letters = kept | {"max.message.bytes": str(largest + DEAD_LETTER_ROOM)}

    def topic(name: str, config: dict[str, str], owned: bool = True) -> TopicPlan:
        return TopicPlan(name, readings.partitions, readings.replicas, config, owned)

    return [
        # the broker's clock decides what is ahead of time: a meter's clock cannot
        topic(names.readings, sized | {"message.timestamp.type": "LogAppendTime"}, owned=readings.name is None),
        *(topic(names.aggregates(window), sized) for window in pipeline.spec.aggregator.windows),
        topic(names.late, sized),
        topic(names.dead_letters, letters),
        topic(names.changelog, {**COMPACTED}),
        topic(names.balance, {**COMPACTED}),
        *(_of_validation(topic, names, sized) if pipeline.spec.validation.enabled else ()),
        *(_of_alarms(topic, names, sized) if pipeline.spec.alarms.enabled else ()),
        *(_of_activity(topic, names, sized) if pipeline.spec.activity.enabled else ()),
        *(topic(names.route(route.name), sized) for route in pipeline.spec.routing.routes if route.topic is None),
    ]


def _of_validation(topic: Callable[..., TopicPlan], names: Names, sized: dict[str, str]) -> list[TopicPlan]:
    return [
        topic(names.valid, sized | {"message.timestamp.type": "LogAppendTime"}),
        topic(names.quarantine, sized),
        topic(names.validation_changelog, {**COMPACTED}),
        topic(names.validation_balance, {**COMPACTED}),
    ]


def _of_alarms(topic: Callable[..., TopicPlan], names: Names, sized: dict[str, str]) -> list[TopicPlan]:
    return [
        topic(names.thresholds, {**COMPACTED}),
        topic(names.alarms, sized),
        topic(names.alarms_changelog, {**COMPACTED}),
    ]


def _of_activity(topic: Callable[..., TopicPlan], names: Names, sized: dict[str, str]) -> list[TopicPlan]:
    return [topic(names.uplinks, sized), topic(names.activity_changelog, {**COMPACTED})]
