"""The aggregator: readings in; results, late readings, dead letters, changelog and offsets out in one transaction.

A commit makes all of it visible at once, or none. What a process holds in memory is therefore worth nothing without its
last commit: after any abort the state is thrown away and restored, never patched.
"""

import logging
import time
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
import numpy.typing as npt
from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from meterpipe.adapters.aggregator_partitions import Owned, Restorer, observe, unobserve
from meterpipe.adapters.kafka import TopicInfo, new_admin, new_consumer, offset_of, topic_info
from meterpipe.adapters.readings_topic import TopicIdentity
from meterpipe.adapters.tracing import MAX_LINKS, current_traceparent, traceparents
from meterpipe.adapters.transaction import TIMEOUT, BrokenProducerError, Transactions
from meterpipe.core.aggregates import encode_columns, encode_json
from meterpipe.core.codecs import CONTENT_ENVELOPE, CONTENT_JSON
from meterpipe.core.deadletters import Origin, headers_of
from meterpipe.core.envelope_codec import split_envelope
from meterpipe.core.idle import idle_watermark
from meterpipe.core.partition import Partition, RecordTimes, Taken
from meterpipe.core.readings import to_arrow
from meterpipe.core.windows import NEVER
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.models import Output
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger(__name__)

BATCH_MESSAGES, BATCH_READINGS = 20_000, 250_000
PENDING_READINGS = (
    400_000  # taken in since the last commit, above which it is committed early: bounds memory and deltas
)
POLL_SECONDS = 0.05
SNAPSHOT_SECONDS = 30.0
IDLE_SECONDS = 10.0
WATCH_SECONDS = 1.0  # between two looks at the topic's identity
PAUSE_SECONDS = 1.0  # before starting over


