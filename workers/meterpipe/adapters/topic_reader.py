"""Reads topics beside the workers, for people: joins no group and commits nothing."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec

from meterpipe.adapters.kafka import new_admin, new_consumer
from meterpipe.adapters.progress import quiet
from meterpipe.spec.connections import KafkaConnection

Place = tuple[str, int]
TIMEOUT = 15.0
STUCK = 60.0
"""Seconds without progress towards an end; an open transaction of a killed worker holds it back for 10 s and a bit."""
A_TAKE, WAIT = 2000, 0.2
"""Messages taken at once, and seconds to wait for the first."""


class NoTopicError(Exception):
    """A topic is not there."""


class Edge(Enum):
    """An end of a topic."""

    BEGINNING = "beginning"
    END = "end"


@dataclass(frozen=True, slots=True)
class Newest:
    """The last so many messages of each partition."""

    messages: int


@dataclass(frozen=True, slots=True)
class Since:
    """Messages that Kafka took at or after an instant, UTC ms."""

    instant: int


Start = Edge | Newest | Since


class TopicReader:
    """Reads one Kafka's topics, committed records only. Close it."""

    def __init__(self, kafka: KafkaConnection, group: str) -> None:
        """`group`: joined by nobody, but brokers ask for one the user may name."""
        self._kafka = quiet(kafka)
        self._admin = new_admin(self._kafka)
        self._consumer: Consumer = new_consumer(self._kafka, group, enable_partition_eof=True, fetch_wait_max_ms=100)
        self.ended: set[Place] = set()
        """Places that `follow` has once read to their end."""

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()

    def places(self, topics: Sequence[str]) -> list[Place]:
        """The partitions of `topics`. Raises NoTopicError, KafkaException."""
        known = self._consumer.list_topics(timeout=TIMEOUT).topics  # so the consumer has met the brokers
        if missing := [topic for topic in topics if topic not in known]:
            raise NoTopicError(f"Kafka at {self._kafka.bootstrap_servers} has no topic {', '.join(missing)}")
        return [(topic, partition) for topic in topics for partition in sorted(known[topic].partitions)]

    def offsets(self, places: Sequence[Place], start: Start) -> dict[Place, int]:
        """The offset of each place at `start`."""
        if isinstance(start, Newest):
            first, end = self._ask(places, OffsetSpec.earliest()), self.ends(places)  # type: ignore[no-untyped-call]
            return {place: max(first[place], end[place] - start.messages) for place in places}
        if isinstance(start, Since):
            found = self._ask(places, OffsetSpec.for_timestamp(start.instant))
            ends = self.ends(places)
            return {place: at if at >= 0 else ends[place] for place, at in found.items()}
        if start is Edge.END:
            return self.ends(places)
        return self._ask(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def ends(self, places: Sequence[Place], committed: bool = True) -> dict[Place, int]:
        """The end of each place: of what is committed, or of all that is written."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        return self._ask(places, OffsetSpec.latest(), level)  # type: ignore[no-untyped-call]

    def _ask(
        self, places: Sequence[Place], what: OffsetSpec, level: IsolationLevel = IsolationLevel.READ_COMMITTED
    ) -> dict[Place, int]:
        wanted = {TopicPartition(*place): what for place in places}
        asked = self._admin.list_offsets(wanted, isolation_level=level, request_timeout=TIMEOUT) if wanted else {}
        return {(place.topic, place.partition): future.result().offset for place, future in asked.items()}

    def follow(self, starts: Mapping[Place, int]) -> Iterator[list[Message]]:
        """Messages as they come, for ever; an empty list every WAIT seconds that none does."""
        self._assign(starts)
        while True:
            taken = self._consumer.consume(A_TAKE, WAIT)
            messages = [message for message in taken if not _is_news(message)]
            if len(messages) < len(taken):
                self.ended.update(place_of(message) for message in taken if _is_end(message))
            yield messages

    def read(self, starts: Mapping[Place, int], ends: Mapping[Place, int]) -> Iterator[list[Message]]:
        """Messages from `starts` up to `ends`, and maybe a few behind. Raises KafkaException if an end stays away."""
        left = {place: end for place, end in ends.items() if end > starts[place]}
        if not left:
            return
        self._assign({place: starts[place] for place in left})
        deadline = time.monotonic() + STUCK
        while left:
            taken = self._consumer.consume(A_TAKE, 0.05)
            messages = []
            for message in taken:
                no_message, place = _is_news(message), place_of(message)
                if not no_message:
                    messages.append(message)
                if (at := message.offset()) is not None and at + (not no_message) >= left.get(place, at + 2):
                    del left[place]
            if messages:
                yield messages
                deadline = time.monotonic() + STUCK
            elif time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"the ends of {sorted(left)} stay away"))

    def _assign(self, starts: Mapping[Place, int]) -> None:
        self._consumer.assign([TopicPartition(*place, at) for place, at in starts.items()])


def place_of(message: Message) -> Place:
    """Topic and partition of a consumed message."""
    return str(message.topic()), int(message.partition() or 0)


def _is_end(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def _is_news(message: Message) -> bool:
    """Whether it is no message but news, as that there are no more. Raises KafkaException for news that end it all."""
    error = message.error()
    if error is None:
        return False
    passing = (KafkaError._PARTITION_EOF, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)
    if error.code() in passing or error.retriable():
        return True  # the client goes on by itself
    raise KafkaException(error)
