"""Follows the thresholds of the partitions that a worker owns: read to their end at once, then as they come."""

import logging
import time

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from meterpipe.adapters.changelog import end_offset
from meterpipe.adapters.kafka import new_consumer, offset_of
from meterpipe.adapters.thresholds import change_of
from meterpipe.core.alarms.thresholds import Change
from meterpipe.spec.connections import KafkaConnection
from meterpipe.spec.names import restore_group

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds without progress towards an end."""
A_TAKE = 5_000


class ThresholdFollower:
    """Reads the topic of thresholds beside the readings; commits nothing, and belongs to no group. Close it."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection, self._topic = connection, topic
        self._consumer = new_consumer(
            connection, restore_group(topic), enable_partition_eof=True, fetch_wait_max_ms=100
        )
        self._followed: set[int] = set()
        self._waiting: dict[int, list[Change]] = {}  # of partitions that were not asked for

    def begin(self, partition: int) -> list[Change]:
        """All there are in a partition now, and follow it from here on. Raises KafkaException if the end stays away."""
        end = end_offset(self._connection, self._topic, partition)
        self._consumer.incremental_assign([TopicPartition(self._topic, partition, OFFSET_BEGINNING)])
        self._followed.add(partition)
        position, deadline = 0, time.monotonic() + PATIENCE
        while position < end:
            for message in self._consumer.consume(A_TAKE, 0.05):
                if message.partition() == partition:
                    position = max(position, offset_of(message) + (message.error() is None))
                    deadline = time.monotonic() + PATIENCE
                self._sort(message)
            if time.monotonic() > deadline:
                where = f"{self._topic}[{partition}] ends at {end}, read up to {position}"
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, where))
        return self._waiting.pop(partition, [])

    def end(self, partition: int) -> None:
        """Follow it no more."""
        if partition in self._followed:
            self._followed.discard(partition)
            self._waiting.pop(partition, None)
            self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])

    def news(self) -> dict[int, list[Change]]:
        """What has come since, by partition. Does not wait."""
        if self._followed:
            for message in self._consumer.consume(A_TAKE, 0):
                self._sort(message)
        news, self._waiting = self._waiting, {}
        return news

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()

    def _sort(self, message: Message) -> None:
        if error := message.error():
            if error.fatal():
                raise KafkaException(error)
            if error.code() != KafkaError._PARTITION_EOF:
                log.warning("thresholds: %s", error.str())
        elif message.partition() in self._followed and (change := change_of(message)):
            self._waiting.setdefault(message.partition() or 0, []).append((*change, offset_of(message)))