class Aggregator:
    """Windowed aggregates, exactly once. See `worker.ports.Worker`."""

    kind = "aggregator"

    def __init__(self, config: WorkerConfig, telemetry: Telemetry) -> None:
        spec = config.pipeline.spec
        self._config, self._telemetry = config, telemetry
        self._names, self._spec = names_of(config.pipeline), spec
        self._topic: TopicInfo = topic_info(config.kafka, self._names.readings)
        self._owned: dict[int, Owned] = {}
        self._metadata: Any = None  # of the consumer group, as it was when the partitions were assigned
        self._pending, self._batch = 0, BATCH_MESSAGES
        self._links: dict[str, None] = {}  # trace contexts of what is pending
        self._counts: list[tuple[Metric, int, dict[str, str]]] = []  # told once committed
        self._tried_at = self._committed_at = self._watched_at = time.monotonic()
        self._restorer = Restorer(config, telemetry)
        self._identity = TopicIdentity(new_admin(config.kafka), self._names.readings)
        self._out = Transactions(config.kafka, f"{self._names.group(self.kind)}-{uuid4()}")
        self._consumer = new_consumer(
            config.kafka, self._names.group(self.kind), auto_offset_reset="error", enable_partition_eof=True
        )
        telemetry.gauge_from(Metric.COMMIT_AGE, lambda: time.monotonic() - self._committed_at)
        self._subscribe()

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            [self._names.readings], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def step(self) -> int:
        """Consume a batch, put it into windows, commit if due."""
        taken = 0
        try:
            with self._telemetry.waiting:
                messages = self._consumer.consume(self._batch, POLL_SECONDS)
            taken = self._process(messages)
            now = time.monotonic()
            self._watch(now)
            self._advance_idle(now)
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
        self._consumer.close()
        self._out.close()

    def ready(self) -> bool:
        """Whether the group has taken this process in."""
        return self._metadata is not None

    # -- messages in

    def _process(self, messages: list[Message]) -> int:
        errors = list(map(Message.error, messages))
        if any(errors):
            for message, error in zip(messages, errors, strict=True):
                if error is not None:
                    self._heed(message, error)
            messages = [m for m, error in zip(messages, errors, strict=True) if error is None]
        if not messages:
            return 0
        partitions = np.fromiter(map(Message.partition, messages), np.int32, len(messages))
        cuts = np.flatnonzero(np.diff(partitions)) + 1
        groups: dict[int, list[Message]] = {}
        for start, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(messages)], strict=True):
            groups.setdefault(int(partitions[start]), []).extend(messages[start:end])
        if len(self._links) < MAX_LINKS:
            self._links |= dict.fromkeys(traceparents(messages))
        before = self._pending
        for number, group in groups.items():
            if owned := self._owned.get(number):
                self._take(number, owned, group)
        per_message = max(1.0, (self._pending - before) / len(messages))
        self._batch = int(min(BATCH_MESSAGES, max(16, BATCH_READINGS / per_message)))
        return len(messages)

    def _heed(self, message: Message, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            if owned := self._owned.get(message.partition() or 0):
                owned.read_to = offset_of(message)
        elif error.fatal() or error.code() == KafkaError._AUTO_OFFSET_RESET:  # what we are to read is gone
            raise KafkaException(error)
        else:
            log.warning("consumer: %s", error.str())

    def _take(self, number: int, owned: Owned, messages: list[Message]) -> None:
        state = owned.state
        if offset_of(messages[0]) < state.next_offset:  # left over from an earlier assignment
            messages = [m for m in messages if offset_of(m) >= state.next_offset]
            if not messages:
                return
        raw = state.balance.raw
        taken = state.take(list(map(Message.value, messages)), _times(messages), offset_of(messages[-1]) + 1)
        self._pending += state.balance.raw - raw
        owned.touched = True
        owned.active_at, owned.active_watermark = time.monotonic(), state.windows.watermark
        if taken.rejects or len(taken.late):
            self._put_aside(number, state, messages, taken)

    def _put_aside(self, number: int, state: Partition, messages: list[Message], taken: Taken) -> None:
        for reject in taken.rejects:
            message = messages[reject.message]
            origin = Origin(self._names.readings, number, offset_of(message))
            self._out.produce(
                self._names.dead_letters, number, message.value(), message.key(), headers_of(reject, origin)
            )
            self._counts.append((Metric.DEAD_LETTERS, reject.count, {"reason": reject.reason.value}))
        if len(taken.late):
            missed = ("windows", ",".join(map(str, self._spec.aggregator.windows)).encode())
            for value, _ in split_envelope(to_arrow(taken.late, state.keys)):
                self._out.produce(self._names.late, number, value, None, [CONTENT_ENVELOPE, missed])

    def _watch(self, now: float) -> None:
        """Start over when the topic was created anew: offsets mean something else then."""
        if now - self._watched_at < WATCH_SECONDS:
            return
        self._watched_at = now
        answer = self._identity.answer()
        if answer and answer[0] and answer[0] != self._topic.id:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC, f"{self._names.readings} was created anew"))
        if not self._identity.asking:
            self._identity.ask()

    def _advance_idle(self, now: float) -> None:
        for number, owned in self._owned.items():
            idle = now - owned.active_at
            watermark = owned.state.windows.watermark
            if idle < IDLE_SECONDS or watermark == NEVER:
                continue
            grace = owned.state.windows.policy.grace_ms
            base = owned.active_watermark
            wanted = idle_watermark(base, int(idle * 1000), int(time.time() * 1000), grace)
            if wanted - watermark < 1000:
                continue
            try:
                at_end = self._read_to_its_end(number, owned)
            except KafkaException:
                return  # no broker answers: it may hold readings, so no time passes
            if at_end:
                owned.state.windows.advance(wanted)
                owned.touched = True

    def _read_to_its_end(self, number: int, owned: Owned) -> bool:
        where = TopicPartition(self._names.readings, number)
        _, end = self._consumer.get_watermark_offsets(where, timeout=2.0, cached=False)
        return bool(end <= max(owned.state.next_offset, owned.read_to))

    # -- results out

    def _commit(self) -> None:
        """Close what the watermarks have passed and commit all, with the offsets of the partitions that moved."""
        self._tried_at = time.monotonic()
        moved = {number: owned for number, owned in self._owned.items() if owned.touched}
        if not moved:
            self._committed_at = self._tried_at
            return
        with self._telemetry.span("commit", list(self._links), partitions=len(moved), readings=self._pending):
            for number, owned in moved.items():
                self._put_out(number, owned)
            if any(owned.snapshot_offset < 0 for owned in moved.values()):
                self._out.deliver()  # tells the offsets of new snapshots
            offsets = [
                TopicPartition(self._names.readings, number, owned.state.next_offset, owned.hint)
                for number, owned in moved.items()
            ]
            self._out.commit(offsets, self._metadata)
        self._committed_at = time.monotonic()
        for number, owned in moved.items():
            owned.touched = False
            self._tell(number, owned)
        for metric, amount, labels in self._counts:
            self._telemetry.count(metric, amount, **labels)
        self._telemetry.count(Metric.COMMITS)
        self._nothing_pending()

    def _nothing_pending(self) -> None:
        self._pending = 0
        self._links.clear()
        self._counts.clear()

    def _put_out(self, number: int, owned: Owned) -> None:
        state, now = owned.state, time.monotonic()
        context = current_traceparent()
        for window, rows in state.close().results:
            topic = self._names.aggregates(window)
            if self._spec.aggregator.output is Output.COLUMNS:
                for value in encode_columns(rows, state.keys, window):
                    self._out.produce(topic, number, value, None, [CONTENT_ENVELOPE, *context])
            else:
                self._out.produce_all(topic, number, *encode_json(rows, state.keys, window))
            self._counts.append((Metric.WINDOWS, len(rows), {"window": str(window)}))
        records = state.records(snapshot_due=now - owned.snapshot_at >= SNAPSHOT_SECONDS)
        for key, value in records:
            placed = owned.snapshot_begins(now) if key == "snap/0" else None
            self._out.produce(self._names.changelog, number, value, key, on_delivery=placed)
        balance = msgspec.json.encode(state.mark.balance)
        self._out.produce(self._names.balance, number, balance, str(number), [CONTENT_JSON])

    def _tell(self, number: int, owned: Owned) -> None:
        state, label = owned.state, str(number)
        told, owned.told = owned.told, state.balance
        self._telemetry.count(Metric.READINGS, state.balance.raw - told.raw)
        self._telemetry.count(Metric.LATE, state.balance.late - told.late)
        self._telemetry.count(Metric.DUPLICATES, state.balance.duplicates - told.duplicates)
        self._telemetry.count(Metric.SUPERSEDED, state.balance.superseded - told.superseded)
        self._telemetry.gauge(Metric.OPEN_READINGS, state.windows.open_readings, partition=label)

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
        self._topic = topic_info(self._config.kafka, self._names.readings)
        started = time.monotonic()
        starts = []
        for where in consumer.committed(assigned, TIMEOUT):
            if where.error:
                raise KafkaException(where.error)
            owned = self._owned[where.partition] = self._restorer.restore(consumer, where, self._topic)
            starts.append(TopicPartition(where.topic, where.partition, owned.state.next_offset))
            observe(self._telemetry, consumer, TopicPartition(where.topic, where.partition), owned)
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
            unobserve(self._telemetry, self._names.readings, number)
        self._owned.clear()
        self._nothing_pending()
        self._telemetry.gauge(Metric.PARTITIONS, 0)


def _times(messages: list[Message]) -> RecordTimes:
    def exact() -> npt.NDArray[np.int64]:
        return np.fromiter((m.timestamp()[1] for m in messages), np.int64, len(messages))

    kind, first = messages[0].timestamp()
    return RecordTimes(exact, first if kind == TIMESTAMP_LOG_APPEND_TIME else None)
