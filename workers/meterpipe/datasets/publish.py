"""Readings to Kafka: batches in, messages out, nothing lost without being counted.

The producer is handed in: it is librdkafka's, made by the adapters. `produce_batch` costs half of `produce`, but may
drop messages and tell by a smaller count only; here a smaller count is an error, and the queue is never let run full,
so that no message is refused and a later one of its key taken.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from meterpipe.core.avro_rows import AvroRows
from meterpipe.core.codecs import CONTENT_ENVELOPE
from meterpipe.core.control import CONTROL_HEADER, encode_control
from meterpipe.core.envelope_codec import encode_envelopes
from meterpipe.core.readings import READING_SCHEMA
from meterpipe.datasets.json_rows import JsonRows
from meterpipe.datasets.pace import SHORTEST_S, SLICE_S, Pace

DAY_MS = 86_400_000
MAX_MESSAGE = 1_000_000
"""Bytes of a message, librdkafka's and (nearly) the broker's default limit."""
ENVELOPE_BYTES = 900_000
OVERHEAD = 1024  # what a record's own framing and key may add; generous
_IN_FLIGHT_MESSAGES = 200_000
_IN_FLIGHT_BYTES = 128 * 1024 * 1024
_CHUNK = 10_000  # messages handed over at once
_POLL_S = 0.05


FIELDS = {
    "meter": "gateway",
    "metric": "metricType",
    "attribute": "metricAttribute",
    "timestamp": "timestamp",
    "value": "value",
    "interval": "interval",
    "quality": "quality",
    "revision": "revision",
}
"""JSON fields of a reading where no pipeline names others."""


class Format(StrEnum):
    """Form of the messages."""

    JSON = "json"  # one reading each
    AVRO = "avro"  # one reading each, in Confluent's framing
    ENVELOPE = "envelope"  # as many readings of one partition as fit


class TooLargeError(ValueError):
    """A message is larger than the topic takes."""


class NotSentError(RuntimeError):
    """The client refused messages; how many is in the message."""


class Producer(Protocol):
    """What is needed of confluent_kafka.Producer, made with `delivery.report.only.error`."""

    def produce(
        self, topic: str, value: bytes, *, partition: int, headers: Any, on_delivery: Callable[[Any, Any], None]
    ) -> None:
        """Queue one message."""

    def produce_batch(
        self, topic: str, messages: list[dict[str, Any]], *, on_delivery: Callable[[Any, Any], None]
    ) -> int:
        """Queue many; gives back how many were taken, the others hold `_error`."""

    def poll(self, timeout: float, /) -> int:
        """Serve delivery reports."""

    def flush(self, timeout: float, /) -> int:
        """Wait for deliveries; gives back how many messages are left."""

    def __len__(self) -> int:
        """Messages in flight."""


@dataclass(slots=True)
class Sent:
    """What happened so far. `last_ts`: largest event time sent, UTC ms."""

    readings: int = 0
    messages: int = 0
    bytes: int = 0
    failed: int = 0  # readings whose delivery failed
    errors: Counter[str] = field(default_factory=Counter)
    first_ts: int | None = None
    last_ts: int | None = None

    @property
    def delivered(self) -> int:
        """Readings in the topic (once nothing is in flight)."""
        return self.readings - self.failed


class Publisher:
    """Sends batches of readings to one topic."""

    def __init__(
        self,
        producer: Producer,
        topic: str,
        partitions: int,
        form: Format = Format.JSON,
        names: dict[str, str] | None = None,
        max_message: int = MAX_MESSAGE,
        schema: int | None = None,
    ) -> None:
        """`names`: the pipeline's JSON fields (readings.fields). `max_message`: bytes the topic takes.

        `schema`: for Avro, the id that core.avro_rows.reading_schema has in the registry.
        """
        if form is Format.AVRO and schema is None:
            raise ValueError("Avro needs the id of its schema")
        self.sent = Sent()
        self._producer = producer
        self._topic = topic
        self.partitions = partitions
        self._form = form
        self._rows = AvroRows(schema) if schema is not None else JsonRows(names or FIELDS)
        self._max_message = max_message
        self._json_failed = partial(self._failed, 1)

    def send(self, batch: pa.RecordBatch) -> None:
        """Queue the readings, in order. Raises TooLargeError, NotSentError; failed deliveries are counted in `sent`."""
        if not len(batch):
            return
        if self._form is Format.ENVELOPE:
            self._send_envelopes(batch)
        else:
            self._send_singly(batch)
        ts = batch.column("ts").to_numpy()
        sent = self.sent
        sent.readings += len(batch)
        sent.first_ts = int(ts[0]) if sent.first_ts is None else sent.first_ts
        sent.last_ts = max(int(ts.max()), sent.last_ts if sent.last_ts is not None else int(ts[0]))

    def finish(self) -> Sent:
        """Wait until every message is delivered or has failed (at the latest after the client's message timeout)."""
        while self._producer.flush(1.0):
            pass
        return self.sent

    def control(self, event_time: int) -> None:
        """Tell every partition that event time has reached `event_time` (UTC ms), behind all that was sent."""
        value = encode_control(event_time)
        for partition in range(self.partitions):
            self._produce(value, partition, CONTROL_HEADER, 0)

    def _send_singly(self, batch: pa.RecordBatch) -> None:
        values, keys = self._rows.encode(batch)
        largest = max(map(len, values))
        if largest + OVERHEAD > self._max_message:
            at = next(i for i, value in enumerate(values) if len(value) == largest)
            self._refuse(keys[at].decode(), largest)
        for at in range(0, len(values), _CHUNK):
            messages = [
                {"value": v, "key": k} for v, k in zip(values[at : at + _CHUNK], keys[at : at + _CHUNK], strict=True)
            ]
            self._make_room(len(messages), largest)
            queued = self._producer.produce_batch(self._topic, messages, on_delivery=self._json_failed)
            if queued != len(messages):
                why = next((str(m["_error"]) for m in messages if "_error" in m), "no reason given")
                raise NotSentError(f"the client refused {len(messages) - queued} of {len(messages)} messages: {why}")
            self._producer.poll(0)
        self.sent.messages += len(values)
        self.sent.bytes += sum(map(len, values))

    def _send_envelopes(self, batch: pa.RecordBatch) -> None:
        limit = min(ENVELOPE_BYTES, self._max_message - OVERHEAD)
        try:
            envelopes = encode_envelopes(batch.select(READING_SCHEMA.names), self.partitions, limit)
        except ValueError as error:
            raise TooLargeError(f"topic {self._topic} takes {self._max_message} bytes a message: {error}") from error
        for partition, message, readings in envelopes:
            self._make_room(1, len(message))
            self._produce(message, partition, CONTENT_ENVELOPE, readings)
            self.sent.messages += 1
            self.sent.bytes += len(message)
        self._producer.poll(0)

    def _produce(self, value: bytes, partition: int, header: tuple[str, bytes], readings: int) -> None:
        failed = partial(self._failed, readings)
        self._producer.produce(self._topic, value, partition=partition, headers=[header], on_delivery=failed)

    def _refuse(self, meter: str, size: int) -> None:
        shown = meter if len(meter) <= 40 else f"{meter[:37]}..."
        raise TooLargeError(
            f"a reading of meter {shown!r} takes {size} bytes; topic {self._topic} takes {self._max_message}"
            f" bytes a message, of which {OVERHEAD} are set aside for key and framing"
        )

    def _make_room(self, messages: int, largest: int) -> None:
        allowed = max(messages, min(_IN_FLIGHT_MESSAGES, _IN_FLIGHT_BYTES // max(1, largest)))
        while len(self._producer) + messages > allowed:
            self._producer.poll(_POLL_S)

    def _failed(self, readings: int, error: object, _message: object) -> None:
        """Delivery report, called for failures only."""
        if error is not None:
            self.sent.failed += readings
            self.sent.errors[str(error)] += max(1, readings)


def paced(
    batches: Iterable[pa.RecordBatch], pace: Pace, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[pa.RecordBatch]:
    """The batches, cut into slices that come when they are due. `clock` in seconds, monotone."""
    if pace.unbounded:
        yield from batches
        return
    sent, first_ts, start = 0, None, 0.0
    for batch in batches:
        ts = batch.column("ts").to_numpy()
        if not len(ts):
            continue
        if first_ts is None:
            first_ts, start = int(ts[0]), clock()
        due = pace.due(sent, ts, first_ts)
        at = 0
        while at < len(due):
            elapsed = clock() - start
            if due[at] > elapsed:
                sleep(min(SLICE_S, max(SHORTEST_S, float(due[at]) - elapsed)))
                continue
            end = int(np.searchsorted(due, elapsed + SLICE_S, "left"))  # all that is due within this slice
            yield batch.slice(at, end - at)
            at = end
        sent += len(ts)


def end_of_day(last_ts: int, grace_s: int) -> int:
    """The event time (UTC ms) at which every window that holds `last_ts` has closed, whatever its size."""
    return (last_ts // DAY_MS + 1) * DAY_MS + grace_s * 1000
