"""The loop of workers that keep state: outputs, dead letters, changelog and offsets of a commit are one transaction.

A commit makes all of it visible at once, or none. What a process holds in memory is therefore worth nothing without its
last commit: after any abort the state is thrown away and restored, never patched.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from meterpipe.adapters.batches import Taken, new_receiver
from meterpipe.adapters.batches.ports import News
from meterpipe.adapters.kafka import TopicInfo, new_admin, new_consumer, topic_info
from meterpipe.adapters.readings_topic import TopicIdentity
from meterpipe.adapters.stateful_partitions import Owned
from meterpipe.adapters.tracing import MAX_LINKS
from meterpipe.adapters.transaction import OWNED_BATCH, TIMEOUT, BrokenProducerError, Transactions
from meterpipe.core.deadletters import Origin, Reject, headers_of
from meterpipe.core.idle import idle_watermark
from meterpipe.core.messages import Messages
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger(__name__)

BATCH_MESSAGES, BATCH_READINGS = 20_000, 250_000
PENDING_READINGS = (
    400_000  # taken in since the last commit, above which it is committed early: bounds memory and deltas
)
POLL_SECONDS = 0.05
SNAPSHOT_SECONDS = 30.0
WATCH_SECONDS = 1.0  # between two looks at the topic's identity
PAUSE_SECONDS = 1.0  # before starting over

IDLE_STEP_MS = 1000
"""Event time of an idle partition moves by no less: each move is a commit."""


@dataclass(frozen=True, slots=True)
class EventClock:
    """Event time of a partition, UTC ms: the watermark at its last message and now, and the grace."""

    active: int
    watermark: int
    grace_ms: int


O = TypeVar("O", bound=Owned[Any])  # noqa: E741


class Stateful(ABC, Generic[O]):
    """A worker with state, exactly once. See `worker.ports.Worker`. What it does with messages is the subclass's."""

    kind: str
    batch = OWNED_BATCH
    """Bytes that all topics it writes to take at once."""

    def __init__(self, config: WorkerConfig, telemetry: Telemetry, source: str, changelog: str) -> None:
        """`source`: the topic it reads; `changelog`: the topic of its state, with as many partitions."""
        self._config, self._telemetry = config, telemetry
        self._names, self._spec = names_of(config.pipeline), config.pipeline.spec
        self._source, self._changelog = source, changelog
        self._topic: TopicInfo = topic_info(config.kafka, source)
        self._owned: dict[int, O] = {}
        self._metadata: Any = None  # of the consumer group, as it was when the partitions were assigned
        self._pending, self._batch = 0, BATCH_MESSAGES
        self._links: dict[str, None] = {}  # trace contexts of what is pending
        self._counts: list[tuple[Metric, int, dict[str, str]]] = []  # told once committed
        self._tried_at = self._committed_at = self._watched_at = time.monotonic()
        self._identity = TopicIdentity(new_admin(config.kafka), source)
        self._out = Transactions(config.kafka, f"{self._names.group(self.kind)}-{uuid4()}", self.batch)
        self._consumer = new_consumer(
            config.kafka, self._names.group(self.kind), auto_offset_reset="error", enable_partition_eof=True
        )
        self._receiver = new_receiver(self._consumer)
        telemetry.gauge_from(Metric.COMMIT_AGE, lambda: time.monotonic() - self._committed_at)
        self._subscribe()

    # -- what a worker is made of

    @abstractmethod
    def _restore(self, consumer: Consumer, where: TopicPartition) -> O:
        """The partition of `where`, which holds the committed offset, as it was then; its gauges are shown."""

    @abstractmethod
    def _take(self, number: int, owned: O, messages: Messages) -> int:
        """Take messages of one partition, in order; how many readings they held."""

    @abstractmethod
    def _put_out(self, number: int, owned: O) -> None:
        """Produce what is due at a commit, the changelog left out."""

    @abstractmethod
    def _tell(self, number: int, owned: O) -> None:
        """A commit is done: tell its figures."""

    @abstractmethod
    def _unobserve(self, number: int) -> None:
        """Drop the gauges of a partition that is owned no more."""

    def _idle(self, now: float) -> None:
        """Called each step: what shall happen when no message comes."""

    def _idle_partitions(
        self, now: float, after: float, clock: Callable[[O], "EventClock | None"]
    ) -> Iterator[tuple[int, O, int]]:
        """Partitions without a message for `after` seconds and read to their end, with the watermark they come to.

        `clock`: of a partition; None while no event time is known there.
        """
        for number, owned in self._owned.items():
            idle, known = now - owned.active_at, clock(owned)
            if idle < after or known is None:
                continue
            wanted = idle_watermark(known.active, int(idle * 1000), int(time.time() * 1000), known.grace_ms)
            if wanted - known.watermark < IDLE_STEP_MS:
                continue
            try:
                at_end = self._read_to_its_end(number, owned)
            except KafkaException:
                return  # no broker answers: it may hold readings, so no time passes
            if at_end:
                yield number, owned, wanted

    # -- the loop

    def step(self) -> int:
        """Consume a batch, take it in, commit if due."""
        taken = 0
        try:
            with self._telemetry.waiting:
                received = self._receiver.take(self._batch, POLL_SECONDS)
            taken = self._process(received)
            now = time.monotonic()
            self._watch(now)
            self._idle(now)
            if (
                now - self._tried_at
            ) * 1000 >= self._spec.aggregator.commit_interval_ms or self._pending >= PENDING_READINGS:
                self._commit()
            self._out.poll()
        except KafkaException as failed:
            self._start_over(failed.args[0])
        return taken

    def close(self) -> None:
        """Commit what is in hand and leave the group."""
        self._receiver.close()
        self._consumer.close()
        self._out.close()

    def ready(self) -> bool:
        """Whether the group has taken this process in."""
        return self._metadata is not None

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            [self._source], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    # -- messages in

    def _process(self, received: Taken) -> int:
        for news in received.news:
            self._heed(news)
        if not (count := len(received)):
            return 0
        if len(self._links) < MAX_LINKS:
            self._links |= dict.fromkeys(received.traces)
        before = self._pending
        for number, messages in received.runs:
            if owned := self._owned.get(number):
                self._take_new(number, owned, messages)
        per_message = max(1.0, (self._pending - before) / count)
        self._batch = int(min(BATCH_MESSAGES, max(16, BATCH_READINGS / per_message)))
        return count

    def _heed(self, news: News) -> None:
        error = news.error
        if error.code() == KafkaError._PARTITION_EOF:
            if owned := self._owned.get(news.partition):
                owned.read_to = news.offset
        elif error.fatal() or error.code() == KafkaError._AUTO_OFFSET_RESET:  # what we are to read is gone
            raise KafkaException(error)
        else:
            log.warning("consumer: %s", error.str())

    def _take_new(self, number: int, owned: O, messages: Messages) -> None:
        known = int(messages.offset.searchsorted(owned.state.next_offset))
        if known:  # left over from an earlier assignment
            messages = messages.take(slice(known, None))
            if not len(messages):
                return
        self._pending += self._take(number, owned, messages)
        owned.touched = True
        owned.active_at = time.monotonic()

    def _bury(self, number: int, messages: Messages, rejects: list[Reject]) -> None:
        """Put what could not be taken on the dead-letter topic."""
        for reject in rejects:
            at = reject.message
            headers = headers_of(reject, Origin(self._source, number, int(messages.offset[at])))
            self._out.produce(self._names.dead_letters, number, messages.values[at], messages.keys[at], headers)
            self._counts.append((Metric.DEAD_LETTERS, reject.count, {"reason": reject.reason.value}))

    def _watch(self, now: float) -> None:
        """Tell the lag; start over when the topic was created anew: offsets mean something else then."""
        if now - self._watched_at < WATCH_SECONDS:
            return
        self._watched_at = now
        self._tell_lag()
        if (answer := self._identity.answer()) and answer[0]:
            self._expect_same(answer[0])
        if not self._identity.asking:
            self._identity.ask()

    def _expect_same(self, topic_id: str | None) -> None:
        if topic_id != self._topic.id:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC, f"{self._source} was created anew"))

    def _tell_lag(self) -> None:
        """From this thread: another one would wait for the client, seconds at times."""
        for number, owned in self._owned.items():
            try:
                _, end = self._consumer.get_watermark_offsets(TopicPartition(self._source, number), cached=True)
            except KafkaException:
                end = -1
            end = max(end, owned.read_to)  # the client knows an end only once it has got messages
            if end >= 0:
                lag = max(0, end - owned.state.next_offset)
                self._telemetry.gauge(Metric.LAG, lag, topic=self._source, partition=str(number))

    def _read_to_its_end(self, number: int, owned: O) -> bool:
        where = TopicPartition(self._source, number)
        _, end = self._consumer.get_watermark_offsets(where, timeout=2.0, cached=False)
        return bool(end <= max(owned.state.next_offset, owned.read_to))

    # -- results out

    def _commit(self) -> None:
        """Put out what is due and commit all, with the offsets of the partitions that moved."""
        self._tried_at = time.monotonic()
        moved = {number: owned for number, owned in self._owned.items() if owned.touched}
        if not moved:
            self._committed_at = self._tried_at
            return
        with self._telemetry.span("commit", list(self._links), partitions=len(moved), readings=self._pending):
            self._identity.ask()
            for number, owned in moved.items():
                self._put_out(number, owned)
                self._log_change(number, owned)
            if any(owned.snapshot_offset < 0 for owned in moved.values()):
                self._out.deliver()  # tells the offsets of new snapshots
            offsets = [
                TopicPartition(self._source, number, owned.state.next_offset, owned.hint)
                for number, owned in moved.items()
            ]
            # The client goes on at the old offset in a topic that was created anew. It was asked for after all of this
            # had been taken: if it is the same now, all of this came from it.
            self._expect_same(self._identity.awaited())
            self._out.commit(offsets, self._metadata)
        self._committed_at = time.monotonic()
        for number, owned in moved.items():
            owned.touched = False
            self._tell(number, owned)
        for metric, amount, labels in self._counts:
            self._telemetry.count(metric, amount, **labels)
        self._telemetry.count(Metric.COMMITS)
        self._nothing_pending()

    def _log_change(self, number: int, owned: O) -> None:
        now = time.monotonic()
        for key, value in owned.state.records(snapshot_due=now - owned.snapshot_at >= SNAPSHOT_SECONDS):
            placed = owned.snapshot_begins(now) if key == "snap/0" else None
            self._out.produce(self._changelog, number, value, key, on_delivery=placed)

    def _nothing_pending(self) -> None:
        self._pending = 0
        self._links.clear()
        self._counts.clear()

    def _give_up(self, error: KafkaError) -> None:
        """Abort, and forget all state that the transaction touched: what it holds was never committed."""
        log.warning("transaction given up, its input is read again: %s", error.str())
        self._telemetry.count(Metric.ABORTS)
        self._metadata = None
        self._drop()
        if error.fatal():
            raise BrokenProducerError(error.str())
        self._out.abort()

    def _start_over(self, error: KafkaError) -> None:
        """Give up and join the group anew, which restores the state from the changelog."""
        self._give_up(error)
        self._consumer.unsubscribe()
        with self._telemetry.waiting:
            time.sleep(PAUSE_SECONDS)
        self._subscribe()

    # -- partitions come and go

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        self._metadata = consumer.consumer_group_metadata()
        self._topic = topic_info(self._config.kafka, self._source)
        started = time.monotonic()
        starts = []
        for where in consumer.committed(assigned, TIMEOUT):
            if where.error:
                raise KafkaException(where.error)
            owned = self._owned[where.partition] = self._restore(consumer, where)
            starts.append(TopicPartition(where.topic, where.partition, owned.state.next_offset))
        self._receiver.follow(starts)
        consumer.assign(starts)
        self._tried_at = self._committed_at = time.monotonic()
        took = time.monotonic() - started
        self._telemetry.gauge(Metric.RESTORE_SECONDS, took)
        self._telemetry.gauge(Metric.PARTITIONS, len(self._owned))
        log.info("assigned partitions %s, restored in %.2f s", sorted(self._owned), took)

    def _on_revoke(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        try:
            self._commit()
        except KafkaException as failed:
            self._give_up(failed.args[0])
        log.info("revoked partitions %s", sorted(where.partition for where in revoked))
        self._drop()

    def _on_lost(self, consumer: Consumer, lost: list[TopicPartition]) -> None:
        log.warning("lost partitions %s", sorted(where.partition for where in lost))
        self._give_up(KafkaError(KafkaError._ASSIGNMENT_LOST))

    def _drop(self) -> None:
        for number in self._owned:
            self._telemetry.forget(Metric.LAG, topic=self._source, partition=str(number))
            self._unobserve(number)
        self._owned.clear()
        self._nothing_pending()
        self._telemetry.gauge(Metric.PARTITIONS, 0)
