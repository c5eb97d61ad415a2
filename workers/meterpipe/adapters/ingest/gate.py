"""The way of all readings into Kafka, whichever adapter took them in: gathered for a moment, produced, confirmed.

Everything runs in one thread, the event loop's; the producer's delivery reports are fetched by a timer while something
is in flight. What is submitted is durable (all in-sync replicas) when its future is done.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from confluent_kafka import KafkaError, KafkaException

from meterpipe.core.ingest.messages import Router
from meterpipe.core.ingest.rows import Rows
from meterpipe.worker.telemetry import Metric, Telemetry

POLL_S = 0.002
FLUSH_READINGS = 5000
"""Waiting readings that are sent without waiting for more."""
LONGEST_RETRY_S = 30

Clock = Callable[[], float]
Headers = list[tuple[str, bytes]]


class BusyError(Exception):
    """So much is unconfirmed that nothing more is taken. `retry_after`: seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Kafka has yet to confirm too many readings; try again in {retry_after} s")
        self.retry_after = retry_after


class UndeliveredError(Exception):
    """Kafka has not confirmed. Whether it has the readings is not known; they may be sent again."""


class Letter(NamedTuple):
    """A dead letter of an adapter that cannot tell the sender what was wrong."""

    value: bytes
    headers: Headers


class Producer(Protocol):
    """What is needed of confluent_kafka.Producer."""

    def produce(
        self, topic: str, value: bytes, key: bytes | None = None, partition: int = -1, *, on_delivery: Any, headers: Any
    ) -> None:
        """Queue one message."""

    def poll(self, timeout: float, /) -> int:
        """Serve delivery reports."""


class Topics(NamedTuple):
    """Where readings go, and what is none."""

    readings: str
    dead_letters: str


class Limits(NamedTuple):
    """`linger`: seconds readings wait for others; `pending`: unconfirmed readings."""

    linger: float
    pending: int


@dataclass(slots=True)
class _Submission:
    """What one request or burst of messages brought."""

    rows: Rows
    letters: Sequence[Letter]
    done: "asyncio.Future[None]"


class _Flight:
    """Submissions that went to Kafka together: all of them are confirmed, or none is."""

    def __init__(self, submissions: list[_Submission], began: float) -> None:
        self.submissions, self.began = submissions, began
        self.outstanding = 0
        self.error: str | None = None
        self.fatal = False

    @property
    def readings(self) -> int:
        """Readings in it."""
        return sum(len(one.rows) for one in self.submissions)

    def delivered(self, error: KafkaError | None, _message: object = None) -> None:
        """The report of one message."""
        self.outstanding -= 1
        if error is not None:
            self.error = self.error or error.str()
            self.fatal = self.fatal or error.fatal()

    def settle(self) -> None:
        """Tell those who wait."""
        for one in self.submissions:
            if one.done.done():  # who waited was cancelled
                continue
            if self.error is None:
                one.done.set_result(None)
            else:
                one.done.set_exception(UndeliveredError(self.error))
                one.done.exception()  # seen, even if nobody waits any more


class Gate:
    """Takes rows, gives futures that are done once Kafka has them. Call from the event loop's thread only."""

    def __init__(
        self,
        producer: Producer,
        router: Router,
        topics: Topics,
        limits: Limits,
        telemetry: Telemetry,
        clock: Clock = time.monotonic,
    ) -> None:
        self._producer, self._router, self._topics, self._limits = producer, router, topics, limits
        self._clock = clock
        self._waiting: list[_Submission] = []
        self._waiting_readings = 0
        self._flights: list[_Flight] = []
        self._pending = 0
        self.fatal: str | None = None
        """Why the producer can never be used again, once that is so."""
        self._timer: asyncio.TimerHandle | None = None
        self._polling: asyncio.TimerHandle | None = None
        self._telemetry = telemetry
        telemetry.gauge_from(Metric.INGEST_PENDING, lambda: float(self._pending))

    def check(self) -> None:
        """Raise BusyError if nothing more should be taken in."""
        if self._pending >= self._limits.pending:
            raise BusyError(min(LONGEST_RETRY_S, 1 + math.ceil(self.stalled())))

    def stalled(self) -> float:
        """Seconds the oldest unconfirmed flight has been under way; 0 if there is none."""
        return self._clock() - self._flights[0].began if self._flights else 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing is waiting or in flight."""
        return not self._flights and not self._waiting

    def submit(self, rows: Rows, letters: Sequence[Letter] = ()) -> "asyncio.Future[None]":
        """Send `rows` and `letters`. The future ends when Kafka has confirmed, or in UndeliveredError."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if not len(rows) and not letters:
            done.set_result(None)
            return done
        self._waiting.append(_Submission(rows, letters, done))
        self._waiting_readings += len(rows)
        self._pending += len(rows)
        if self._waiting_readings >= FLUSH_READINGS:
            self.flush()
        elif self._timer is None:
            self._timer = loop.call_later(self._limits.linger, self.flush)
        return done

    def flush(self) -> None:
        """Send now what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        flight = _Flight(self._waiting, self._clock())
        self._waiting, self._waiting_readings = [], 0
        self._flights.append(flight)
        for message in self._router.messages([one.rows for one in flight.submissions]):
            self._produce(
                flight, self._topics.readings, message.value, message.key, message.partition, [message.header]
            )
        for letter in (letter for one in flight.submissions for letter in one.letters):
            self._produce(flight, self._topics.dead_letters, letter.value, None, -1, letter.headers)
        if self._polling is None:
            self._poll()

    def poll(self) -> None:
        """Serve delivery reports and the client's other events."""
        self._producer.poll(0)
        settled = [flight for flight in self._flights if not flight.outstanding]
        if settled:
            self._flights = [flight for flight in self._flights if flight.outstanding]
            for flight in settled:
                self._pending -= flight.readings
                if flight.error is None:
                    self._telemetry.count(Metric.READINGS, flight.readings)
                elif flight.fatal:
                    self.fatal = flight.error
                flight.settle()

    def _poll(self) -> None:
        """Poll, again and again while something is in flight."""
        self.poll()
        self._polling = asyncio.get_running_loop().call_later(POLL_S, self._poll) if self._flights else None

    def _produce(
        self, flight: _Flight, topic: str, value: bytes, key: bytes | None, partition: int, headers: Headers
    ) -> None:
        flight.outstanding += 1
        try:
            self._producer.produce(topic, value, key, partition, on_delivery=flight.delivered, headers=headers)
        except KafkaException as error:
            flight.delivered(error.args[0])
        except BufferError:
            flight.delivered(KafkaError(KafkaError._QUEUE_FULL))
