"""What the proofs of exactness share: workers as real processes, readings sent while they run, results read back.

`Fleet` plays the supervisor: a worker that ends by itself is started again, one that the test killed when it says so.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from meterpipe.adapters.kafka import new_consumer, new_producer
from meterpipe.adapters.progress import Progress
from meterpipe.core.aggregates import AGGREGATE_SCHEMA
from meterpipe.core.balance import Balance
from meterpipe.core.result_codec import decode_results
from meterpipe.datasets.generator import GeneratorSpec, generate
from meterpipe.datasets.oracle import Control, Expected, Rules, differences, expect, log_of
from meterpipe.datasets.profiles import load_tables
from meterpipe.datasets.publish import Format, Publisher, end_of_day
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.models import Duplicates
from meterpipe.spec.names import names_of

FULL = os.environ.get("METERPIPE_FULL") == "1"
"""Whether tests of acceptance size run, too."""
PATIENCE = 1800.0 if FULL else 240.0
"""Seconds until something that must happen is given up; only a failing test takes so long."""
CLOSE = 500
"""Offsets of lag that are few enough to be read one by one."""


def wait_until(what: Callable[[], object], why: str, seconds: float = PATIENCE, pause: float = 0.1) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {why}"
        time.sleep(pause)


# workers


class Worker:
    """A `meterpipe worker KIND` in a process of its own."""

    def __init__(self, kind: str, config: WorkerConfig, folder: Path, name: str) -> None:
        self.kind, self.name, self.log = kind, name, folder / f"{name}.log"
        self._config, self._folder = config, folder
        self._seen = 0  # of the log, when this process was started
        self._start()

    def _start(self) -> None:
        file = self._folder / f"{self.name}.json"
        file.write_text(self._config.model_dump_json(by_alias=True, exclude_none=True))
        argv = [sys.executable, "-m", "meterpipe.cli.main", "worker", self.kind, "--config", str(file)]
        with self.log.open("ab") as out:
            self._seen = out.tell()
            self.process = subprocess.Popen(
                [*argv, "--port", "0", "--host", "127.0.0.1"], stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def said(self, text: str) -> bool:
        """Whether this process (not one before it) has logged `text`."""
        return text in self._output()

    def _output(self) -> str:
        with self.log.open("rb") as file:
            file.seek(self._seen)
            return file.read().decode(errors="replace")

    def ready(self) -> bool:
        """What the readiness probe says."""
        port = re.search(r"listening on [^:\s]+:(\d+)", self._output())
        if port is None:
            return False
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False

    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """SIGSTOP."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM; gives back the exit code."""
        if self.alive():
            self.process.terminate()
            self.resume()
        return self.process.wait(PATIENCE)

    def restart(self) -> None:
        """Another process in the place of one that has ended."""
        assert not self.alive()
        self._start()


class Fleet:
    """Workers of one test. Those that end by themselves are started again by `tend`."""

    def __init__(self, config: WorkerConfig, folder: Path) -> None:
        self._config, self._folder = config, folder
        self._workers: dict[str, Worker] = {}
        self.restarts = 0

    def start(self, kind: str, number: int = 0) -> Worker:
        name = f"{kind}-{number}"
        self._workers[name] = Worker(kind, self._config, self._folder, name)
        return self._workers[name]

    def discharge(self, worker: Worker) -> int:
        """Stop it for good, in good order; its exit code."""
        del self._workers[worker.name]
        return worker.stop()

    def forget(self, worker: Worker) -> None:
        """Kill it; nobody takes its place."""
        del self._workers[worker.name]
        worker.kill()

    def tend(self) -> None:
        for worker in self._workers.values():
            if not worker.alive():
                self.restarts += 1
                worker.restart()

    def wait_until(self, what: Callable[[], object], why: str, seconds: float = PATIENCE) -> None:
        """Tend the workers until `what` holds; their logs are shown if it does not."""

        def tended() -> object:
            self.tend()
            return what()

        try:
            wait_until(tended, why, seconds)
        except AssertionError:
            for worker in self._workers.values():
                print(f"--- {worker.name}\n{worker.log.read_text()[-3000:]}")
            raise

    def close(self) -> None:
        for worker in self._workers.values():
            if worker.alive():
                worker.kill()


