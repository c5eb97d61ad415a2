"""How fast rows get into Cassandra: the sink's way beside the driver's execute_concurrent with one row a statement.

    python -m bench.sink.run                           an embedded Cassandra of its own
    python -m bench.sink.run --cassandra HOST:PORT     another one; its keyspace bench_sink is dropped and made anew

Input are the columnar messages of the aggregates topics, decoded, gathered, encoded, written and acknowledged as the
sink does (only Kafka is left out). The driver gets tuples that are ready to bind, and the better of two concurrencies.
Both run on the same warm server, turn by turn. At the end every row is read back and compared. Exit code 1 if a row
differs or a threshold is missed.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cassandra.cluster import Session
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.util import Date
from meterpipe.adapters.cassandra import connect
from meterpipe.adapters.schema import apply_schema
from meterpipe.adapters.sink import LOW_BACKLOG, SUBMIT_ROWS
from meterpipe.adapters.store_writer import StoreWriter
from meterpipe.core.cql import insert
from meterpipe.core.result_codec import decode_results
from meterpipe.core.store_rows import store_rows
from meterpipe.local.paths import DataDir
from meterpipe.local.services import down, up
from meterpipe.spec.connections import CassandraConnection, KafkaConnection, WorkerConfig
from meterpipe.spec.models import MeterPipeline
from meterpipe.worker.telemetry import Silent

from bench.sink.shapes import ATTRIBUTE, METRIC, NUMBERS, WINDOW, Shape

KEYSPACE, TABLE = "bench_sink", f"metrics_aggregates_{WINDOW}"
CONCURRENCIES = (100, 400)
CATCH_UP_RATE, CATCH_UP_RATIO, LIVE_RATIO = 100_000, 10.0, 3.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured way of writing `rows` rows."""

    rows: int
    seconds: float
    client_cpu: float
    server_cpu: float | None
    load: float

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    def line(self) -> str:
        """The figure for people."""
        server = "" if self.server_cpu is None else f", server {self.server_cpu / self.rows * 1e6:5.1f} us CPU a row"
        return (
            f"{self.rate:>9,.0f} rows/s, {self.rows / self.client_cpu:>9,.0f} rows a client CPU-s"
            f"{server}, load {self.load:.1f}"
        )


def main() -> int:
    """Run, print, judge."""
    options = arguments()
    with server(options.cassandra) as (connection, pid):
        config = worker_config(connection)
        session = connect(connection, 60.0)
        try:
            session.execute(f"DROP KEYSPACE IF EXISTS {KEYSPACE}", timeout=60)
            apply_schema(config)
            return measure(session, pid, options)
        finally:
            session.cluster.shutdown()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cassandra", metavar="HOST:PORT", help="default: an embedded one")
    parser.add_argument("--rounds", type=int, default=3, help="times everything is measured")
    parser.add_argument("--warm-ups", type=int, default=2, help="rounds before that, for the server's compiler")
    parser.add_argument("--meters", type=int, default=1000, help="meters of the catch-up shape")
    parser.add_argument("--windows", type=int, default=480, help="windows of each in a round of the catch-up shape")
    parser.add_argument("--live-meters", type=int, default=20_000, help="meters of the live shape")
    parser.add_argument(
        "--closes", type=int, default=6, help="windows of each in a round of the live shape, one by one"
    )
    parser.add_argument("--singles", type=int, default=20_000, help="rows the driver writes in a round of each shape")
    parser.add_argument("--json", type=Path, help="write the figures there")
    return parser.parse_args()


@contextmanager
def server(address: str | None) -> Iterator[tuple[CassandraConnection, int | None]]:
    """A Cassandra, and its process if it is ours."""
    if address:
        host, _, port = address.rpartition(":")
        yield CassandraConnection(contact_points=(host,), port=int(port)), None
        return
    with tempfile.TemporaryDirectory(prefix="meterpipe-bench-") as folder:
        data = DataDir(Path(folder)).create()
        try:
            connection = up(data, tethered=True, only=["cassandra"]).cassandra
            yield connection, listener(connection.port)
        finally:
            down(data)


def listener(port: int) -> int | None:
    """The process on this machine that listens on `port`."""
    lines = Path("/proc/net/tcp").read_text().splitlines() + Path("/proc/net/tcp6").read_text().splitlines()
    fields = [line.split() for line in lines if " 0A " in line]
    sockets = {f"socket:[{f[9]}]" for f in fields if int(f[1].rpartition(":")[2], 16) == port}
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(fd) in sockets:
                return int(fd.parts[2])
        except OSError:
            continue
    return None


