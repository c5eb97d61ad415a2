"""Messages to librdkafka, many in a call."""

from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import KafkaError, KafkaException, Producer

from meterpipe.adapters.batches.library import MESSAGE, handle_of, rdkafka
from meterpipe.core.messages import Payloads

TIMEOUT = 30.0
COPY = 2
"""RD_KAFKA_MSG_F_COPY. Lending librdkafka our memory until a commit costs more: it is never used again while warm."""


class NativeSender:
    """See `ports.Sender`."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._client = handle_of(producer)
        self._topics: dict[str, int] = {}
        self._partitions: dict[str, int] = {}

    def send(self, topic: str, partition: int, values: Payloads, keys: Payloads) -> None:
        """Hand over all of them, those the queue has no room for as soon as it has."""
        where = self._topic(topic, partition)
        rows = np.zeros(len(values), MESSAGE)
        rows["value"], rows["value_length"] = _places(values)
        rows["key"], rows["key_length"] = _places(keys)
        while len(rows):
            taken = rdkafka().rd_kafka_produce_batch(where, partition, COPY, rows.ctypes.data, len(rows))
            if taken == len(rows):
                return
            rows = rows[rows["error"] != 0]
            for code in set(rows["error"].tolist()) - {KafkaError._QUEUE_FULL}:
                raise KafkaException(KafkaError(code, f"{topic}[{partition}] does not take a message"))
            rows["error"] = 0
            self._producer.flush(0.1)

    def close(self) -> None:
        """Let go of the topics."""
        for where in self._topics.values():
            rdkafka().rd_kafka_topic_destroy(where)
        self._topics.clear()

    def _topic(self, topic: str, partition: int) -> int:
        """The topic's handle. librdkafka drops messages of a partition that there is not, and says nothing."""
        if topic not in self._topics:
            told = self._producer.list_topics(topic, TIMEOUT).topics[topic]
            if told.error is not None:
                raise KafkaException(told.error)
            self._partitions[topic] = len(told.partitions)
            self._topics[topic] = rdkafka().rd_kafka_topic_new(self._client, topic.encode(), None)
        if partition >= self._partitions[topic]:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION, f"{topic} has no partition {partition}"))
        return self._topics[topic]


def _places(payloads: Payloads) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Addresses and lengths; null pointers for absent ones."""
    absent = payloads.length < 0
    return np.where(absent, 0, payloads.data.ctypes.data + payloads.start), np.where(absent, 0, payloads.length)
