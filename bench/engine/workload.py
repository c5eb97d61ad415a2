"""The workload of the engine benchmark: minutely readings, 1 % out of order within grace, 0.1 % late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic
from meterpipe.adapters.kafka import new_admin, new_consumer, new_producer
from meterpipe.core.control import CONTROL_HEADER, encode_control
from meterpipe.core.murmur2 import partition_of
from meterpipe.core.readings import READING_SCHEMA
from meterpipe.datasets.publish import Format, Publisher, end_of_day
from meterpipe.spec.connections import KafkaConnection

START_MS = 1_704_067_200_000  # 2024-01-01T00:00:00Z
GRACE_S = 300
PARTITIONS = 4
CHUNK_MINUTES = 20
METRIC, ATTRIBUTE = "ELECTRICITY", "ACTIVE_POWER"


@dataclass(frozen=True)
class Workload:
    """`readings` of `meters`, one a minute each; the same seed gives the same readings."""

    readings: int
    meters: int
    seed: int = 1

    def topic(self, form: Format) -> str:
        """The topic that holds it in that form; it is kept between runs."""
        return f"bench-{self.readings}-{self.meters}-{self.seed}-{form.value}"

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """meter number, event time (ms), value in order of arrival. Values are multiples of 2^-10: sums are exact."""
        rng = np.random.default_rng(self.seed)
        minute, meter = np.divmod(np.arange(self.readings, dtype=np.int64), self.meters)
        offset = rng.permutation(self.meters) * 60_000 // self.meters  # each meter has its second of the minute
        ts = START_MS + minute * 60_000 + offset[meter]
        chance = rng.random(self.readings)
        delay = np.where(chance < 0.01, rng.integers(1_000, (GRACE_S - 60) * 1000, self.readings), 0)
        late = rng.integers((GRACE_S + 120) * 1000, 3 * GRACE_S * 1000, self.readings)
        delay = np.where(chance > 0.999, late, delay)
        order = np.argsort(ts + delay, kind="stable")
        value = rng.integers(0, 8 * 1024, self.readings) / 1024
        return meter[order], ts[order], value[order]

    def batches(self, columns: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Iterator[pa.RecordBatch]:
        """The readings as record batches in order of arrival."""
        names = pa.array([f"m{number:06d}" for number in range(self.meters)])
        rows = self.meters * CHUNK_MINUTES
        for at in range(0, self.readings, rows):
            meter, ts, value = (column[at : at + rows] for column in columns)
            zeros = np.zeros(len(meter), np.int32)
            yield pa.record_batch(
                [
                    pa.DictionaryArray.from_arrays(pa.array(meter.astype(np.int32)), names),
                    pa.DictionaryArray.from_arrays(pa.array(zeros), pa.array([METRIC])),
                    pa.DictionaryArray.from_arrays(pa.array(zeros), pa.array([ATTRIBUTE])),
                    pa.array(ts),
                    pa.array(value),
                    pa.array(zeros),
                    pa.array(zeros.astype(np.uint8)),
                    pa.array(zeros.astype(np.uint16)),
                ],
                names=READING_SCHEMA.names,
            )

    def partitions(self) -> np.ndarray:
        """Partition by meter number."""
        return np.array([partition_of(f"m{n:06d}".encode(), PARTITIONS) for n in range(self.meters)])


def load(connection: KafkaConnection, workload: Workload, form: Format) -> str:
    """Fill the workload's topic, unless it is there already; gives back its name."""
    topic, admin = workload.topic(form), new_admin(connection)
    if topic in admin.list_topics(timeout=10).topics:
        return topic
    config = {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1", "max.message.bytes": "8388608"}
    admin.create_topics([NewTopic(topic, PARTITIONS, 1, config=config)])[topic].result(30)
    producer = new_producer(connection, linger_ms=20)
    publisher = Publisher(producer, topic, PARTITIONS, form)
    for batch in workload.batches(workload.columns()):
        publisher.send(batch)
    publisher.finish()
    if publisher.sent.failed:
        raise RuntimeError(f"{publisher.sent.failed} readings were not delivered: {publisher.sent.errors}")
    if form is Format.ENVELOPE:  # a JSON topic ends with the peers' flush readings
        end = encode_control(end_of_day(publisher.sent.last_ts or 0, GRACE_S))
        for partition in range(PARTITIONS):
            producer.produce(topic, end, partition=partition, headers=[CONTROL_HEADER])
        producer.flush(30)
    return topic


def ends(connection: KafkaConnection, topic: str) -> dict[int, int]:
    """The end offset of each partition."""
    consumer = new_consumer(connection, "bench")
    try:
        return {p: consumer.get_watermark_offsets(TopicPartition(topic, p), 10)[1] for p in range(PARTITIONS)}
    finally:
        consumer.close()
