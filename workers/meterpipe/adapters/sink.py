"""The sink: results from Kafka into Cassandra. A row is written as often as need be and is there once.

Offsets are committed after the rows are acknowledged. Writing a row again changes nothing (same key, same write time,
same values), so a crash between the two, a rebalance or a slow zombie does no harm.
"""

import logging
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
from cassandra.cluster import Session
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from meterpipe.adapters.cassandra import connect
from meterpipe.adapters.kafka import new_consumer, new_producer
from meterpipe.adapters.schema import missing, needed
from meterpipe.adapters.store_writer import Flight, StoreWriter
from meterpipe.adapters.tracing import MAX_LINKS, traceparents
from meterpipe.core.deadletters import Origin, headers_of
from meterpipe.core.result_codec import Decoded, decode_results
from meterpipe.core.store_rows import store_rows
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.spec.topics import MAX_MESSAGE
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger("meterpipe.sink")

Place = tuple[str, int]
"""topic, partition"""

WAIT_SECONDS = 0.1
LINGER_SECONDS = 0.25  # how long rows wait for others of their partition; batches grow with it
SUBMIT_ROWS = 100_000
PILE_ROWS = 200_000  # rows held back while the store is busy; then Kafka is paused
LOW_BACKLOG = 64  # batches not yet sent, below which more rows are encoded
TAKE_ROWS = 20_000
FINISH_SECONDS = 20.0  # below the grace of a pod and of a rebalance
REOPEN_SECONDS = 1.0
GAUGE_SECONDS = 1.0
DELIVERY_SECONDS = 30.0
SPARE_BYTES = 65_536


@dataclass(slots=True)
class _Pile:
    """Rows taken in and not yet submitted, and how far the partitions have been read with them."""

    tables: dict[int, list[pa.Table]] = field(default_factory=dict)
    offsets: dict[Place, int] = field(default_factory=dict)
    links: dict[str, None] = field(default_factory=dict)  # trace contexts of the messages
    rows: int = 0
    since: float = 0.0

    def reached(self, place: Place, offset: int) -> None:
        """A partition has been read up to `offset`."""
        if not self.offsets:
            self.since = time.monotonic()
        self.offsets[place] = max(offset, self.offsets.get(place, offset))

    def add(self, decoded: Decoded) -> None:
        """Put rows onto the pile."""
        for window, tables in decoded.tables.items():
            self.tables.setdefault(window, []).extend(tables)
        self.rows += decoded.rows


@dataclass(slots=True)
class _Load:
    """What was submitted together; its offsets may be committed when all flights, and all loads before it, are done."""

    flights: list[Flight]
    offsets: dict[Place, int]


