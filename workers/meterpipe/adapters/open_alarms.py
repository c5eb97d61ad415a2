"""The table of open alarms on a real server: writing it, and reading it back."""

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC
from queue import Empty, SimpleQueue
from typing import Any

import msgspec
from cassandra.cluster import Session
from cassandra.query import BoundStatement, SimpleStatement

from meterpipe.core import open_alarms
from meterpipe.core.open_alarms import COLUMNS, MOST_KEY_BYTES, Change
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger(__name__)

IN_FLIGHT = 64
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
COMPLAIN_SECONDS = 5.0
PAGE = 500


@dataclass(slots=True)
class _Flight:
    """Changes submitted together."""

    left: int
    done: Callable[[], None]


@dataclass(slots=True)
class _Write:
    flight: _Flight
    statement: BoundStatement
    sent: float = 0.0


class OpenAlarmsWriter:
    """Writes changes until they are acknowledged, a bounded number at a time. One thread drives it."""

    def __init__(self, session: Session, keyspace: str, telemetry: Telemetry) -> None:
        self._session, self._telemetry = session, telemetry
        self._upsert = session.prepare(open_alarms.upsert(keyspace))
        self._delete = session.prepare(open_alarms.delete(keyspace))
        self._waiting: deque[_Write] = deque()
        self._answers: SimpleQueue[tuple[_Write, BaseException | None]] = SimpleQueue()
        self._flying = 0
        self._pause, self._resume = 0.0, 0.0
        self._complained = 0.0

    @property
    def held(self) -> int:
        """Changes not yet acknowledged."""
        return len(self._waiting) + self._flying

    def submit(self, changes: list[Change], done: Callable[[], None]) -> None:
        """Queue changes; `done` is called by `pump` once all are durable."""
        flight = _Flight(len(changes), done)
        for change in changes:
            if change.row is None:
                statement = self._delete.bind((change.written, *change.key))
            else:
                statement = self._upsert.bind((*change.row, change.written))
            self._waiting.append(_Write(flight, statement))

    def discard(self) -> None:
        """Forget what was not sent. What was sent may still arrive, which does no harm."""
        self._waiting.clear()

    def pump(self, seconds: float) -> None:
        """Send what may be sent, take in answers; wait for the first at most `seconds`."""
        self._send()
        if self._waiting and not self._flying:
            time.sleep(min(seconds, max(0.0, self._resume - time.monotonic())))
        try:
            while self._flying:
                self._answered(*self._answers.get(timeout=seconds))
                seconds = 0.0
                self._send()
        except Empty:
            pass

    def _send(self) -> None:
        room = 1 if self._pause else IN_FLIGHT
        while self._waiting and self._flying < room and time.monotonic() >= self._resume:
            write = self._waiting.popleft()
            write.sent = time.monotonic()
            self._flying += 1
            self._session.execute_async(write.statement).add_callbacks(
                lambda _, write=write: self._answers.put((write, None)),
                lambda error, write=write: self._answers.put((write, error)),
            )

    def _answered(self, write: _Write, error: BaseException | None) -> None:
        self._flying -= 1
        self._telemetry.observe(Metric.WRITE_SECONDS, time.monotonic() - write.sent)
        if error is None:
            self._pause = 0.0
            self._telemetry.count(Metric.ROWS, table=open_alarms.TABLE)
            write.flight.left -= 1
            if write.flight.left == 0:
                write.flight.done()
            return
        self._telemetry.count(Metric.RETRIES)
        self._waiting.appendleft(write)
        self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        now = time.monotonic()
        self._resume = now + self._pause * random.uniform(0.5, 1.0)
        if now - self._complained > COMPLAIN_SECONDS:
            self._complained = now
            log.warning("Cassandra does not take open alarms, %d wait: %s", self.held, error)


class OpenAlarm(msgspec.Struct, frozen=True, rename="camel"):
    """One row. `raised_at` is RFC 3339 with milliseconds, UTC."""

    meter: str
    metric: str
    attribute: str
    kind: str
    id: str
    raised_at: str
    value: float | None
    limit: float | None
    threshold: dict[str, int] | None
    reading: dict[str, int] | None


class OpenAlarmsReader:
    """The read side. `session` is the caller's."""

    def __init__(self, session: Session, keyspace: str) -> None:
        self._session = session
        self._query = f'SELECT {", ".join(COLUMNS)} FROM "{keyspace}".{open_alarms.TABLE}'

    def alarms(self, meter: str | None = None) -> Iterator[OpenAlarm]:
        """Open alarms of a meter, by metric, attribute and kind; or of all, in no order of meters."""
        if meter is not None and not 0 < len(meter.encode()) <= MOST_KEY_BYTES:
            return  # Cassandra refuses to look for what it cannot hold
        where, values = (" WHERE meter = %s", (meter,)) if meter is not None else ("", None)
        for row in self._session.execute(SimpleStatement(self._query + where, fetch_size=PAGE), values):
            yield _alarm(tuple(row))


def _alarm(row: tuple[Any, ...]) -> OpenAlarm:
    meter, metric, attribute, kind, identity, raised, value, limit, p1, o1, p2, o2 = row
    raised_at = raised.replace(tzinfo=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    key = (meter, metric, attribute, kind)
    return OpenAlarm(*key, identity, raised_at, value, limit, _place(p1, o1), _place(p2, o2))


def _place(partition: int | None, offset: int | None) -> dict[str, int] | None:
    return None if partition is None or offset is None else {"partition": partition, "offset": offset}
