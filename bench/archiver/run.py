"""What the archiver costs: readings a CPU-second of its process, JSON and envelopes in, a Delta lake on S3 out.

    python -m bench.archiver.run [--readings 2000000] [--meters 5000] [--repeat 3]

A Kafka and an S3 server of its own are started; the topic is loaded beforehand, in time order. Each figure comes from a
process of its own, from before the first message is asked for until the last reading is committed. Beside it, in the
same run, the limits no archiver can pass: taking the same messages from Kafka and doing nothing, and writing the same
rows with pyarrow (Parquet, zstd) and doing nothing else. The rows are counted in the lake; exit code 1 if any is
missing or there twice.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import TopicPartition
from meterpipe.adapters.archiver import Archiver
from meterpipe.adapters.batches import new_receiver
from meterpipe.adapters.kafka import new_consumer, new_producer
from meterpipe.adapters.lake import count_rows, open_existing
from meterpipe.adapters.s3 import ensure_bucket, location_of
from meterpipe.adapters.topics import ensure_topics
from meterpipe.core.envelope_codec import encode_envelopes
from meterpipe.core.murmur2 import partition_of
from meterpipe.core.readings import READING_SCHEMA
from meterpipe.local.paths import DataDir
from meterpipe.local.services import down, up
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.models import MeterPipeline
from meterpipe.spec.names import names_of
from meterpipe.worker.frame import settle_memory
from meterpipe.worker.telemetry import Memory, Metric

PARTITIONS = 4
CHUNK = 100_000
START = 1_700_000_000_000
FORMS = ("json", "envelopes")
JSON = b'{"gateway":"%s","metricType":"ELECTRICITY","metricAttribute":"ACTIVE_POWER","timestamp":%d,"value":%r}'


def main() -> int:
    """Load, measure, print, judge."""
    options = arguments()
    if options.child:
        print(json.dumps(CHILDREN[options.child](WorkerConfig.model_validate_json(sys.stdin.read()), options.readings)))
        return 0
    wrong = 0
    with tempfile.TemporaryDirectory() as folder, services(Path(folder)) as connections:
        for form in FORMS:
            figures: dict[str, list[dict[str, Any]]] = {}
            for run in range(options.repeat):
                config = pipeline(f"{form}{run}", connections)
                load(config, form, options.readings, options.meters)
                for child in CHILDREN:
                    figures.setdefault(child, []).append(measured(child, config, options.readings))
                table = open_existing(location_of(config))
                rows = count_rows(table) if table else 0
                if rows != options.readings:
                    print(f"{form}: {rows} rows in the lake instead of {options.readings}", file=sys.stderr)
                    wrong = 1
            report(form, figures, options.readings)
    return wrong


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=2_000_000)
    parser.add_argument("--meters", type=int, default=5_000)
    parser.add_argument("--repeat", type=int, default=3, help="the median is shown")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    return parser.parse_args()


@contextmanager
def services(folder: Path) -> Iterator[dict[str, Any]]:
    """Kafka and S3 of this run alone."""
    data = DataDir(folder).create()
    try:
        yield up(data, tethered=True, only=("kafka", "s3")).model_dump(mode="json", by_alias=True)
    finally:
        down(data)


def pipeline(name: str, connections: dict[str, Any]) -> WorkerConfig:
    """A pipeline of its own name, its topics and bucket made."""
    resource = {
        "apiVersion": "meterpipe.io/v1alpha1",
        "kind": "MeterPipeline",
        "metadata": {"name": name},
        "spec": {"kafka": {"topics": {"readings": {"partitions": PARTITIONS}}}},
    }
    config = WorkerConfig.model_validate({**connections, "pipeline": MeterPipeline.model_validate(resource)})
    ensure_topics(config)
    assert config.lake
    ensure_bucket(config.lake, config.pipeline.spec.lake.bucket)
    return config


def load(config: WorkerConfig, form: str, readings: int, meters: int) -> None:
    """Send `readings` in time order, each meter in turn once a minute."""
    producer, topic = new_producer(config.kafka), names_of(config.pipeline).readings
    names = [f"m{i:06d}" for i in range(meters)]
    homes = [partition_of(name.encode(), PARTITIONS) for name in names]
    for start in range(0, readings, CHUNK):
        i = np.arange(start, min(start + CHUNK, readings))
        n, meter = len(i), i % meters
        batch = pa.record_batch(
            [
                pa.array([names[m] for m in meter.tolist()]),
                pa.array(["ELECTRICITY"] * n),
                pa.array(["ACTIVE_POWER"] * n),
                pa.array(START + i * 60_000 // meters),
                pa.array(np.random.default_rng(start).integers(0, 5000, n) / 1024),
                pa.array(np.zeros(n, np.int32)),
                pa.array(np.zeros(n, np.uint8)),
                pa.array(np.zeros(n, np.uint16)),
            ],
            schema=READING_SCHEMA,
        )
        if form == "json":
            columns = (meter.tolist(), batch.column("ts").to_pylist(), batch.column("value").to_pylist())
            for m, ts, value in zip(*columns, strict=True):
                producer.produce(topic, JSON % (names[m].encode(), ts, value), partition=homes[m])
        else:
            for partition, value, _ in encode_envelopes(batch, PARTITIONS):
                producer.produce(topic, value, partition=partition)
        producer.flush()


def measured(child: str, config: WorkerConfig, readings: int) -> dict[str, Any]:
    """The figures of a process that does one thing."""
    argv = [sys.executable, "-m", "bench.archiver.run", "--child", child, "--readings", str(readings)]
    done = subprocess.run(argv, input=config.model_dump_json(by_alias=True), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{child} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@contextmanager
def timed(figures: dict[str, Any]) -> Iterator[None]:
    """CPU (user and system, all threads) and wall seconds of what is within."""
    cpu, wall = time.process_time(), time.perf_counter()
    yield
    figures |= {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def archive(config: WorkerConfig, readings: int) -> dict[str, Any]:
    """The archiver, as the worker runs it."""
    figures: dict[str, Any] = {}
    telemetry = Memory()
    archiver = Archiver(config, telemetry)
    settle_memory()  # as the worker's loop does
    with timed(figures):
        while telemetry.value(Metric.READINGS) < readings:
            archiver.step()
        archiver.close()  # commits the rest, as a flush that is due would
    assert telemetry.value(Metric.ROWS, table="readings") == readings
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures | {"commits": telemetry.value(Metric.COMMITS), "megabytes": megabytes}


def take(config: WorkerConfig, _: int) -> dict[str, Any]:
    """Every message of the topic, as the archiver takes them, and nothing done with it."""
    topic = names_of(config.pipeline).readings
    consumer = new_consumer(config.kafka, "bench-take", auto_offset_reset="error")
    receiver = new_receiver(consumer)
    places = [TopicPartition(topic, p, 0) for p in range(PARTITIONS)]
    receiver.follow(places)
    consumer.assign(places)
    expected = sum(consumer.get_watermark_offsets(TopicPartition(topic, p))[1] for p in range(PARTITIONS))
    taken, figures = 0, {}
    settle_memory()
    with timed(figures):
        while taken < expected:
            taken += len(receiver.take(20_000, 0.05))
    receiver.close()
    consumer.close()
    return figures


def write(config: WorkerConfig, readings: int) -> dict[str, Any]:
    """The rows of the lake, sorted and in memory, to one Parquet file in memory."""
    table = open_existing(location_of(config))
    assert table
    rows = pa.table(table.to_pyarrow_table()).drop_columns(["date"])
    for name in ("meter", "metric", "attribute"):
        rows = rows.set_column(rows.schema.get_field_index(name), name, rows.column(name).dictionary_encode())
    rows = rows.combine_chunks()
    assert rows.num_rows == readings
    figures: dict[str, Any] = {}
    with timed(figures):
        pq.write_table(rows, pa.BufferOutputStream(), compression="zstd", store_schema=False)
    return figures


CHILDREN = {"archive": archive, "take": take, "write": write}


def report(form: str, figures: dict[str, list[dict[str, Any]]], readings: int) -> None:
    """The medians."""
    cpu = {child: statistics.median(run["cpu"] for run in runs) for child, runs in figures.items()}
    wall = statistics.median(run["wall"] for run in figures["archive"])
    commits = int(figures["archive"][0]["commits"])
    peak = max(run["megabytes"] for run in figures["archive"])
    rate = {child: f"{readings / seconds:>12,.0f} readings a CPU-s" for child, seconds in cpu.items()}
    limit = cpu["take"] + cpu["write"]
    load = os.getloadavg()[0]
    blank = " " * 9
    print(
        f"{form:<9} {rate['archive']} ({cpu['archive']:.2f} CPU-s, {wall:.1f} s, {commits} commits, "
        f"peak {peak:.0f} MB, load {load:.1f})"
    )
    print(f"{blank} {rate['take']}: the same messages taken from Kafka, no more")
    print(f"{blank} {rate['write']}: the same rows to Parquet by pyarrow, no more")
    print(
        f"{blank} {readings / limit:>12,.0f} both; the archiver is at {limit / cpu['archive']:.0%} of that", flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
