"""The whole pipeline on this machine: Kafka, Cassandra, S3, aggregator, sink and archiver share its cores.

    python -m bench.pipeline                          1 000 meters (asked for: 60 k readings/s) and 50 000 meters
    python -m bench.pipeline --readings 600000 --meters 1000 --cold

A run of the same size goes before, for a store that has been up for a minute burns twice the CPU a row of one that has
been up for a day (its code is not compiled yet); that run is shown too.

The readings lie in Kafka, in time order, before the workers start. The time runs from the first reading taken to the
last row acknowledged by Cassandra and the last commit of the lake; the CPU of every process is that between the two.
Rows and windows are compared with a recomputation afterwards. Exit code 1 if one differs or the rate is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from meterpipe.adapters.kafka import new_producer
from meterpipe.adapters.lake import count_rows, open_existing
from meterpipe.adapters.s3 import ensure_bucket, location_of
from meterpipe.adapters.schema import apply_schema
from meterpipe.adapters.topics import ensure_topics
from meterpipe.core.control import CONTROL_HEADER, encode_control
from meterpipe.datasets.oracle import Rules, differences, expect, log_of
from meterpipe.datasets.publish import Format, Publisher
from meterpipe.local import process
from meterpipe.local.paths import DataDir
from meterpipe.local.readback import read_windows
from meterpipe.local.scrape import Samples, scrape, total
from meterpipe.local.services import Connections, down, up
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Metric
from rich.console import Console
from rich.table import Table

from bench.engine.workload import PARTITIONS, START_MS, Workload

WINDOWS = (60, 600, 3600, 86400)
WORKERS = ("aggregator", "sink", "archiver")
PORTS = range(38_201, 38_204)
TARGET = 60_000  # readings a second, 1 000 meters
DAY_MS = 86_400_000
TICK = os.sysconf("SC_CLK_TCK")
console = Console(width=120)


@dataclass(frozen=True)
class InOrder(Workload):
    """The engine's workload, nothing late or out of order."""

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """meter number, event time (ms), value in order of time."""
        minute, meter = np.divmod(np.arange(self.readings, dtype=np.int64), self.meters)
        value = np.random.default_rng(self.seed).integers(0, 8 * 1024, self.readings) / 1024
        return meter, START_MS + minute * 60_000 + meter * 60_000 // self.meters, value


@dataclass(frozen=True)
class Outcome:
    """One run."""

    workload: Workload
    seconds: float
    cpu: dict[str, float]
    rows: int
    problems: list[str]
    cold: bool = False

    @property
    def rate(self) -> float:
        """Readings a second."""
        return self.workload.readings / self.seconds


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def run(data: DataDir, services: Connections, workload: Workload, form: Format, cold: bool) -> Outcome:
    """Load, start the workers, measure, compare."""
    config = new_config(services)
    ensure_topics(config)
    ensure_bucket(services.lake, config.pipeline.spec.lake.bucket)
    apply_schema(config)
    batches = list(workload.batches(workload.columns()))
    send(config, batches, workload, form)
    expected = expect(log_of(batches, PARTITIONS), Rules(WINDOWS)).windows
    wanted = sum(len(table) for table in expected.values())
    path = data.root / f"{config.pipeline.metadata.name}.json"
    path.write_text(config.model_dump_json(by_alias=True))
    pids = {name: running.pid for name, running in process.find_all(data).items()}
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    with (data.root / "workers.log").open("w") as log:
        started = {
            kind: subprocess.Popen([*command(), "worker", kind, "--config", path, "--port", str(port)], stderr=log)
            for kind, port in zip(WORKERS, PORTS, strict=True)
        }
    try:
        seconds, rows = measure(workload.readings, wanted)
        pids |= {kind: popen.pid for kind, popen in started.items()}
        cpu = {name: cpu_seconds(pid) - before.get(name, 0.0) for name, pid in pids.items()}
    finally:
        for popen in started.values():
            popen.terminate()
        for popen in started.values():
            popen.wait(60)
    names = names_of(config.pipeline)
    stored_windows = read_windows(services.cassandra, names.keyspace, {size: names.table(size) for size in WINDOWS})
    problems = [
        f"{size} s: {line}"
        for size, table in expected.items()
        for line in differences(table, stored_windows[size], exact_sums=True)
    ]
    stored = count_rows(open_existing(location_of(config)))
    if stored != workload.readings:
        problems.append(f"the lake holds {stored:,} readings of {workload.readings:,}")
    return Outcome(workload, seconds, cpu, rows, problems, cold)


def command() -> list[str]:
    """How a worker is started."""
    return [sys.executable, "-m", "meterpipe.cli.main"]


