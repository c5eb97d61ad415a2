"""What the archiver's tests share: readings to send, archivers as processes, and what the lake then holds."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from confluent_kafka import Producer
from meterpipe.adapters.archiver import Archiver
from meterpipe.adapters.kafka import new_producer
from meterpipe.adapters.lake import count_rows, open_existing
from meterpipe.adapters.s3 import location_of
from meterpipe.core.lake_buffer import Batch, Buffer
from meterpipe.core.readings import Readings
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of

START = 1_700_000_000_000
PATIENCE = 120.0  # seconds: generous, the machine may be busy


def lake_spec(partitions: int = 4, seconds: int = 1, rows: int = 1000) -> dict:
    return {
        "kafka": {"topics": {"readings": {"partitions": partitions}}},
        "lake": {"flush": {"seconds": seconds, "rows": rows}},
    }


def reading(i: int, meter: str | None = None) -> dict:
    """Reading `i` of a run: its value is `i` and tells it from all others."""
    return {
        "gateway": meter or f"m{i % 37}",
        "metricType": "ELECTRICITY",
        "metricAttribute": "ACTIVE_POWER",
        "timestamp": START + i * 1000,
        "value": float(i),
    }


def send(config: WorkerConfig, numbers: Iterable[int], producer: Producer | None = None) -> None:
    """Send readings as JSON, each durable when this returns."""
    producer, topic = producer or new_producer(config.kafka), names_of(config.pipeline).readings
    for i in numbers:
        value = reading(i)
        producer.produce(topic, key=value["gateway"], value=json.dumps(value))
    assert producer.flush(30) == 0


def send_values(
    config: WorkerConfig, values: Iterable[bytes | None], partition: int = 0, key: str | None = None
) -> None:
    producer, topic = new_producer(config.kafka), names_of(config.pipeline).readings
    for value in values:
        producer.produce(topic, key=key, value=value, partition=partition)
    assert producer.flush(30) == 0


def rows_of(config: WorkerConfig) -> list[dict]:
    table = open_existing(location_of(config))
    return pa.table(table.to_pyarrow_table()).to_pylist() if table else []


def count_of(config: WorkerConfig) -> int:
    table = open_existing(location_of(config))
    return count_rows(table) if table else 0


def wait_until(what: Callable[[], bool], seconds: float = PATIENCE, pause: float = 0.2) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(pause)


def assert_exactly(config: WorkerConfig, numbers: Iterable[int]) -> None:
    """The lake holds exactly these readings, each once, and the log agrees with the files."""
    rows = rows_of(config)
    values = sorted(int(row["value"]) for row in rows)
    assert values == sorted(numbers)
    assert len({(row["_partition"], row["_offset"], row["_index"]) for row in rows}) == len(rows)
    assert count_of(config) == len(rows)


def step_until(archiver: Archiver, what: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        archiver.step()


def span_of(first: int | None, until: int) -> Batch:
    """A batch of partition 0 with the readings of messages [first, until); their values are their offsets."""
    buffer = Buffer()
    buffer.follow(0, first, first or 0)
    buffer.keys.add(("m", "E", "P"))
    n = until - (first or 0)
    offset = np.arange(first or 0, until, dtype=np.int64)
    zero = np.zeros(n, np.int32)
    rows = Readings(
        zero, offset, offset.astype(float), zero, zero.astype(np.uint8), zero.astype(np.uint16),
        np.arange(n, dtype=np.int32), zero,
    )  # fmt: skip
    buffer.add(zero, offset, offset, rows)
    return buffer.cut()


class Process:
    """A real `meterpipe worker archiver`."""

    def __init__(self, config: WorkerConfig, folder: Path, name: str = "archiver") -> None:
        self.log = folder / f"{name}.log"
        file = folder / f"{name}.json"
        file.write_text(config.model_dump_json(by_alias=True))
        argv = [sys.executable, "-m", "meterpipe.cli.main", "worker", "archiver", "--config", file, "--port", "0"]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.signal(signal.SIGCONT)
        self.process.terminate()
        return self.process.wait(60)

    def said(self, text: str) -> bool:
        return text in self.log.read_text()


class Stream:
    """Sends readings in small bursts, some thousands a second, until told to stop."""

    def __init__(self, config: WorkerConfig, seed: int) -> None:
        self.sent = 0
        self._config = config
        self._rng = random.Random(seed)
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> int:
        """How many readings were sent: numbers 0, 1, 2 …"""
        self._enough.set()
        self._thread.join()
        return self.sent

    def _run(self) -> None:
        while not self._enough.is_set():
            burst = self._rng.randrange(1, 500)
            send(self._config, range(self.sent, self.sent + burst), self._producer)
            self.sent += burst
            time.sleep(self._rng.random() * 0.15)

    @cached_property
    def _producer(self) -> Producer:
        return new_producer(self._config.kafka)
