"""The readings topic as the archiver sees it: who it is (a recreated topic is another one), and its messages."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicCollection
from confluent_kafka.admin import AdminClient

from meterpipe.core.codecs import Decoder
from meterpipe.core.lake_buffer import Buffer
from meterpipe.core.readings import Readings
from meterpipe.worker.telemetry import Waiting

ASK_SECONDS = 5.0


class TopicIdentity:
    """Asks Kafka for the topic's UUID: at once, or in the background."""

    def __init__(self, admin: AdminClient, topic: str) -> None:
        self._admin = admin
        self._topic = topic
        self._cluster: str | None = None
        self._asked: Future[Any] | None = None

    def cluster(self) -> str:
        """The cluster's id. Raises KafkaException if no broker answers."""
        if self._cluster is None:
            self._cluster = str(self._admin.list_topics(topic=self._topic, timeout=ASK_SECONDS).cluster_id)
        return self._cluster

    def now(self) -> str | None:
        """The topic's UUID, None if there is no such topic. Raises KafkaException if no broker answers."""
        return _uuid(self._request())

    def ask(self) -> None:
        """Begin to ask, without waiting."""
        self._asked = self._request()

    @property
    def asking(self) -> bool:
        """Whether a question is open."""
        return self._asked is not None

    def answer(self) -> tuple[str | None] | None:
        """The answer to `ask`, in a tuple; None as long as there is none. A failed question is forgotten."""
        if self._asked is None or not self._asked.done():
            return None
        asked, self._asked = self._asked, None
        try:
            return (_uuid(asked),)
        except KafkaException:
            return None

    def _request(self) -> Future[Any]:
        futures = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=ASK_SECONDS)
        return futures[self._topic]


def _uuid(answer: Future[Any]) -> str | None:
    try:
        return str(answer.result(ASK_SECONDS + 1).topic_id)
    except KafkaException as problem:
        if problem.args[0].code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            return None
        raise
    except TimeoutError as problem:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from problem


@dataclass(frozen=True, slots=True)
class Taken:
    """Messages as columns, each of shape (messages,), and the readings decoded from them."""

    partition: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    arrived: npt.NDArray[np.int64]
    readings: Readings
    errors: Sequence[tuple[int, KafkaError]]
    """(partition, -1 if it concerns none; what the client reports)"""


READINGS_A_TAKE = 100_000
BYTES_A_TAKE = 8 * 1024 * 1024
MESSAGES_A_TAKE = 20_000


class Intake:
    """Takes messages and decodes them, so many at a time that a step stays small whatever the messages hold."""

    def __init__(self, consumer: Consumer, decoder: Decoder, waiting: Waiting, readings: int) -> None:
        """`readings`: about how many to take at most; messages are taken whole."""
        self._consumer = consumer
        self._decoder = decoder
        self._waiting = waiting
        self._readings = min(readings, READINGS_A_TAKE)
        self._appetite = 100

    def take(self, buffer: Buffer, seconds: float) -> Taken | None:
        """The next messages that `buffer` has not seen; None if there were none within `seconds`."""
        with self._waiting:
            messages = self._consumer.consume(self._appetite, seconds)
        if not messages:
            return None
        errors: list[tuple[int, KafkaError]] = []
        if any(map(Message.error, messages)):  # accessors are mapped, not called: a third of their cost
            errors = [(-1 if (p := m.partition()) is None else p, e) for m in messages if (e := m.error())]
            messages = [m for m in messages if not m.error()]
        partition = np.fromiter(map(Message.partition, messages), np.int32, len(messages))
        offset = np.fromiter(map(Message.offset, messages), np.int64, len(messages))
        wanted = buffer.wanted(partition, offset)
        if wanted is not None:
            messages = [messages[i] for i in np.flatnonzero(wanted).tolist()]
            partition, offset = partition[wanted], offset[wanted]
        arrived = np.fromiter((at for _, at in map(Message.timestamp, messages)), np.int64, len(messages))
        values = list(map(Message.value, messages))
        readings = self._decoder.decode(values, buffer.keys).readings
        self._adapt(values, len(readings))
        return Taken(partition, offset, arrived, readings, errors)

    def _adapt(self, values: Sequence[bytes | None], readings: int) -> None:
        if not values:
            return
        size = sum(map(len, filter(None, values))) / len(values)
        by_readings = self._readings / max(1.0, readings / len(values))
        self._appetite = max(1, int(min(MESSAGES_A_TAKE, by_readings, BYTES_A_TAKE / max(1.0, size))))