def worker_config(connection: CassandraConnection) -> WorkerConfig:
    """A pipeline with the tables to be measured."""
    resource = {
        "apiVersion": "meterpipe.io/v1alpha1",
        "kind": "MeterPipeline",
        "metadata": {"name": "bench"},
        "spec": {"cassandra": {"keyspace": KEYSPACE}},
    }
    kafka = KafkaConnection(bootstrap_servers="unused:9092")
    return WorkerConfig(pipeline=MeterPipeline.model_validate(resource), kafka=kafka, cassandra=connection)


def measure(session: Session, pid: int | None, options: argparse.Namespace) -> int:
    """Warm up, measure in turns, read back, judge."""
    writer = StoreWriter(session, KEYSPACE, {WINDOW: TABLE}, Silent())
    print(f"Cassandra {session.execute('SELECT release_version FROM system.local').one()[0]}, {writer.limits}")
    ours = Ours(writer)
    single = Single(session)
    written: list[Shape] = []
    figures: dict[str, list[Figure]] = {}

    def run(
        name: str, shapes: list[Shape], write: Callable[[list[Any]], None], prepare: Callable[[Shape], Any]
    ) -> None:
        inputs = [prepare(shape) for shape in shapes]
        figure = timed(sum(shape.rows for shape in shapes), pid, lambda: write(inputs))
        written.extend(shapes)
        figures.setdefault(name, []).append(figure)
        print(f"{name:<34}{figure.line()}", flush=True)

    meters, live, singles = options.meters, options.live_meters, options.singles
    for number in range(-options.warm_ups, options.rounds):
        day = 2 * (number + options.warm_ups)
        label = "" if number >= 0 else "warm-up: "
        run(f"{label}catch-up, sink", [Shape("catch", meters, options.windows, day)], ours.write, Shape.messages)
        for i, concurrency in enumerate(CONCURRENCIES):
            shape = Shape("catch-single", meters, max(1, singles // meters), day, first=720 * i)
            run(f"{label}catch-up, singles x{concurrency}", [shape], single.writing(concurrency), single.prepare)
        closes = [Shape("live", live, 1, day + 1, first=i) for i in range(options.closes)]
        run(f"{label}live, sink", closes, ours.write, Shape.messages)
        for i, concurrency in enumerate(CONCURRENCIES):
            closes = [Shape("live-single", live, 1, day + 1, first=720 * i + k) for k in range(max(1, singles // live))]
            run(f"{label}live, singles x{concurrency}", closes, single.writing(concurrency), single.prepare)
    differences = compare(session, written)
    verdict = judge(figures, differences, sum(shape.rows for shape in written))
    if options.json:
        figures_out = {name: [asdict(figure) for figure in many] for name, many in figures.items()}
        options.json.write_text(json.dumps({"figures": figures_out, **verdict}, indent=2))
    return 0 if verdict["passed"] else 1


class Ours:
    """The sink's way from messages to acknowledged rows."""

    def __init__(self, writer: StoreWriter) -> None:
        self.writer = writer

    def write(self, shapes: list[list[bytes]]) -> None:
        """Each shape's messages; those of the next one only when all rows of one are there (a window's close)."""
        for messages in shapes:
            flights, pile, rows = [], [], 0
            for message in messages:
                decoded = decode_results([message], (WINDOW,))
                pile += decoded.tables[WINDOW]
                rows += decoded.rows
                if rows >= SUBMIT_ROWS:
                    flights.append(self.writer.submit(store_rows(pile, WINDOW)))
                    pile, rows = [], 0
                    while self.writer.backlog >= LOW_BACKLOG:
                        self.writer.pump(0.05)
            if pile:
                flights.append(self.writer.submit(store_rows(pile, WINDOW)))
            while not all(flight.done for flight in flights):
                self.writer.pump(0.05)


class Single:
    """The driver's execute_concurrent_with_args, one row a statement."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.statement = session.prepare(insert(KEYSPACE, TABLE))

    def prepare(self, shape: Shape) -> list[tuple[Any, ...]]:
        """Values ready to bind."""
        numbers = shape.numbers()
        rows = []
        for w, start in enumerate(shape.starts.tolist()):
            moment = datetime.fromtimestamp(start / 1000, UTC)
            bucket, written = Date(moment.date()), (start + WINDOW * 1000) * 1000
            columns = [numbers[name][w].tolist() for name in NUMBERS]
            for meter, count, low, high, total, first, last in zip(shape.names(), *columns, strict=True):
                values = (int(count), low, high, total, total / count, first, last)
                rows.append((meter, METRIC, ATTRIBUTE, bucket, moment, *values, 0, written))
        return rows

    def writing(self, concurrency: int) -> Callable[[list[list[tuple[Any, ...]]]], None]:
        """Write every shape, with so many statements in flight."""

        def write(shapes: list[list[tuple[Any, ...]]]) -> None:
            for rows in shapes:
                execute_concurrent_with_args(self.session, self.statement, rows, concurrency=concurrency)

        return write


def timed(rows: int, pid: int | None, work: Callable[[], None]) -> Figure:
    """Wall time, and the CPU time of client and server."""
    cpu, there, began = time.process_time(), cpu_of(pid), time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    server_cpu = None if there is None else (cpu_of(pid) or 0.0) - there
    return Figure(rows, seconds, time.process_time() - cpu, server_cpu, os.getloadavg()[0])


def cpu_of(pid: int | None) -> float | None:
    """User and system seconds of a process."""
    if pid is None:
        return None
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(session: Session, shapes: list[Shape]) -> int:
    """Read every partition back whole; how many rows are missing, wrong or too many."""
    query = session.prepare(
        f"SELECT window_start, count, min, max, sum, avg, first, last, revision FROM {KEYSPACE}.{TABLE}"
        " WHERE meter = ? AND metric = ? AND attribute = ? AND bucket = ? ORDER BY window_start"
    )
    differences = partitions = 0
    days: dict[tuple[str, int], list[Shape]] = {}
    for shape in sorted(shapes, key=lambda shape: shape.first):
        days.setdefault((shape.prefix, shape.day), []).append(shape)
    for parts in days.values():
        starts, columns = expected(parts)
        bucket = Date(starts[0].date())
        keys = [(meter, METRIC, ATTRIBUTE, bucket) for meter in parts[0].names()]
        partitions += len(keys)
        results = execute_concurrent_with_args(session, query, keys, concurrency=50, results_generator=True)
        for meter, (_, rows) in enumerate(results):
            wanted = list(zip(starts, *(c[:, meter].tolist() for c in columns), [0] * len(starts), strict=True))
            found = [tuple(row) for row in rows]
            if found != wanted:
                differences += max(1, len(set(wanted) ^ set(found)))
    there = session.execute(f"SELECT DISTINCT meter, metric, attribute, bucket FROM {KEYSPACE}.{TABLE}", timeout=600)
    return differences + abs(sum(1 for _ in there) - partitions)


def expected(parts: list[Shape]) -> tuple[list[datetime], list[npt.NDArray[np.float64]]]:
    """Starts, and each number of shape (starts, meters), of shapes that share their partitions."""
    instants = np.concatenate([part.starts for part in parts]).tolist()
    starts = [datetime.fromtimestamp(instant / 1000, UTC).replace(tzinfo=None) for instant in instants]
    numbers = [part.numbers() for part in parts]
    columns = [np.concatenate([n[name] for n in numbers]) for name in NUMBERS]
    columns.insert(4, columns[3] / columns[0])
    return starts, columns


def judge(figures: dict[str, list[Figure]], differences: int, rows: int) -> dict[str, Any]:
    """Medians against the thresholds; printed, and as values."""
    median = {name: statistics.median(f.rate for f in many) for name, many in figures.items() if "warm" not in name}
    best = {
        shape: max(v for k, v in median.items() if k.startswith(f"{shape}, singles")) for shape in ("catch-up", "live")
    }
    catch_up, live = median["catch-up, sink"], median["live, sink"]
    checks = {
        f"catch-up >= {CATCH_UP_RATE:,} rows/s": (catch_up, catch_up >= CATCH_UP_RATE),
        f"catch-up >= {CATCH_UP_RATIO:.0f}x singles": (
            catch_up / best["catch-up"],
            catch_up / best["catch-up"] >= CATCH_UP_RATIO,
        ),
        f"live >= {LIVE_RATIO:.0f}x singles": (live / best["live"], live / best["live"] >= LIVE_RATIO),
        f"{rows:,} rows read back, differences": (differences, differences == 0),
    }
    print("\nmedians: " + ", ".join(f"{name} {rate:,.0f}" for name, rate in median.items()))
    for text, (value, good) in checks.items():
        print(f"{'ok  ' if good else 'MISS'} {text}: {value:,.1f}")
    return {
        "checks": {text: value for text, (value, _) in checks.items()},
        "passed": all(g for _, g in checks.values()),
    }


if __name__ == "__main__":
    sys.exit(main())
