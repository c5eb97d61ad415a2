"""The kinds of workers: what each of them uses of a pipeline. One home: manifests, plan and status follow this table.

A worker's *slice* is the part of the specification it reads, all else at its defaults. Its pods roll when the slice
changes, so a slice must leave out what the worker does not read, replicas above all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from meterpipe.spec.activity import Activity
from meterpipe.spec.alarms import Alarms
from meterpipe.spec.ingest import Ingest
from meterpipe.spec.kubernetes import Resources
from meterpipe.spec.models import Aggregator, Cassandra, Kafka, MeterPipeline, Readings, Scaled, Spec, Topic, Topics
from meterpipe.spec.notifier import Notifier
from meterpipe.spec.routing import Routing
from meterpipe.spec.validation import Validation

Slice = Callable[[Spec], Spec]


def _read_topic(spec: Spec) -> Kafka:
    """Of the readings topic a worker needs its name; partitions it counts itself."""
    return Kafka(topics=Topics(readings=Topic(name=spec.kafka.topics.readings.name)))


def _aggregator(spec: Spec) -> Spec:
    own = spec.aggregator.model_copy(update=_unscaled())
    return _counted(spec).model_copy(update={"aggregator": own})


def _validation(spec: Spec) -> Spec:
    return _reader(spec).model_copy(
        update={
            "validation": spec.validation.model_copy(
                update={"replicas": Scaled().replicas, "resources": Scaled().resources}
            )
        }
    )


def _router(spec: Spec) -> Spec:
    own = spec.routing.model_copy(update={"replicas": Routing().replicas, "resources": Routing().resources})
    return _counted(spec).model_copy(update={"routing": own})


def _alarms(spec: Spec) -> Spec:
    kept = {"replicas": Alarms().replicas, "resources": Alarms().resources, "notifier": Notifier()}
    passing = Aggregator(grace=spec.aggregator.grace)  # how event time passes
    return _counted(spec).model_copy(update={"alarms": spec.alarms.model_copy(update=kept), "aggregator": passing})


def _notifier(spec: Spec) -> Spec:
    kept = {"replicas": Notifier().replicas, "resources": Notifier().resources}
    told = Alarms(enabled=spec.alarms.enabled, notifier=spec.alarms.notifier.model_copy(update=kept))
    own = Spec(alarms=told, cassandra=Cassandra(keyspace=spec.cassandra.keyspace), monitoring=spec.monitoring)
    if not spec.alarms.notifier.api.enabled:
        return own
    # thresholds are put where the readings of their meters are
    where = {"readings": Readings(key=spec.readings.key), "validation": Validation(enabled=spec.validation.enabled)}
    return own.model_copy(update=where)


def _activity(spec: Spec) -> Spec:
    own = spec.activity.model_copy(update={"replicas": Activity().replicas, "resources": Activity().resources})
    return _reader(spec).model_copy(update={"activity": own})


def _counted(spec: Spec) -> Spec:
    """Of a worker that reads the readings that are counted."""
    return _reader(spec).model_copy(update={"validation": Validation(enabled=spec.validation.enabled)})


def _ingest(spec: Spec) -> Spec:
    own = spec.ingest.model_copy(update={"replicas": Ingest().replicas, "resources": Ingest().resources})
    return _reader(spec).model_copy(update={"ingest": own})


def _reader(spec: Spec) -> Spec:
    """Of a worker that decodes or writes readings."""
    return Spec(kafka=_read_topic(spec), readings=spec.readings, monitoring=spec.monitoring)


def _sink(spec: Spec) -> Spec:
    return Spec(
        aggregator=Aggregator(windows=spec.aggregator.windows),
        cassandra=Cassandra(keyspace=spec.cassandra.keyspace),
        monitoring=spec.monitoring,
    )


def _archiver(spec: Spec) -> Spec:
    own = spec.lake.model_copy(update={**_unscaled(), "secret_name": None})
    return _reader(spec).model_copy(update={"lake": own})


def _topics(spec: Spec) -> Spec:
    return Spec(
        kafka=Kafka(topics=spec.kafka.topics),
        aggregator=Aggregator(windows=spec.aggregator.windows),
        validation=Validation(enabled=spec.validation.enabled),
        alarms=Alarms(enabled=spec.alarms.enabled),
        activity=Activity(enabled=spec.activity.enabled),
        routing=Routing(routes=spec.routing.routes),
    )


def _schema(spec: Spec) -> Spec:
    kept = {name: getattr(spec.cassandra, name) for name in ("keyspace", "replication_factor", "ttl")}
    noted = Notifier(open_alarms=spec.alarms.notifier.open_alarms)
    return Spec(
        aggregator=Aggregator(windows=spec.aggregator.windows),
        cassandra=Cassandra(**kept),
        alarms=Alarms(enabled=spec.alarms.enabled, notifier=noted),
    )


def _unscaled() -> dict[str, object]:
    """Nothing of how many pods there are and of what they get."""
    default = Scaled()
    return {name: getattr(default, name) for name in ("replicas", "autoscaling", "resources")}


class _Sized(Protocol):
    """Pods without autoscaling."""

    @property
    def replicas(self) -> int:
        """How many."""

    @property
    def resources(self) -> Resources:
        """What each gets."""


def _size(own: _Sized, wanted: bool = True) -> Scaled:
    return Scaled(replicas=own.replicas if wanted else 0, resources=own.resources)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of worker.

    `grace`: seconds from SIGTERM to SIGKILL, above what the worker itself allows for finishing. `wanted`: whether there
    is such a worker at all, be it with 0 pods. `ports`: those that others than Prometheus connect to, by name.
    """

    name: str
    scaled: Callable[[Spec], Scaled]
    slice: Slice
    grace: int
    cassandra: Callable[[Spec], bool] = lambda spec: False
    lake: bool = False
    registry: bool = False
    ingest: bool = False
    notifier: bool = False
    redis: bool = False
    wanted: Callable[[Spec], bool] = lambda spec: True
    ports: Callable[[Spec], Mapping[str, int]] = lambda spec: {}


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
            Kind(
                "validation",
                lambda spec: _size(spec.validation, spec.validation.enabled),
                _validation,
                45,
                registry=True,
                wanted=lambda spec: spec.validation.enabled,
            ),
            Kind("aggregator", lambda spec: spec.aggregator, _aggregator, 45, registry=True),
            # waits 20 s for rows in flight
            Kind("sink", lambda spec: spec.cassandra, _sink, 40, cassandra=lambda spec: True),
            # tries for 10 s to write up to a million readings
            Kind("archiver", lambda spec: spec.lake, _archiver, 60, lake=True, registry=True),
            # answers requests that wait for Kafka, by default up to 30 s
            Kind(
                "ingest",
                lambda spec: _size(spec.ingest),
                _ingest,
                45,
                ingest=True,
                wanted=lambda spec: spec.ingest.replicas > 0,
                ports=lambda spec: {"http": spec.ingest.http.port},
            ),
            Kind(
                "router",
                lambda spec: _size(spec.routing, bool(spec.routing.routes)),
                _router,
                45,
                registry=True,
                wanted=lambda spec: bool(spec.routing.routes),
            ),
            Kind(
                "alarms",
                lambda spec: _size(spec.alarms, spec.alarms.enabled),
                _alarms,
                45,
                registry=True,
                wanted=lambda spec: spec.alarms.enabled,
            ),
            # waits for answers of the webhook under way
            Kind(
                "notifier",
                lambda spec: _size(spec.alarms.notifier, spec.alarms.enabled),
                _notifier,
                45,
                cassandra=lambda spec: spec.alarms.notifier.open_alarms,
                notifier=True,
                wanted=lambda spec: spec.alarms.enabled,
                ports=lambda spec: {"api": spec.alarms.notifier.api.port} if spec.alarms.notifier.api.enabled else {},
            ),
            Kind(
                "activity",
                lambda spec: _size(spec.activity, spec.activity.enabled),
                _activity,
                45,
                registry=True,
                redis=True,
                wanted=lambda spec: spec.activity.enabled,
            ),
        )
    }
)
TOPICS = Task("topics", ("topics", "apply"), _topics, kafka=True)
SCHEMA = Task("schema", ("schema", "apply"), _schema, cassandra=True)
REPLAY = Task("replay", ("reset", "aggregator", "--to-beginning", "--yes"), _aggregator, kafka=True)
TASKS = (TOPICS.name, SCHEMA.name, REPLAY.name)
"""Components that are Jobs."""


def workers_of(spec: Spec) -> list[Kind]:
    """The workers a pipeline has, with or without pods."""
    return [kind for kind in WORKERS.values() if kind.wanted(spec)]


def sliced(pipeline: MeterPipeline, part: Slice) -> MeterPipeline:
    """The pipeline as one worker reads it: name and namespace, and its slice of the specification."""
    kept = {"name": pipeline.metadata.name, "namespace": pipeline.metadata.namespace}
    metadata = type(pipeline.metadata)(**kept)
    return pipeline.model_copy(update={"metadata": metadata, "spec": part(pipeline.spec)})
