"""Batches made of confluent-kafka's message objects, one by one: works wherever the client does."""

from collections.abc import Sequence

import numpy as np
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from meterpipe.adapters.batches.ports import News, Taken
from meterpipe.adapters.tracing import traceparents
from meterpipe.core.messages import Messages, Payloads


class PlainReceiver:
    """See `ports.Receiver`."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def follow(self, places: Sequence[TopicPartition]) -> None:
        """The consumer hands over everything as it is."""

    def take(self, most: int, seconds: float) -> Taken:
        """What the consumer has, as columns."""
        messages = self._consumer.consume(most, seconds)
        news = []
        if any(map(Message.error, messages)):  # accessors are mapped, not called: a third of their cost
            news = [news_of(message) for message in messages if message.error()]
            messages = [message for message in messages if not message.error()]
        by_partition: dict[int, list[Message]] = {}
        for message, number in zip(messages, map(Message.partition, messages), strict=True):
            by_partition.setdefault(number or 0, []).append(message)
        return Taken([(n, columns_of(some)) for n, some in by_partition.items()], news, traceparents(messages))

    def close(self) -> None:
        """Nothing is held."""


class PlainSender:
    """See `ports.Sender`."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    def send(self, topic: str, partition: int, values: Payloads, keys: Payloads) -> None:
        """One by one: the client's own call for many wants a dict a record and takes half as long again."""
        produce = self._producer.produce
        for value, key in zip(values, keys, strict=True):
            while True:
                try:
                    produce(topic, value, key, partition)
                    break
                except BufferError:
                    self._producer.flush(0.1)

    def close(self) -> None:
        """Nothing is held."""


def news_of(message: Message) -> News:
    """What a message object without a message says."""
    error, partition, offset = message.error(), message.partition(), message.offset()
    assert error is not None
    return News(-1 if partition is None else partition, -1 if offset is None else offset, error)


def columns_of(messages: list[Message]) -> Messages:
    """Messages of one partition."""
    count = len(messages)
    return Messages(
        Payloads.of(list(map(Message.value, messages))),
        Payloads.of(list(map(Message.key, messages))),
        np.fromiter(map(Message.offset, messages), np.int64, count),
        np.fromiter((at for _, at in map(Message.timestamp, messages)), np.int64, count),
    )
