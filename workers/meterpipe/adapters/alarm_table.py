"""Keeps the table of open alarms. The events' own order decides, not that of their delivery; see core.open_alarms."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from cassandra.cluster import Session

from meterpipe.adapters.alarm_reader import AlarmReader, Taken
from meterpipe.adapters.cassandra import connect
from meterpipe.adapters.open_alarms import OpenAlarmsWriter
from meterpipe.adapters.schema import missing_of_alarms, needed
from meterpipe.core.alarms.events import Alarm
from meterpipe.core.open_alarms import changes, fits
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Telemetry

log = logging.getLogger(__name__)

TAKE = 5000
MOST_HELD = 20_000
"""Changes not yet acknowledged, beyond which no more events are read."""
REOPEN_SECONDS = 1.0
FINISH_SECONDS = 10.0


class AlarmTable:
    """One consumer group, into one table. `unwritable` is given what is no row, and what to call when it has gone."""

    def __init__(
        self, config: WorkerConfig, telemetry: Telemetry, unwritable: Callable[[Taken, Callable[[], None]], None]
    ) -> None:
        needed(config)
        names = names_of(config.pipeline)
        self._config, self._telemetry, self._keyspace = config, telemetry, names.keyspace
        self._unwritable = unwritable
        self._opener = ThreadPoolExecutor(1, thread_name_prefix="open-store")
        self._opening: Future[tuple[Session, OpenAlarmsWriter]] | None = None
        self._reopen = 0.0
        self.session: Session | None = None
        self._writer: OpenAlarmsWriter | None = None
        self.reader = AlarmReader(config.kafka, names.group("notifier"), names.alarms, telemetry, self._release)

    def ready(self) -> bool:
        """Whether Cassandra has been reached, and has the table."""
        return self._writer is not None

    def step(self, seconds: float) -> int:
        """Take in events, write, commit what is acknowledged; waits at most `seconds`."""
        writer = self._writer or self._open()
        if writer is None:
            return 0
        taken = self.reader.read(TAKE, 0.0 if writer.held else seconds, hold=writer.held > MOST_HELD)
        if taken:
            self._submit(writer, taken)
        writer.pump(seconds)
        self.reader.commit()
        return len(taken)

    def close(self) -> None:
        """Write and commit what is in hand, as far as Cassandra takes it in time; leave."""
        self.reader.close()
        self._opener.shutdown(wait=False, cancel_futures=True)
        if self.session is not None:
            self.session.cluster.shutdown()

    def _submit(self, writer: OpenAlarmsWriter, taken: list[Taken]) -> None:
        events = []
        good = []
        for record in taken:
            if isinstance(record.event, Alarm) and fits(record.event):
                events.append((record.origin.offset, record.event))
                good.append(record)
            else:
                self._unwritable(record, partial(self.reader.settled, (record,)))
        if events:
            writer.submit(changes(events), partial(self.reader.settled, good))

    def _release(self) -> None:
        """Partitions go: what is under way is given the time to be acknowledged."""
        writer = self._writer
        if writer is None:
            return
        deadline = time.monotonic() + FINISH_SECONDS
        while writer.held and time.monotonic() < deadline:
            writer.pump(0.1)
        if writer.held:
            log.warning("Cassandra did not take the last open alarms in time; they will be read again")
        writer.discard()
        self.reader.commit()

    def _open(self) -> OpenAlarmsWriter | None:
        """The writer, once Cassandra answers and has the table; tried in the background, for ever."""
        if self._opening is None:
            if time.monotonic() >= self._reopen:
                self._opening = self._opener.submit(self._open_store)
            return None
        if not self._opening.done():
            return None
        opening, self._opening = self._opening, None
        self._reopen = time.monotonic() + REOPEN_SECONDS
        try:
            self.session, self._writer = opening.result()
        except Exception as problem:
            log.warning("waiting for Cassandra: %s", problem)
            return None
        self.reader.start()
        log.info("keeping the open alarms in keyspace %s", self._keyspace)
        return self._writer

    def _open_store(self) -> tuple[Session, OpenAlarmsWriter]:
        session = connect(needed(self._config))
        try:
            if lacking := missing_of_alarms(session, self._config):
                raise LookupError("; ".join(lacking))
            return session, OpenAlarmsWriter(session, self._keyspace, self._telemetry)
        except BaseException:
            session.cluster.shutdown()
            raise
