"""What the benchmarks of stages (validation, routes, alarms, activity) share: a loaded topic, worked through once.

The parent loads the topic and compares results; the subject, a process of its own, works and measures itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
from confluent_kafka import KafkaError, TopicPartition
from meterpipe.adapters import transaction
from meterpipe.adapters.kafka import new_consumer, new_producer
from meterpipe.adapters.topics import ensure_topics
from meterpipe.cli.main import WithoutPandas
from meterpipe.core import json_codec, json_scan
from meterpipe.core.codecs import Decoder
from meterpipe.datasets.publish import Format, Publisher
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.frame import settle_memory

from bench.engine.subject import timed
from bench.engine.workload import PARTITIONS as PARTITIONS  # what loads a topic has as many
from bench.engine.workload import ends

Figures = dict[str, Any]
FORMS = ["json", "envelope", "both"]


def config_of(spec: dict[str, Any], **connections: object) -> WorkerConfig:
    """A pipeline of a name of its own with PARTITIONS partitions."""
    resource = {
        "apiVersion": "meterpipe.io/v1alpha1",
        "kind": "MeterPipeline",
        "metadata": {"name": f"bench-{uuid.uuid4().hex[:8]}"},
        "spec": {"kafka": {"topics": {"readings": {"partitions": PARTITIONS}}}, **spec},
    }
    return WorkerConfig.model_validate({"pipeline": resource, **connections})


def load(config: WorkerConfig, batches: Iterable[pa.RecordBatch], form: Format, end: int | None = None) -> None:
    """Make the topics and send the readings, and then the event time `end` (UTC ms)."""
    ensure_topics(config)
    producer = new_producer(config.kafka, delivery_report_only_error=True)
    publisher = Publisher(producer, names_of(config.pipeline).readings, PARTITIONS, form)
    for batch in batches:
        publisher.send(batch)
    if end is not None:
        publisher.control(end)
    if publisher.finish().failed:
        raise RuntimeError(f"not delivered: {publisher.sent.errors}")


def figures_of(subject: str, config: WorkerConfig) -> Figures:
    """What the subject, a module, prints of one run."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(config.model_dump_json(by_alias=True))
        file.flush()
        command = [sys.executable, "-m", subject, file.name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
    found: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def values_of(config: WorkerConfig, topic: str) -> list[bytes]:
    """The values of all committed records of a topic."""
    consumer = new_consumer(config.kafka, "bench-reader", enable_partition_eof=True)
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    values: list[bytes] = []
    open_partitions = set(range(PARTITIONS))
    while open_partitions:
        for message in consumer.consume(10_000, 0.1):
            if error := message.error():
                if error.code() == KafkaError._PARTITION_EOF:
                    open_partitions.discard(message.partition())
                continue
            values.append(message.value() or b"")
    consumer.close()
    return values


def forms_of(choice: str) -> list[Format]:
    """The forms that one of FORMS stands for."""
    return [Format.JSON, Format.ENVELOPE] if choice == "both" else [Format(choice)]


# the subject

Parts = Sequence[tuple[Any, str, str]]
"""(owner, name of its function, the part its time belongs to)"""


def work_through(
    config: WorkerConfig, make: Callable[[], Any], parts: Parts, told: Callable[[Any], Figures]
) -> Figures:
    """Have the worker that `make` makes work through the readings topic, and measure where its time goes.

    `told`: figures of the worker at its end, `readings` among them.
    """
    spent: dict[str, float] = defaultdict(float)
    timed(json_scan.Scanner, "scan", "scan", spent)
    timed(json_codec.JsonDecoder, "_decode_piece", "decode", spent)
    timed(Decoder, "decode", "keys", spent)
    for owner, name, part in parts:
        timed(owner, name, part, spent)
    for name in ("produce", "deliver", "commit", "poll"):
        timed(transaction.Transactions, name, "produce", spent)
    wanted = ends(config.kafka, names_of(config.pipeline).readings)
    worker = make()
    timed(worker._receiver, "take", "consume", spent)
    while not worker._owned:
        worker.step()
    settle_memory()
    spent.clear()
    wall, cpu, main = time.monotonic(), time.process_time(), time.thread_time()
    while any(worker._owned[p].state.next_offset < end or worker._owned[p].touched for p, end in wanted.items()):
        worker.step()
    cpu, wall, main = time.process_time() - cpu, time.monotonic() - wall, time.thread_time() - main
    figures = told(worker)
    worker.close()
    spent.pop("_inside", None)
    spent["rest of the loop"] = main - sum(spent.values())
    spent["client threads"] = cpu - main
    raw = figures["readings"]
    return {
        "readings": raw,
        "readings_per_cpu_second": round(raw / cpu),
        "cpu_seconds": round(cpu, 2),
        "wall_seconds": round(wall, 2),
        **figures,
        "spent_ns_per_reading": {part: round(seconds / raw * 1e9) for part, seconds in sorted(spent.items())},
    }


def main(run: Callable[[WorkerConfig], Figures], about: str | None) -> None:
    """The subject's command line: a WorkerConfig as JSON in a file; prints the figures as one line of JSON."""
    sys.meta_path.insert(0, WithoutPandas())  # as the command line does
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("config", type=argparse.FileType("rb"), help="WorkerConfig as JSON")
    options = parser.parse_args()
    print(json.dumps(run(WorkerConfig.model_validate_json(options.config.read()))), flush=True)
