"""Messages as librdkafka hands them over, many in a call."""

import ctypes
import weakref
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, KafkaError, TopicPartition

from meterpipe.adapters.batches.library import Pointer, address_of, columns, handle_of, rdkafka
from meterpipe.adapters.batches.plain import news_of
from meterpipe.adapters.batches.ports import News, Taken
from meterpipe.adapters.tracing import HEADER, MAX_LINKS
from meterpipe.core.messages import Messages, Payloads


class NativeReceiver:
    """See `ports.Receiver`.

    Partitions put their messages into a queue of ours. What else a consumer's queue holds, rebalances first of all, is
    left to confluent-kafka, since that calls back into Python.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._client = handle_of(consumer)
        self._queue = rdkafka().rd_kafka_queue_new(self._client)
        # a client that goes while messages of its lie in a queue waits for them for ever
        self._let_go = weakref.finalize(self, rdkafka().rd_kafka_queue_destroy, self._queue)
        self._followed: list[tuple[bytes, int]] = []
        self._pointers = np.empty(0, np.uint64)
        self._timestamp, self._destroy = map(address_of, ("rd_kafka_message_timestamp", "rd_kafka_message_destroy"))
        self._columns = columns().message_columns()

    def follow(self, places: Sequence[TopicPartition]) -> None:
        """Have these partitions' messages come here; before they are assigned, so that none goes elsewhere."""
        self._followed = [(place.topic.encode(), place.partition) for place in places]
        self._forward()

    def _forward(self) -> None:
        """Lead the partitions' queues into ours; what lies in them comes along.

        Again and again: whenever a partition stops being fetched, be it only to go on elsewhere, librdkafka cuts its
        queue off, at a time of its own.
        """
        for topic, partition in self._followed:
            queue = rdkafka().rd_kafka_queue_get_partition(self._client, topic, partition)
            rdkafka().rd_kafka_queue_forward(queue, self._queue)
            rdkafka().rd_kafka_queue_destroy(queue)

    def take(self, most: int, seconds: float) -> Taken:
        """What lies in the queue."""
        news = []
        for message in self._consumer.consume(100, 0):
            if message.error() is None:
                raise RuntimeError(f"{message.topic()}[{message.partition()}] was assigned, but not followed")
            news.append(news_of(message))
        self._forward()
        if len(self._pointers) < most:
            self._pointers = np.empty(most, np.uint64)
        where = self._pointers.ctypes.data
        count = rdkafka().rd_kafka_consume_batch_queue(self._queue, int(seconds * 1000), where, most)
        if count <= 0:
            return Taken(news=news)
        traces = self._traces(count)
        data = np.empty(columns().measure(where, count), np.uint8)
        table = np.empty((self._columns, count), np.int64)
        columns().take(where, count, data.ctypes.data, table.ctypes.data, self._timestamp, self._destroy)
        return _sorted(data, table, news, traces)

    def close(self) -> None:
        """Let go of the queue, and of what it holds."""
        self._let_go()

    def _traces(self, count: int) -> list[str]:
        """W3C contexts of the first messages: few, because reading a header costs more than decoding a reading."""
        library, found = rdkafka(), dict[str, None]()
        headers, value, size = Pointer(), ctypes.c_char_p(), ctypes.c_size_t()
        for message in self._pointers[: min(count, MAX_LINKS)].tolist():
            if library.rd_kafka_message_headers(message, ctypes.byref(headers)):
                continue
            wanted = (HEADER.encode(), ctypes.byref(value), ctypes.byref(size))
            if not library.rd_kafka_header_get_last(headers, *wanted) and size.value:
                found[ctypes.string_at(value, size.value).decode("ascii", "replace")] = None
        return list(found)


def _sorted(data: npt.NDArray[np.uint8], table: npt.NDArray[np.int64], news: list[News], traces: list[str]) -> Taken:
    """Messages by partition; the rows of `table` are the columns of columns.c."""
    partition, offset, arrived, error, value_start, value_length, key_start, key_length = table
    everything = Messages(
        Payloads(data, value_start, value_length), Payloads(data, key_start, key_length), offset, arrived
    )
    for at in np.flatnonzero(error).tolist():  # its text is where a message has its value
        text = (everything.values[at] or b"").decode("utf-8", "replace")
        news.append(News(int(partition[at]), int(offset[at]), KafkaError(int(error[at]), text)))
    partition = np.where(error == 0, partition, -1)
    if (partition == partition[0]).all():
        return Taken([(int(partition[0]), everything)] if partition[0] >= 0 else [], news, traces)
    numbers = np.unique(partition[partition >= 0]).tolist()
    return Taken([(n, everything.take(np.flatnonzero(partition == n))) for n in numbers], news, traces)