def new_config(services: Connections) -> WorkerConfig:
    """A pipeline of its own."""
    spec = {"kafka": {"topics": {"readings": {"partitions": PARTITIONS}}}, "lake": {"flush": {"seconds": 10}}}
    resource = {
        "apiVersion": "meterpipe.io/v1alpha1",
        "kind": "MeterPipeline",
        "metadata": {"name": f"bench-{uuid.uuid4().hex[:8]}"},
        "spec": spec,
    }
    return WorkerConfig.model_validate({"pipeline": resource, **dict(services)})


def send(config: WorkerConfig, batches: list, workload: Workload, form: Format) -> None:
    """Preload the topic, and tell it that the last day is over."""
    topic, producer = names_of(config.pipeline).readings, new_producer(config.kafka, linger_ms=20)
    publisher = Publisher(producer, topic, PARTITIONS, form)
    for batch in batches:
        publisher.send(batch)
    if publisher.finish().failed:
        raise RuntimeError(f"not delivered: {publisher.sent.errors}")
    end = (publisher.sent.last_ts // DAY_MS + 1) * DAY_MS + 300_000
    for partition in range(PARTITIONS):
        producer.produce(topic, encode_control(end), partition=partition, headers=[CONTROL_HEADER])
    producer.flush(30)


def measure(readings: int, rows: int) -> tuple[float, int]:
    """Seconds from the first reading taken until all rows and readings are stored."""
    began: float | None = None
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline:
        figures = {kind: scrape(port) or {} for kind, port in zip(WORKERS, PORTS, strict=True)}
        now = time.monotonic()
        if began is None and any(told(figures, kind, Metric.READINGS) for kind in ("aggregator", "archiver")):
            began = now
        written, archived = told(figures, "sink", Metric.ROWS), told(figures, "archiver", Metric.ROWS)
        if began is not None and written >= rows and archived >= readings:
            return now - began, written
        time.sleep(0.1)
    raise RuntimeError(f"not done in 15 min: {written:,} of {rows:,} rows, {archived:,} of {readings:,} readings")


def told(figures: dict[str, Samples], kind: str, metric: Metric) -> int:
    """A worker's counter."""
    return int(total([figures[kind]], metric))


def name_of(outcome: Outcome) -> str:
    """The first column."""
    return f"{outcome.workload.meters:,}{' (services just started)' if outcome.cold else ''}"


def report(outcomes: list[Outcome]) -> bool:
    """Print the tables; whether all is right and fast enough."""
    table = Table(title="from the first reading to the last row and the last commit of the lake")
    for column in ("meters", "readings", "rows", "seconds", "readings/s", "asked", "results"):
        table.add_column(column, justify="right")
    good = True
    for outcome in outcomes:
        asked = outcome.workload.meters == 1000 and not outcome.cold
        reached = outcome.rate >= TARGET
        good = good and not outcome.problems and (reached or not asked)
        table.add_row(
            name_of(outcome),
            f"{outcome.workload.readings:,}",
            f"{outcome.rows:,}",
            f"{outcome.seconds:.1f}",
            f"{outcome.rate:,.0f}",
            f">= {TARGET:,} {'yes' if reached else 'NO'}" if asked else "",
            "WRONG" if outcome.problems else "as recomputed",
        )
        for line in outcome.problems:
            console.print(f"[red]{line}")
    console.print(table)
    parts = Table(title="CPU seconds of each process")
    names = list(outcomes[0].cpu)
    for column in ("meters", *names):
        parts.add_column(column, justify="right")
    for outcome in outcomes:
        parts.add_row(name_of(outcome), *(f"{outcome.cpu[name]:.1f}" for name in names))
    console.print(parts)
    return good


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=3_000_000)
    parser.add_argument("--meters", type=int, nargs="*", default=[1_000, 50_000])
    parser.add_argument("--format", type=Format, choices=list(Format), default=Format.JSON)
    parser.add_argument("--cold", action="store_true", help="no run before, to warm the services up")
    options = parser.parse_args()
    runs = [(meters, options.cold) for meters in options.meters]
    if not options.cold:
        runs.insert(0, (options.meters[0], True))
    with tempfile.TemporaryDirectory(prefix="meterpipe-bench-") as folder:
        data = DataDir(Path(folder))
        services = up(data, tethered=True)
        try:
            console.log(f"load average {os.getloadavg()}, {os.cpu_count()} cores")
            outcomes = [
                run(data, services, InOrder(options.readings, meters), options.format, cold) for meters, cold in runs
            ]
        finally:
            down(data)
    return 0 if report(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
