"""The kinds of workers: what each of them uses of a pipeline. One home: manifests, plan and status follow this table.

A worker's *slice* is the part of the specification it reads, all else at its defaults. Its pods roll when the slice
changes, so a slice must leave out what the worker does not read, replicas above all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from meterpipe.spec.models import Aggregator, Cassandra, Kafka, MeterPipeline, Scaled, Spec, Topic, Topics

Slice = Callable[[Spec], Spec]


def _read_topic(spec: Spec) -> Kafka:
    """Of the readings topic a worker needs its name; partitions it counts itself."""
    return Kafka(topics=Topics(readings=Topic(name=spec.kafka.topics.readings.name)))


def _aggregator(spec: Spec) -> Spec:
    own = spec.aggregator.model_copy(update=_unscaled())
    return Spec(kafka=_read_topic(spec), readings=spec.readings, aggregator=own, monitoring=spec.monitoring)


def _sink(spec: Spec) -> Spec:
    return Spec(
        aggregator=Aggregator(windows=spec.aggregator.windows),
        cassandra=Cassandra(keyspace=spec.cassandra.keyspace),
        monitoring=spec.monitoring,
    )


def _archiver(spec: Spec) -> Spec:
    own = spec.lake.model_copy(update={**_unscaled(), "secret_name": None})
    return Spec(kafka=_read_topic(spec), readings=spec.readings, lake=own, monitoring=spec.monitoring)


def _topics(spec: Spec) -> Spec:
    return Spec(kafka=Kafka(topics=spec.kafka.topics), aggregator=Aggregator(windows=spec.aggregator.windows))


def _schema(spec: Spec) -> Spec:
    kept = {name: getattr(spec.cassandra, name) for name in ("keyspace", "replication_factor", "ttl")}
    return Spec(aggregator=Aggregator(windows=spec.aggregator.windows), cassandra=Cassandra(**kept))


def _unscaled() -> dict[str, object]:
    return {name: field.get_default() for name, field in Scaled.model_fields.items()}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of worker.

    `grace`: seconds from SIGTERM to SIGKILL, above what the worker itself allows for finishing.
    """

    name: str
    scaled: Callable[[Spec], Scaled]
    slice: Slice
    grace: int
    cassandra: bool = False
    lake: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One thing done once by a Job, before workers (re)start."""

    name: str
    command: tuple[str, ...]
    slice: Slice
    kafka: bool = False
    cassandra: bool = False


WORKERS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            # one transaction: each of its calls may take 20 s; killed later, Kafka aborts it and others take over
            Kind("aggregator", lambda spec: spec.aggregator, _aggregator, grace=45),
            # waits 20 s for rows in flight
            Kind("sink", lambda spec: spec.cassandra, _sink, grace=40, cassandra=True),
            # tries for 10 s to write up to a million readings
            Kind("archiver", lambda spec: spec.lake, _archiver, grace=60, lake=True),
        )
    }
)
TOPICS = Task("topics", ("topics", "apply"), _topics, kafka=True)
SCHEMA = Task("schema", ("schema", "apply"), _schema, cassandra=True)
REPLAY = Task("replay", ("reset", "aggregator", "--to-beginning", "--yes"), _aggregator, kafka=True)
TASKS = (TOPICS.name, SCHEMA.name, REPLAY.name)
"""Components that are Jobs."""


def sliced(pipeline: MeterPipeline, part: Slice) -> MeterPipeline:
    """The pipeline as one worker reads it: name and namespace, and its slice of the specification."""
    kept = {"name": pipeline.metadata.name, "namespace": pipeline.metadata.namespace}
    metadata = type(pipeline.metadata)(**kept)
    return pipeline.model_copy(update={"metadata": metadata, "spec": part(pipeline.spec)})
