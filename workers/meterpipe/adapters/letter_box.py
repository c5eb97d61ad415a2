"""The topic of dead letters: reading it back, and sending letters to the readings topic again, each once.

A letter counts as replayed once a record says so that was written in the same transaction as its payload. Whoever
replays first takes the transactional id, which ends a replay that is under way elsewhere, and then reads all records up
to the end, committed or not: what the other managed to commit is known before anything is sent again.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from meterpipe.adapters.kafka import new_producer, offset_of
from meterpipe.adapters.topic_reader import Edge, Place, TopicReader, place_of
from meterpipe.core.letters import (
    FROM_HEADER,
    REPLAYED_HEADER,
    Choice,
    Letter,
    decode_replayed,
    encode_replayed,
    letter_of,
)
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.spec.topics import DEAD_LETTER_ROOM, MAX_MESSAGE

TIMEOUT = 30.0
LETTERS, BYTES = 1000, 32 * 1024 * 1024
"""What a transaction of a replay holds at most, unless a letter is larger."""


class SupersededError(Exception):
    """Another replay of the same letters has begun and ended this one. What this one had committed is sent."""


FENCED = (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED)


@dataclass(slots=True)
class Outcome:
    """What a replay did, in letters."""

    sent: int = 0
    same: int = 0
    """Of a message that another letter of this replay has sent already."""
    before: int = 0
    """Replayed earlier."""
    foreign: int = 0
    """Not from a topic of readings: the payload is none, or came in by an edge adapter."""
    places: list[tuple[int, int]] = field(default_factory=list)


class LetterBox:
    """The dead letters of one pipeline. `reader` is the caller's."""

    def __init__(self, config: WorkerConfig, reader: TopicReader) -> None:
        self._config, self._reader, self._names = config, reader, names_of(config.pipeline)
        self._topic = self._names.dead_letters

    def letters(self) -> tuple[list[Letter], set[tuple[int, int]]]:
        """All letters, oldest first, and the places of those replayed. Payloads are not kept."""
        found, replayed = list[Letter](), set[tuple[int, int]]()
        for message in self._messages(committed=True):
            if letter := _letter(message):
                found.append(letter)
            replayed |= _marked(message)
        return sorted(found, key=lambda letter: (letter.at, letter.place)), replayed

    def one(self, place: tuple[int, int]) -> tuple[Letter, bytes, bool] | None:
        """The letter at a place, its payload, and whether it has been replayed."""
        found: tuple[Letter, bytes] | None = None
        replayed = set[tuple[int, int]]()
        for message in self._messages(committed=True, partition=place[0]):
            if offset_of(message) == place[1] and (letter := _letter(message)):
                found = letter, message.value() or b""
            replayed |= _marked(message)
        return (*found, place in replayed) if found else None

    def replay(self, choice: Choice, dry: bool = False) -> Outcome:
        """Send the payloads of the letters meant to the readings topic, with their keys. Dry: only count them.

        Without a key a message goes to the partition it came from. Raises KafkaException, SupersededError; what its
        transactions had committed until then is sent and recorded.
        """
        try:
            return self._replay(choice, dry)
        except KafkaException as failed:
            if failed.args[0].code() in FENCED:
                raise SupersededError("another replay of this pipeline's dead letters has begun") from failed
            raise

    def _replay(self, choice: Choice, dry: bool) -> Outcome:
        producer = None if dry else self._producer()
        replayed = set[tuple[int, int]]()
        for message in self._messages(committed=dry):
            replayed |= _marked(message)
        outcome, batch, seen = Outcome(), _Batch(), set[bytes]()
        for message in self._messages(committed=dry):
            letter = _letter(message)
            if letter is None or letter not in choice:
                continue
            if letter.place in replayed:
                outcome.before += 1
            elif letter.origin is None or letter.source not in (self._names.readings, self._names.counted):
                outcome.foreign += 1
            else:
                self._take(message, letter, seen, outcome, batch)
                if batch.full:
                    self._send(producer, batch)
                    batch = _Batch()
        self._send(producer, batch)
        return outcome

    def _take(self, message: Message, letter: Letter, seen: set[bytes], outcome: Outcome, batch: "_Batch") -> None:
        what = hashlib.sha256(repr((letter.origin, message.key())).encode() + (message.value() or b"")).digest()
        if what in seen:
            outcome.same += 1
        else:
            seen.add(what)
            outcome.sent += 1
            batch.messages.append((letter, message.value(), message.key()))
            batch.bytes += letter.size
        outcome.places.append(letter.place)
        batch.done.setdefault(letter.partition, []).append(letter.offset)

    def _send(self, producer: Producer | None, batch: "_Batch") -> None:
        if producer is None or not batch.done:
            return
        producer.begin_transaction()
        for letter, value, key in batch.messages:
            came_from = letter.origin.partition if letter.origin else -1
            where = f"{self._topic}/{letter.partition}/{letter.offset}".encode()
            producer.produce(
                self._names.readings,
                value,
                key,
                came_from if key is None else -1,
                headers=[(FROM_HEADER, where)],
            )
        for partition, offsets in batch.done.items():
            producer.produce(self._topic, encode_replayed(offsets), None, partition, headers=[REPLAYED_HEADER])
        try:
            producer.commit_transaction(TIMEOUT)  # sends what is queued, and fails if any of it did
        except KafkaException as failed:
            if failed.args[0].txn_requires_abort():
                producer.abort_transaction(TIMEOUT)
            raise

    def _producer(self) -> Producer:
        producer = new_producer(
            self._config.kafka,
            transactional_id=self._names.group("dead-letters-replay"),
            transaction_timeout_ms=60_000,
            message_max_bytes=MAX_MESSAGE + DEAD_LETTER_ROOM,
        )
        producer.init_transactions(TIMEOUT)
        return producer

    def _messages(self, committed: bool, partition: int | None = None) -> Iterator[Message]:
        places = self._reader.places([self._topic])
        if partition is not None:
            places = [place for place in places if place[1] == partition]
        starts: dict[Place, int] = self._reader.offsets(places, Edge.BEGINNING)
        for messages in self._reader.read(starts, self._reader.ends(places, committed)):
            yield from messages


@dataclass(slots=True)
class _Batch:
    """What one transaction sends, and the letters it settles: offsets by partition."""

    messages: list[tuple[Letter, bytes | None, bytes | None]] = field(default_factory=list)
    done: dict[int, list[int]] = field(default_factory=dict)
    bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether it should be sent."""
        return sum(map(len, self.done.values())) >= LETTERS or self.bytes >= BYTES


def _letter(message: Message) -> Letter | None:
    size = len(message.value() or b"")
    place = (place_of(message)[1], offset_of(message))
    key = message.key()
    return letter_of(place, message.timestamp()[1], key, size, _headers(message))


def _marked(message: Message) -> set[tuple[int, int]]:
    partition = place_of(message)[1]
    return {(partition, offset) for offset in decode_replayed(message.value(), _headers(message)) or ()}


def _headers(message: Message) -> list[tuple[str, bytes | None]]:
    headers = message.headers() or ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]