class Sink:
    """Writes every aggregates topic into its table. See worker.ports.Worker."""

    kind = "sink"

    def __init__(self, config: WorkerConfig, telemetry: Telemetry) -> None:
        needed(config)
        names = names_of(config.pipeline)
        self._config, self._telemetry, self._names = config, telemetry, names
        self._tables = {window: names.table(window) for window in config.pipeline.spec.aggregator.windows}
        self._opener = ThreadPoolExecutor(1, thread_name_prefix="open-store")
        self._opening: Future[tuple[Session, StoreWriter]] | None = None
        self._reopen = 0.0
        self._session: Session | None = None
        self._writer: StoreWriter | None = None
        self._consumer: Consumer = new_consumer(
            config.kafka, names.group(self.kind), enable_partition_eof=True, fetch_wait_max_ms=100
        )
        self._producer: Producer | None = None
        self._pile = _Pile()
        self._loads: deque[_Load] = deque()
        self._owned: dict[Place, int | None] = {}  # to the offset up to which rows are acknowledged
        self._paused = False
        self._rows_a_message = 1000.0
        self._committed = time.monotonic()
        self._gauged = 0.0
        telemetry.gauge_from(Metric.COMMIT_AGE, lambda: time.monotonic() - self._committed)
        telemetry.gauge(Metric.PARTITIONS, 0)

    def ready(self) -> bool:
        """Whether the store takes rows."""
        return self._writer is not None and self._writer.healthy

    def step(self) -> int:
        """Take in messages, write, commit what is acknowledged."""
        writer = self._writer or self._open()
        if writer is None:
            with self._telemetry.waiting:
                time.sleep(WAIT_SECONDS)
            return 0
        taken = self._consume(0.0 if writer.backlog else WAIT_SECONDS if writer.idle else WAIT_SECONDS / 10)
        self._submit(writer)
        writer.pump(WAIT_SECONDS / 2 if writer.backlog else 0.0)
        self._commit()
        self._gauge()
        return taken

    def close(self) -> None:
        """Finish and commit what is in hand; what Cassandra does not take in time is read again by the next worker."""
        if self._writer is not None:
            self._finish(self._writer)
        self._consumer.close()
        self._opener.shutdown(wait=False, cancel_futures=True)
        if self._session is not None:
            self._session.cluster.shutdown()

    # store

    def _open(self) -> StoreWriter | None:
        """The writer, once Cassandra answers and has the tables; tried in the background, for ever."""
        if self._opening is None:
            if time.monotonic() >= self._reopen:
                self._opening = self._opener.submit(self._open_store)
            return None
        if not self._opening.done():
            return None
        opening, self._opening = self._opening, None
        self._reopen = time.monotonic() + REOPEN_SECONDS
        try:
            self._session, self._writer = opening.result()
        except Exception as problem:
            log.warning("waiting for Cassandra: %s", problem)
            return None
        topics = [self._names.aggregates(window) for window in self._tables]
        self._consumer.subscribe(topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        log.info("writing to keyspace %s, batches of %s", self._names.keyspace, self._writer.limits)
        return self._writer

    def _open_store(self) -> tuple[Session, StoreWriter]:
        session = connect(needed(self._config))
        try:
            if lacking := missing(session, self._config):
                raise LookupError("; ".join(lacking))
            return session, StoreWriter(session, self._names.keyspace, self._tables, self._telemetry)
        except BaseException:
            session.cluster.shutdown()
            raise

    # Kafka

    def _consume(self, seconds: float) -> int:
        """Take in messages unless enough rows wait; even then the group has to be told that we live."""
        full = self._pile.rows >= PILE_ROWS
        if full != self._paused:
            owned = [TopicPartition(*place) for place in self._owned]
            (self._consumer.pause if full else self._consumer.resume)(owned)
            self._paused = full
        most = max(1, min(5000, int(TAKE_ROWS / self._rows_a_message)))
        with self._telemetry.waiting:
            messages = self._consumer.consume(most, seconds)
        good = [message for message in messages if self._is_input(message)]
        if good:
            self._take(good)
        return len(good)

    def _is_input(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            # beyond the last row lie only markers of transactions: the group's lag shall not count them
            self._pile.reached(_place(message), message.offset() or 0)
        elif error.fatal():
            raise KafkaException(error)
        else:
            log.warning("Kafka: %s", error.str())
        return False

    def _take(self, messages: list[Message]) -> None:
        decoded = decode_results([message.value() for message in messages], self._tables.keys())
        self._bury(messages, decoded)
        self._telemetry.count(Metric.READINGS, decoded.rows)
        self._pile.add(decoded)
        if len(self._pile.links) < MAX_LINKS:
            self._pile.links |= dict.fromkeys(traceparents(messages))
        for message in messages:
            self._pile.reached(_place(message), (message.offset() or 0) + 1)
        self._rows_a_message += 0.2 * (decoded.rows / len(messages) - self._rows_a_message)

    def _bury(self, messages: list[Message], decoded: Decoded) -> None:
        """Send what holds no rows to the dead letters, and wait until it is there."""
        if not decoded.rejects:
            return
        if self._producer is None:
            self._producer = new_producer(self._config.kafka, message_max_bytes=MAX_MESSAGE + SPARE_BYTES)
        failures: list[KafkaError] = []
        for reject in decoded.rejects:
            message = messages[reject.message]
            origin = Origin(*_place(message), message.offset() or 0)
            log.warning("refused %s: %s (%s)", origin, reject.reason, reject.detail)
            self._telemetry.count(Metric.DEAD_LETTERS, reject.count, reason=reject.reason)
            self._producer.produce(
                self._names.dead_letters,
                value=message.value(),
                key=message.key(),
                headers=[*headers_of(reject, origin)],
                on_delivery=lambda error, _: failures.append(error) if error else None,
            )
        if self._producer.flush(DELIVERY_SECONDS) or failures:
            raise KafkaException(failures[0] if failures else KafkaError(KafkaError._TIMED_OUT, "dead letters"))

    def _assigned(self, _: Consumer, places: list[TopicPartition]) -> None:
        self._owned |= {(place.topic, place.partition): None for place in places}
        self._paused = False
        self._telemetry.gauge(Metric.PARTITIONS, len(self._owned))
        log.info("assigned %s", sorted(self._owned))

    def _revoked(self, _: Consumer, places: list[TopicPartition]) -> None:
        if self._writer is not None:
            self._finish(self._writer)
        self._forget(places)

    def _lost(self, _: Consumer, places: list[TopicPartition]) -> None:
        self._forget(places)

    def _forget(self, places: list[TopicPartition]) -> None:
        """Drop what is in hand: uncommitted rows of partitions that stay are few, and are read again with the rest."""
        if self._writer is not None:
            self._writer.discard()
        self._pile = _Pile()
        self._loads.clear()
        for place in places:
            self._owned.pop((place.topic, place.partition), None)
            self._telemetry.forget(Metric.LAG, topic=place.topic, partition=str(place.partition))
        self._telemetry.gauge(Metric.PARTITIONS, len(self._owned))

    # rows

    def _submit(self, writer: StoreWriter, now_or_never: bool = False) -> None:
        """Encode the pile when it is old or large enough and the store has little left to do."""
        pile = self._pile
        if not pile.offsets:
            return
        due = time.monotonic() - pile.since >= LINGER_SECONDS or pile.rows >= SUBMIT_ROWS
        if not now_or_never and not (due and writer.backlog < LOW_BACKLOG):
            return
        with self._telemetry.span("submit", list(pile.links), rows=pile.rows):
            flights = [writer.submit(store_rows(tables, window)) for window, tables in pile.tables.items()]
        self._loads.append(_Load(flights, pile.offsets))
        self._pile = _Pile()

    def _commit(self) -> None:
        """Commit up to the first load that is not yet acknowledged."""
        offsets: dict[Place, int] = {}
        while self._loads and all(flight.done for flight in self._loads[0].flights):
            offsets |= self._loads.popleft().offsets
        if not offsets:
            if not self._loads and not self._pile.offsets:
                self._committed = time.monotonic()  # nothing waits to be committed
            return
        try:
            self._consumer.commit(
                offsets=[TopicPartition(*place, at) for place, at in offsets.items()], asynchronous=False
            )
        except KafkaException as problem:
            error = problem.args[0]
            if error.fatal():
                raise
            log.warning("offsets not committed, their rows may be written again: %s", error.str())
            return
        self._committed = time.monotonic()
        self._telemetry.count(Metric.COMMITS)
        self._owned |= {place: at for place, at in offsets.items() if place in self._owned}

    def _finish(self, writer: StoreWriter) -> None:
        """Write and commit all that is in hand, for at most FINISH_SECONDS."""
        self._submit(writer, now_or_never=True)
        deadline = time.monotonic() + FINISH_SECONDS
        while not writer.idle and time.monotonic() < deadline:
            writer.pump(WAIT_SECONDS)
        if not writer.idle:
            log.warning("Cassandra did not take the last rows in %.0f s; they will be read again", FINISH_SECONDS)
        self._commit()

    def _gauge(self) -> None:
        now = time.monotonic()
        if now - self._gauged < GAUGE_SECONDS:
            return
        self._gauged = now
        for (topic, partition), done in self._owned.items():
            place = TopicPartition(topic, partition)
            _, end = self._consumer.get_watermark_offsets(place, cached=True)
            if done is not None and end >= 0:
                self._telemetry.gauge(Metric.LAG, max(0, end - done), topic=topic, partition=str(partition))


def _place(message: Message) -> Place:
    return message.topic() or "", message.partition() or 0