@contextmanager
def fleet_of(config: WorkerConfig, folder: Path) -> Iterator[Fleet]:
    folder.mkdir(exist_ok=True)
    fleet = Fleet(config, folder)
    try:
        yield fleet
    finally:
        fleet.close()


# readings in

DEFECTS = {
    "late_rate": 0.002,
    "out_of_order_rate": 0.01,
    "duplicate_rate": 0.005,
    "revised_rate": 0.003,
    "gap_rate": 0.002,
}


def partitions_of(config: WorkerConfig) -> int:
    return config.pipeline.spec.kafka.topics.readings.partitions


class Source:
    """Generated readings with every defect, the same in each run; sent at once, or bit by bit while workers run."""

    def __init__(self, config: WorkerConfig, meters: int, hours: float, form: Format = Format.JSON, **changes) -> None:
        aggregator = config.pipeline.spec.aggregator
        spec = {"meters": meters, "days": hours / 24, "grace_s": aggregator.grace, "window_s": aggregator.windows[0]}
        self.batches = list(generate(GeneratorSpec(**(spec | DEFECTS | changes)), load_tables()))
        self.count = sum(map(len, self.batches))
        self._config, self._form, self._sent = config, form, 0
        self._end = end_of_day(max(int(b.column("ts").to_numpy().max()) for b in self.batches), aggregator.grace)

    def send(self, upto: float = 1.0) -> None:
        """Send up to this share of all readings, durable when this returns; with all of them the control record."""
        end = round(self.count * upto)
        for piece in self.pieces(self._sent, end):
            self.publisher.send(piece)
        self._sent = end
        if upto == 1.0:
            self.publisher.control(self._end)
        sent = self.publisher.finish()
        assert not sent.failed, sent.errors

    @property
    def publisher(self) -> Publisher:
        if not hasattr(self, "_publisher"):
            producer = new_producer(self._config.kafka, delivery_report_only_error=True)
            self._publisher = Publisher(
                producer, names_of(self._config.pipeline).readings, partitions_of(self._config), self._form
            )
        return self._publisher

    def pieces(self, start: int, end: int) -> Iterator[pa.RecordBatch]:
        """The readings [start, end) in order."""
        at = 0
        for batch in self.batches:
            first, last = max(start - at, 0), min(end - at, len(batch))
            if first < last:
                yield batch.slice(first, last - first)
            at += len(batch)

    @contextmanager
    def flowing(self, half: float) -> Iterator[None]:
        """Within it readings arrive: half of them in `half` seconds, then ever slower, so that some are always left."""
        problems, stop, began = list[BaseException](), threading.Event(), time.monotonic()

        def flow() -> None:
            try:
                while not stop.wait(0.1):
                    elapsed = time.monotonic() - began
                    self.send(elapsed / (elapsed + half))
            except BaseException as problem:
                problems.append(problem)

        thread = threading.Thread(target=flow)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        assert not problems, problems
        self.send()

    def expected(self) -> Expected:
        return expected_of(self._config, self.batches)


def expected_of(config: WorkerConfig, batches: Iterable[pa.RecordBatch], controls: Sequence[Control] = ()) -> Expected:
    """What the windows must be, by the rules of the pipeline."""
    aggregator = config.pipeline.spec.aggregator
    rules = Rules(aggregator.windows, aggregator.grace, aggregator.duplicates is Duplicates.DROP)
    return expect(log_of(batches, partitions_of(config)), rules, controls)


# results out


