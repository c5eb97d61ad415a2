"""Reads the changelog of one partition back from Kafka."""

import time
from collections.abc import Iterator

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from meterpipe.adapters.kafka import new_admin, new_consumer, offset_of
from meterpipe.spec.connections import KafkaConnection
from meterpipe.spec.names import restore_group

TIMEOUT = 60.0
"""Seconds; an open transaction of a killed worker holds the end back until the broker aborts it (10 s and a bit)."""


def read_changelog(
    connection: KafkaConnection, topic: str, partition: int, start: int
) -> Iterator[tuple[str, bytes | None]]:
    """Committed records (key, value) from offset `start` (-2: the beginning) up to the end of what was written.

    The end includes what is not committed yet: only when a predecessor's open transaction is decided is it known
    whether its records count, and reading less would miss a commit that was under way.
    """
    end = end_offset(connection, topic, partition)
    consumer = new_consumer(connection, restore_group(topic), enable_partition_eof=True)
    try:
        consumer.assign([TopicPartition(topic, partition, start)])
        position, deadline = max(start, 0), time.monotonic() + TIMEOUT
        while position < end:
            messages = consumer.consume(1000, 0.05)
            if messages:
                deadline = time.monotonic() + TIMEOUT
            elif time.monotonic() > deadline:
                raise KafkaException(
                    KafkaError(KafkaError._TIMED_OUT, f"{topic}[{partition}] ends at {end}, read up to {position}")
                )
            for message in messages:
                if error := message.error():
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    position = offset_of(message)
                else:
                    position = offset_of(message) + 1
                    yield (message.key() or b"").decode(), message.value()
    finally:
        consumer.close()


def end_offset(connection: KafkaConnection, topic: str, partition: int) -> int:
    """The offset after the last record written, committed or not."""
    where = TopicPartition(topic, partition)
    newest = {where: OffsetSpec.latest()}  # type: ignore[no-untyped-call]
    admin = new_admin(connection)  # kept until the answer is there: its futures do not outlive it
    asked = admin.list_offsets(newest, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=TIMEOUT)
    return int(asked[where].result(TIMEOUT).offset)
