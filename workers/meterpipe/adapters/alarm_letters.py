"""Alarm events that go no further, sent to the dead letters as they came."""

from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from meterpipe.adapters.alarm_reader import Taken
from meterpipe.adapters.kafka import new_producer
from meterpipe.core.deadletters import Reason, Reject, headers_of
from meterpipe.spec.connections import KafkaConnection
from meterpipe.spec.topics import DEAD_LETTER_ROOM, MAX_MESSAGE
from meterpipe.worker.telemetry import Metric, Telemetry


class AlarmLetters:
    """The writer of dead letters, made when the first one is to be written."""

    def __init__(self, kafka: KafkaConnection, topic: str, telemetry: Telemetry) -> None:
        self._kafka, self._topic, self._telemetry = kafka, topic, telemetry
        self._producer: Producer | None = None
        self._failure: KafkaError | None = None

    def send(self, record: Taken, reason: Reason, detail: str, durable: Callable[[], None]) -> None:
        """Send one; `poll` or `flush` call `durable` once every in-sync replica has it."""
        if self._producer is None:
            self._producer = new_producer(self._kafka, message_max_bytes=MAX_MESSAGE + DEAD_LETTER_ROOM)

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                durable()
            else:
                self._failure = error

        self._telemetry.count(Metric.DEAD_LETTERS, reason=reason.value)
        self._producer.produce(
            self._topic,
            value=record.message.value(),
            key=record.message.key(),
            headers=[*headers_of(Reject(0, reason, detail), record.origin)],
            on_delivery=delivered,
        )

    def poll(self) -> None:
        """Take in confirmations. Raises KafkaException if Kafka would not take a letter."""
        if self._producer is not None:
            self._producer.poll(0)
        if self._failure is not None:
            raise KafkaException(self._failure)

    def flush(self, seconds: float) -> None:
        """Wait for confirmations."""
        if self._producer is not None:
            self._producer.flush(seconds)
