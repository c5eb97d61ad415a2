"""Alarm events from Kafka for one consumer group; offsets are committed once what they are for has been done."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from meterpipe.adapters.kafka import new_consumer, offset_of
from meterpipe.core.alarms.events import Alarm
from meterpipe.core.deadletters import Origin, Reason
from meterpipe.core.notify.ledger import Ledger, Place
from meterpipe.spec.connections import KafkaConnection
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger(__name__)

_decode = msgspec.json.Decoder(Alarm).decode


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a message is no event."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Taken:
    """One message. `term`: number of the assignment it was read under."""

    term: int
    origin: Origin
    at: float
    """When Kafka took it, seconds since 1970."""
    event: Alarm | Unreadable
    message: Message


def read_event(value: bytes | None) -> Alarm | Unreadable:
    """The event in a message."""
    if value is None:
        return Unreadable(Reason.EMPTY, "no value")
    try:
        event = _decode(value)
        datetime.fromisoformat(event.raised_at)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        return Unreadable(Reason.MALFORMED, f"no alarm event: {error}")
    return event


class AlarmReader:
    """The topic of alarms as one group reads it. Not for several threads.

    `release` is called when partitions go: what is under way may then be finished (`settled`, `commit`); what is not is
    read again by whoever gets the partition.
    """

    def __init__(
        self, kafka: KafkaConnection, group: str, topic: str, telemetry: Telemetry, release: Callable[[], None]
    ) -> None:
        self._telemetry, self._release, self._topic = telemetry, release, topic
        self._consumer: Consumer = new_consumer(kafka, group, enable_partition_eof=True, fetch_wait_max_ms=100)
        self._ledger = Ledger()
        self._due: dict[Place, int] = {}  # settled, and not yet committed
        self._owned: dict[Place, int | None] = {}  # to the offset that is committed
        self._held = False
        self._committed = time.monotonic()
        self.term = 0
        self.open = 0
        """Messages read and not yet settled."""

    def start(self) -> None:
        """Join the group."""
        self._consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def read(self, most: int, seconds: float, hold: bool = False) -> list[Taken]:
        """At most `most` messages; waits `seconds` for that many. Hold: none, but the group learns that we live."""
        if hold != self._held:
            owned = [TopicPartition(*place) for place in self._owned]
            (self._consumer.pause if hold else self._consumer.resume)(owned)
            self._held = hold
        with self._telemetry.waiting:
            messages = self._consumer.consume(most, seconds)
        taken = [self._take(message) for message in messages if self._is_input(message)]
        self.open += len(taken)
        return taken

    def settled(self, records: Iterable[Taken]) -> None:
        """What these are for has been done; those of partitions that have gone do not matter any more."""
        for record in records:
            if record.term == self.term:
                self._ledger.settled((record.origin.topic, record.origin.partition), record.origin.offset)
                self.open -= 1

    def commit(self) -> None:
        """Commit what is settled, if anything new is."""
        self._due |= self._ledger.due()
        if not self._due:
            if not self.open:
                self._committed = time.monotonic()  # nothing waits to be committed
            return
        places = [TopicPartition(*place, at) for place, at in self._due.items()]
        try:
            self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as problem:
            error = problem.args[0]
            if error.fatal():
                raise
            log.warning("offsets not committed yet: %s", error.str())
            return
        self._committed = time.monotonic()
        self._telemetry.count(Metric.COMMITS)
        self._owned |= {place: at for place, at in self._due.items() if place in self._owned}
        self._due = {}

    def age(self) -> float:
        """Seconds since the last commit, or since there was nothing to commit."""
        return time.monotonic() - self._committed

    def lags(self) -> dict[Place, int]:
        """End of each partition less what is committed, where both are known."""
        found = {}
        for place, done in self._owned.items():
            _, end = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            if done is not None and end >= 0:
                found[place] = max(0, end - done)
        return found

    @property
    def partitions(self) -> int:
        """How many partitions are ours."""
        return len(self._owned)

    def close(self) -> None:
        """Leave the group; `release` is called."""
        self._consumer.close()

    def _take(self, message: Message) -> Taken:
        place, offset = (message.topic() or "", message.partition() or 0), offset_of(message)
        self._ledger.took(place, offset)
        at = message.timestamp()[1] / 1000
        return Taken(self.term, Origin(*place, offset), at, read_event(message.value()), message)

    def _is_input(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            # beyond the last event lie only markers of transactions: the group's lag shall not count them
            self._ledger.passed((message.topic() or "", message.partition() or 0), message.offset() or 0)
        elif error.fatal():
            raise KafkaException(error)
        else:
            log.warning("Kafka: %s", error.str())
        return False

    def _assigned(self, _: Consumer, places: list[TopicPartition]) -> None:
        self._owned |= {(place.topic, place.partition): None for place in places}
        self._held = False
        log.info("assigned %s", sorted(self._owned))

    def _revoked(self, _: Consumer, places: list[TopicPartition]) -> None:
        self._release()
        self._forget(places)

    def _lost(self, _: Consumer, places: list[TopicPartition]) -> None:
        self._forget(places)

    def _forget(self, places: list[TopicPartition]) -> None:
        self.term += 1
        self.open = 0
        self._ledger = Ledger()
        self._due = {}
        for place in places:
            self._owned.pop((place.topic, place.partition), None)