def records_of(config: WorkerConfig, topic: str) -> list[Message]:
    """All committed records of a topic, partition by partition.

    What a killed worker left open hides what is behind it until the broker has aborted it: that is waited for.
    """
    with progress_of(config) as progress:
        ends = {number: end for (_, number), end in progress.ends([topic]).items()}
    group = f"{names_of(config.pipeline).prefix}-reader"
    consumer = new_consumer(config.kafka, group, enable_partition_eof=True, fetch_wait_max_ms=50)
    try:
        unfinished, found = set(ends), []
        consumer.assign([TopicPartition(topic, p, 0) for p in ends])
        deadline = time.monotonic() + PATIENCE
        while unfinished:
            assert time.monotonic() < deadline, f"{topic} could not be read to its end"
            for message in consumer.consume(10_000, 0.1):
                if (error := message.error()) is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    if message.offset() >= ends[message.partition()]:
                        unfinished.discard(message.partition())
                else:
                    raise KafkaException(error)
    finally:
        consumer.close()
    return sorted(found, key=lambda m: (m.partition(), m.offset()))


def results_of(config: WorkerConfig, windows: Iterable[int] | None = None) -> dict[int, pa.Table]:
    """All results on the aggregates topics by window size: a window that came out twice is there twice."""
    names, found = names_of(config.pipeline), {}
    for window in windows or config.pipeline.spec.aggregator.windows:
        decoded = decode_results([m.value() for m in records_of(config, names.aggregates(window))], [window])
        assert decoded.rejects == []
        tables = [table.cast(AGGREGATE_SCHEMA) for table in decoded.tables.get(window, [])]
        found[window] = pa.concat_tables(tables) if tables else AGGREGATE_SCHEMA.empty_table()
    return found


def headers_of(message: Message) -> dict[str, str]:
    return {name: value.decode() for name, value in message.headers() or []}


def balance_of(config: WorkerConfig) -> Balance:
    progress = Progress(config)
    try:
        return progress.balance()
    finally:
        progress.close()


@contextmanager
def progress_of(config: WorkerConfig) -> Iterator[Progress]:
    progress = Progress(config)
    try:
        yield progress
    finally:
        progress.close()


def counted(progress: Progress) -> int:
    """Readings counted by commits so far; none while brokers come and go."""
    try:
        return progress.balance().raw
    except KafkaException:
        return 0


def settle(fleet: Fleet, config: WorkerConfig, *kinds: str) -> None:
    """Wait until these workers have committed all there is."""
    with progress_of(config) as progress:

        def done(kind: str) -> bool:
            try:
                return progress.lag(kind) <= CLOSE and progress.remaining(kind) == 0
            except KafkaException:  # brokers come and go in these tests
                return False

        for kind in kinds:
            fleet.wait_until(lambda kind=kind: done(kind), f"{kind} reads to the end")


class TakeOver:
    """Seconds from a moment until readings are counted again."""

    def __init__(self, config: WorkerConfig, fleet: Fleet) -> None:
        self._config, self._fleet = config, fleet
        self.seconds: list[float] = []

    @contextmanager
    def of(self) -> Iterator[None]:
        """The body kills; the time until the next commit shows is noted."""
        with progress_of(self._config) as progress:
            yield
            began, before = time.monotonic(), counted(progress)
            self._fleet.wait_until(lambda: counted(progress) > before, "a successor commits")
        self.seconds.append(time.monotonic() - began)

    def report(self, title: str) -> None:
        if self.seconds:
            print(f"\n{title}: time to take over " + ", ".join(f"{s:.1f} s" for s in self.seconds))


def assert_exact(config: WorkerConfig, expected: Expected, found: dict[int, pa.Table] | None = None) -> None:
    """Each window once and right, on the topics or as `found`; every reading accounted for."""
    found = results_of(config) if found is None else found
    for window, table in expected.windows.items():
        wrong = differences(table, found[window], exact_sums=True)
        assert not wrong, f"windows of {window} s: {wrong}"
    balance, counts = balance_of(config), expected.balance
    wanted = Balance(
        counts.raw, counts.windows, counts.duplicates, counts.superseded, counts.late, counts.dead_letters, open=0
    )
    assert balance == wanted, f"{balance}, not {wanted}"


def reading(meter: str, ts: int, value: object, **more: object) -> bytes:
    """A reading as JSON."""
    fields = {"gateway": meter, "metricType": "ELECTRICITY", "metricAttribute": "ACTIVE_POWER"}
    return json.dumps(fields | {"timestamp": ts, "value": value} | more).encode()
