"""Partitions of a stateful worker: restored from the changelog, checked against Kafka, remembered between commits."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from meterpipe.adapters.changelog import read_changelog
from meterpipe.adapters.kafka import TopicInfo, offset_of
from meterpipe.adapters.transaction import TIMEOUT
from meterpipe.core.changelog import Record
from meterpipe.spec.connections import KafkaConnection
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger(__name__)


class StateMismatchError(Exception):
    """The changelog and the committed offset of a partition disagree: going on would lose or double readings."""


class State(Protocol):
    """What a stateful worker knows of one partition. Pure; see core.partition."""

    topic_id: str
    next_offset: int
    changed: bool

    def restore(self, records: Iterable[tuple[str, bytes | None]]) -> bool:
        """Load the state from its changelog; False if there is none."""

    def records(self, snapshot_due: bool) -> list[Record]:
        """The changelog of what was taken in since the last call."""


S = TypeVar("S", bound=State)


class Owned(Generic[S]):
    """A partition this process owns, and what it remembers of it beside its state."""

    def __init__(self, state: S, now: float, snapshot_offset: int) -> None:
        self.state = state
        self.touched = state.changed
        self.read_to = -1  # the end of the partition when it was last reached; markers of transactions count
        self.snapshot_at = now
        self.snapshot_offset = snapshot_offset
        self.active_at = now

    @property
    def hint(self) -> str:
        """Where in the changelog a restore may begin, as metadata of the committed offset."""
        return str(self.snapshot_offset) if self.snapshot_offset >= 0 else ""

    def snapshot_begins(self, now: float) -> Callable[[Any, Message], None]:
        """A snapshot is being written; give what is called back tells where its first record lies."""
        self.snapshot_at, self.snapshot_offset = now, -1

        def placed(error: Any, message: Message) -> None:
            if error is None:
                self.snapshot_offset = offset_of(message)

        return placed


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker's input and state are."""

    kafka: KafkaConnection
    changelog: str
    """The topic of the state."""
    kind: str
    """Of the worker, for people."""


def resume(
    state: State, place: Place, consumer: Consumer, where: TopicPartition, topic: TopicInfo, telemetry: Telemetry
) -> int:
    """Bring `state` back as it was at its last commit; the changelog offset a later restore may begin at.

    `where` holds the committed offset. Raises StateMismatchError, KafkaException.
    """
    number = where.partition
    hint = int(where.metadata) if where.offset >= 0 and where.metadata else OFFSET_BEGINNING
    found = state.restore(read_changelog(place.kafka, place.changelog, number, hint))
    low, _ = consumer.get_watermark_offsets(TopicPartition(where.topic, number), TIMEOUT)
    if found and state.topic_id != topic.id:
        log.warning("%s was created anew: starting at its beginning with the state as it is", where.topic)
        state.topic_id, state.next_offset = topic.id, low
    elif where.offset >= 0 and where.offset != (state.next_offset if found else 0):
        raise StateMismatchError(
            f"{where.topic}[{number}]: the group has committed offset {where.offset}, "
            f"the changelog {place.changelog} is at {state.next_offset if found else 'nothing'}; "
            f"somebody moved one of them: see `meterpipe reset {place.kind} --help`"
        )
    if state.next_offset < low:
        lost = low - state.next_offset if found else 0
        if lost:
            telemetry.count(Metric.LOST, lost)
            log.error("%s[%d]: %d messages expired before they were read", where.topic, number, lost)
        state.next_offset = low
    return hint if found and hint >= 0 else 0
