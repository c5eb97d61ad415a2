"""Reading Kafka topics from one offset to their present ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterator

POLL_S = 0.2
SILENCE_S = 30.0


def read_topic(bootstrap: str, topic: str, last: int | None = None) -> Iterator[list[Any]]:
    """Give the committed messages of `topic` in batches, or only the `last` ones of each partition.

    Raises `TimeoutError` after 30 s without a message, `OSError` when Kafka reports an error.
    """
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": "peers-reader",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "fetch.queue.backoff.ms": 5,
    }
    consumer = Consumer(settings)
    try:
        starts = {}
        for partition in consumer.list_topics(topic, 10).topics[topic].partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), 10)
            starts[partition] = low if last is None else max(low, high - last)
        consumer.assign([TopicPartition(topic, partition, at) for partition, at in starts.items()])
        silence = 0.0
        while starts:
            polled = consumer.consume(20_000, POLL_S)
            silence = 0.0 if polled else silence + POLL_S
            if silence > SILENCE_S:
                raise TimeoutError(
                    f"topic {topic}: no message for {SILENCE_S:.0f} s, partitions {list(starts)} not at end"
                )
            messages = []
            for message in polled:
                error = message.error()
                if error is None:
                    messages.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    starts.pop(message.partition(), None)
                else:
                    raise OSError(f"cannot read topic {topic}: {error}")
            yield messages
    finally:
        consumer.close()
