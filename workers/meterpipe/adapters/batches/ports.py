"""What takes and sends messages by the batch. `adapters.batches` says which implementations there are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from confluent_kafka import KafkaError, TopicPartition

from meterpipe.core.messages import Messages, Payloads


@dataclass(frozen=True, slots=True)
class News:
    """What the client reports of a partition, -1 if of none. The end of a partition is news too (`_PARTITION_EOF`)."""

    partition: int
    offset: int
    error: KafkaError


@dataclass(frozen=True, slots=True)
class Taken:
    """Messages of one topic, by partition and there in log order; `traces`: W3C contexts of some of them."""

    runs: list[tuple[int, Messages]] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(messages) for _, messages in self.runs)


class Receiver(Protocol):
    """Takes what comes in for a consumer of one topic, in whose stead it is asked."""

    def follow(self, places: Sequence[TopicPartition]) -> None:
        """These partitions are about to be assigned. To be called before `Consumer.assign`."""

    def take(self, most: int, seconds: float) -> Taken:
        """Up to `most` messages; waits up to `seconds` for them. Calls the consumer's callbacks."""

    def close(self) -> None:
        """Take no more. To be called before `Consumer.close`."""


class Sender(Protocol):
    """Hands messages to a producer by the batch."""

    def send(self, topic: str, partition: int, values: Payloads, keys: Payloads) -> None:
        """Hand over messages, which are copied; waits while the producer's queue is full.

        Raises KafkaException if one cannot be taken.
        """

    def close(self) -> None:
        """Send no more. To be called when the producer is not used any more."""
