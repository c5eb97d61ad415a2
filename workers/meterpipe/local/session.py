"""One pipeline running on this machine: services up, topics, bucket and tables made, workers supervised.

A context: whatever ends it, workers stop first and services after them; services that ran before stay.
"""

import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from meterpipe.adapters.s3 import ensure_bucket
from meterpipe.adapters.schema import SchemaConflictError, apply_schema
from meterpipe.adapters.topics import TopicError, ensure_topics
from meterpipe.local import ports, process, services
from meterpipe.local.errors import LocalError
from meterpipe.local.paths import DataDir
from meterpipe.local.process import Command
from meterpipe.local.resolve import embedded_services, refuse_clusters, resolve
from meterpipe.local.signals import uninterrupted
from meterpipe.local.supervisor import Supervisor
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.models import MeterPipeline

RUN = "run"  # name of the pid file of the process that holds a session
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Session:
    """A running pipeline. Call `supervisor.tick()` often."""

    data: DataDir
    config: WorkerConfig
    supervisor: Supervisor
    metrics: dict[str, int]
    """Port of /metrics by worker name."""


@contextmanager
def session(
    pipeline: MeterPipeline, data: DataDir, *, secrets: Path, aggregators: int | None = None, say: Say
) -> Iterator[Session]:
    """Run `pipeline` until the context ends. LocalError if another process runs one in the same directory."""
    refuse_clusters(pipeline)
    data = data.create()
    with _only_one(data):
        running = set(process.find_all(data))
        needed = embedded_services(pipeline)
        try:
            embedded = services.up(data, tethered=True, only=needed, say=say)
            config = resolve(pipeline, embedded, secrets, data.schemas)
            prepare(config, say)
            names = worker_counts(pipeline, aggregators)
            _refuse_taken_ports(pipeline, names)
            metrics = _metrics_ports(data, names)
            supervisor = Supervisor(data, _commands(data, config, metrics))
            try:
                yield Session(data, config, supervisor, metrics)
            finally:
                with uninterrupted():
                    say("stopping the workers")
                    for name in supervisor.stop():
                        say(f"{name} did not stop in time and was killed")
        finally:
            with uninterrupted():
                if stopping := [name for name in needed if name not in running]:
                    say(f"stopping {', '.join(stopping)}")
                    services.down(data, stopping)


def prepare(config: WorkerConfig, say: Say) -> None:
    """Make topics, bucket and tables as far as they are missing."""
    try:
        if created := ensure_topics(config):
            say(f"topics: {len(created)} created")
    except TopicError as error:
        raise LocalError(str(error), "see spec.kafka.topics") from error
    if config.lake and ensure_bucket(config.lake, config.pipeline.spec.lake.bucket):
        say(f"bucket {config.pipeline.spec.lake.bucket}: created")
    try:
        for change in apply_schema(config):
            say(f"schema: {change}")
    except SchemaConflictError as error:
        way_out = "give spec.cassandra.keyspace another name, or drop the table"
        raise LocalError(str(error), way_out) from error


def worker_counts(pipeline: MeterPipeline, aggregators: int | None = None) -> list[str]:
    """Names of the worker processes, `<kind>-<number>`."""
    spec = pipeline.spec
    if spec.paused:
        return []
    counts = {
        "aggregator": spec.aggregator.replicas if aggregators is None else aggregators,
        "validation": spec.validation.replicas if spec.validation.enabled else 0,
        "sink": spec.cassandra.replicas,
        "archiver": spec.lake.replicas,
        "ingest": spec.ingest.replicas,
        "router": spec.routing.replicas if spec.routing.routes else 0,
        "alarms": spec.alarms.replicas if spec.alarms.enabled else 0,
        "notifier": spec.alarms.notifier.replicas if spec.alarms.enabled else 0,
        "activity": spec.activity.replicas if spec.activity.enabled else 0,
    }
    return [f"{kind}-{number}" for kind, count in counts.items() for number in range(count)]


def _refuse_taken_ports(pipeline: MeterPipeline, names: list[str]) -> None:
    """Raise LocalError if another program listens where workers are to."""
    kinds = {kind_of(name) for name in names}
    listening = {}
    if "ingest" in kinds:
        listening["spec.ingest.http.port"] = pipeline.spec.ingest.http.port
    api = pipeline.spec.alarms.notifier.api
    if "notifier" in kinds and api.enabled:
        listening["spec.alarms.notifier.api.port"] = api.port
    for field, port in listening.items():
        if not ports.free(port):
            raise LocalError(f"port {port} is taken", f"stop what listens there, or choose another {field}")


def kind_of(worker: str) -> str:
    """The kind in a worker's name."""
    return worker.rpartition("-")[0]


def _metrics_ports(data: DataDir, names: list[str]) -> dict[str, int]:
    ports.forget_taken(data, names)
    reserved = ports.reserve(data, names)
    metrics = {name: reserved[name] for name in names}
    data.workers.write_text(json.dumps(metrics, indent=2))
    return metrics


def _commands(data: DataDir, config: WorkerConfig, metrics: dict[str, int]) -> list[Command]:
    data.config.write_text(config.model_dump_json(by_alias=True, exclude_none=True, indent=2))
    base = (sys.executable, "-m", "meterpipe.cli.main", "worker")
    return [
        Command(
            name,
            (*base, kind_of(name), "--config", str(data.config), "--port", str(port), "--host", "127.0.0.1"),
            {"METERPIPE_INSTANCE": name},
        )
        for name, port in metrics.items()
    ]


@contextmanager
def _only_one(data: DataDir) -> Iterator[None]:
    """One session a directory."""
    with data.session.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = process.find(data, RUN)
            who = f"process {owner.pid}" if owner else "another process"
            raise LocalError(
                f"{who} runs a pipeline in {data.root}",
                "watch it with `meterpipe status`, stop it with `meterpipe down`, or give another --dir",
            ) from None
        process.note(data, RUN, os.getpid())
        try:
            yield
        finally:
            data.pid(RUN).unlink(missing_ok=True)
