"""The readings topic as the archiver sees it: who it is (a recreated topic is another one), and its messages."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from meterpipe.adapters.batches import Receiver
from meterpipe.adapters.batches import Taken as Received
from meterpipe.adapters.batches.ports import News
from meterpipe.core.codecs import Decoder
from meterpipe.core.lake_buffer import Buffer
from meterpipe.core.messages import Messages
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

    def awaited(self) -> str | None:
        """As `now`, but what was asked for last by `ask` is waited for."""
        asked, self._asked = self._asked or self._request(), None
        return _uuid(asked)

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
    """Messages of one partition as columns, each of shape (messages,), and the readings decoded from them."""

    partition: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    arrived: npt.NDArray[np.int64]
    readings: Readings


READINGS_A_TAKE = 100_000
BYTES_A_TAKE = 8 * 1024 * 1024
MESSAGES_A_TAKE = 20_000


class Intake:
    """Takes messages and decodes them, so many at a time that a step stays small whatever the messages hold."""

    def __init__(self, receiver: Receiver, decoder: Decoder, waiting: Waiting, readings: int) -> None:
        """`readings`: about how many to take at most; messages are taken whole."""
        self._receiver = receiver
        self._decoder = decoder
        self._waiting = waiting
        self._readings = min(readings, READINGS_A_TAKE)
        self._appetite = 100

    def take(self, buffer: Buffer, seconds: float) -> tuple[list[Taken], list[News]]:
        """The next messages that `buffer` has not seen, and what the client reports; waits up to `seconds`."""
        with self._waiting:
            received = self._receiver.take(self._appetite, seconds)
        taken = [found for number, messages in received.runs if (found := self._decoded(buffer, number, messages))]
        self._adapt(received, sum(len(found.readings) for found in taken))
        return taken, received.news

    def _decoded(self, buffer: Buffer, number: int, messages: Messages) -> Taken | None:
        partition = np.full(len(messages), number, np.int32)
        if (wanted := buffer.wanted(partition, messages.offset)) is not None:
            partition, messages = partition[wanted], messages.take(wanted)
            if not len(messages):
                return None
        readings = self._decoder.decode(messages.values, buffer.keys).readings
        return Taken(partition, messages.offset, messages.arrived, readings)

    def _adapt(self, received: Received, readings: int) -> None:
        if not (count := len(received)):
            return
        size = sum(int(messages.values.length.sum()) for _, messages in received.runs) / count
        by_readings = self._readings / max(1.0, readings / count)
        self._appetite = max(1, int(min(MESSAGES_A_TAKE, by_readings, BYTES_A_TAKE / max(1.0, size))))
