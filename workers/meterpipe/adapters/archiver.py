"""The archiver: every decodable reading of the topic, as it arrived, into the lake, exactly once.

The table of the lake, not the consumer group, says where to go on (see core.lake_protocol); offsets committed to the
group only make the lag visible. What is held in memory may be dropped at any moment: it is read again.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from meterpipe.adapters.archiver_partitions import Partitions
from meterpipe.adapters.batches import new_receiver
from meterpipe.adapters.kafka import new_admin, new_consumer
from meterpipe.adapters.lake import LAKE_ERRORS, explain
from meterpipe.adapters.lake_writer import LakeWriter, Outcome
from meterpipe.adapters.readings_topic import Intake, TopicIdentity
from meterpipe.adapters.s3 import location_of
from meterpipe.adapters.schema_registry import decoder_of
from meterpipe.core.lake_buffer import Buffer
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger(__name__)

STEP_SECONDS = 0.05
WATCH_SECONDS = 1.0  # between two looks at the topic's identity and the lag
GAP_SECONDS = 15.0  # between two looks at partitions with a gap
IDLE_SECONDS = 3600.0  # messages without readings are marked as archived after so long, lest they expire unseen
CLOSE_SECONDS = 10.0  # how long leaving may try to write what is held

TROUBLE = (*LAKE_ERRORS, KafkaException)


@dataclass(slots=True)
class Backoff:
    """When to try again: after 0.5 s, 1 s, 2 s … at most 15 s."""

    failures: int = 0
    at: float = 0.0

    def failed(self, now: float) -> float:
        """One more failure; seconds to wait."""
        wait = min(0.5 * 2.0 ** min(self.failures, 10), 15.0)
        self.failures, self.at = self.failures + 1, now + wait
        return wait

    def succeeded(self, now: float) -> None:
        """All is well."""
        self.failures, self.at = 0, now


class Archiver:
    """One archiver process: any number of them share the partitions of the readings topic."""

    kind = "archiver"

    def __init__(self, config: WorkerConfig, telemetry: Telemetry, clock: Callable[[], float] = time.monotonic) -> None:
        names = names_of(config.pipeline)
        self._topic = names.readings
        self._limits = config.pipeline.spec.lake.flush
        self._telemetry = telemetry
        self._clock = clock
        self._buffer = Buffer()
        self._writer = LakeWriter(location_of(config), telemetry, clock)
        # no guess where to start: an offset that is gone must be noticed
        self._consumer: Consumer = new_consumer(config.kafka, names.group("archiver"), auto_offset_reset="error")
        self._receiver = new_receiver(self._consumer)
        self._partitions = Partitions(
            self._topic,
            self._consumer,
            self._receiver,
            TopicIdentity(new_admin(config.kafka), self._topic),
            self._buffer,
            self._writer.versions,
            telemetry,
        )
        decoder = decoder_of(config)
        self._intake = Intake(self._receiver, decoder, telemetry.waiting, self._limits.rows)
        self._settling, self._writing = Backoff(), Backoff()
        self._joined = self._paused = self._closing = False
        self._first_at: float | None = None  # when the first message since the last commit was taken
        self._shown_at: float | None = None  # the same, since the group was last told our positions
        self._committed_at = clock()
        self._watched_at = 0.0
        self._known_errors: set[int] = set()
        telemetry.gauge_from(Metric.COMMIT_AGE, lambda: self._clock() - self._committed_at)
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def step(self) -> int:
        """Take a batch in; commit to the lake what is due."""
        now = self._clock()
        pending = self._writer.pending
        if self._partitions.release(pending.spans if pending else ()):
            self._settling.at = now
        if self._partitions.unsettled and now >= self._settling.at:
            self._settle()
        self._pause(pending is not None and self._buffer.rows >= self._limits.rows)
        taken = self._take()
        now = self._clock()
        if now - self._watched_at >= WATCH_SECONDS:
            self._partitions.watch()
            self._telemetry.gauge(Metric.BUFFERED, self._held)
            self._watched_at = now
        if self._due(now):
            self._flush()
        elif self._shown_at is not None and now - self._shown_at >= self._limits.seconds and not self._held:
            self._show(self._buffer.positions())
        return taken

    def ready(self) -> bool:
        """Whether Kafka and the lake answer, and all our partitions are being archived."""
        return self._joined and not (self._settling.failures or self._writing.failures or self._partitions.unsettled)

    def close(self) -> None:
        """Write what is held, leave the group. What can't be written in time is read again by the next archiver."""
        self._closing = True
        deadline = self._clock() + CLOSE_SECONDS
        while self._held and self._clock() < deadline:
            if not self._flush():
                time.sleep(min(1.0, max(0.0, self._writing.at - self._clock())))
        if self._held:
            log.warning("leaving with %d readings that the lake did not take; they are read again", self._held)
        self._receiver.close()
        self._consumer.close()

    @property
    def _held(self) -> int:
        """Readings in memory."""
        return self._buffer.rows + (len(self._writer.pending.arrivals) if self._writer.pending else 0)

    def _settle(self) -> None:
        try:
            self._partitions.settle()
        except TROUBLE as problem:
            wait = self._settling.failed(self._clock())
            log.warning("cannot tell where the lake ends, trying again in %.1f s: %s", wait, explain(problem))
            return
        self._go_on()
        self._settling.succeeded(self._clock() + (GAP_SECONDS if self._partitions.gaps else WATCH_SECONDS))

    def _take(self) -> int:
        taken, news = self._intake.take(self._buffer, STEP_SECONDS)
        for told in news:
            self._on_error(told.partition, told.error)
        for some in taken:
            self._buffer.add(some.partition, some.offset, some.arrived, some.readings)
            self._telemetry.count(Metric.READINGS, len(some.readings))
            now = self._clock()
            self._first_at = now if self._first_at is None else self._first_at
            self._shown_at = now if self._shown_at is None else self._shown_at
        return sum(len(some.partition) for some in taken)

    def _on_error(self, partition: int, error: KafkaError) -> None:
        if error.fatal():
            raise KafkaException(error)
        if error.code() == KafkaError._AUTO_OFFSET_RESET and partition in self._partitions.apps:
            log.warning("partition %d cannot be read on: %s", partition, error.str())
            self._partitions.stick(partition)
        elif error.code() not in self._known_errors:
            log.warning("Kafka: %s", error.str())
            self._known_errors.add(error.code())

    def _pause(self, full: bool) -> None:
        """Stop or go on fetching; heartbeats and rebalances go on."""
        if full == self._paused:
            return
        if not full:
            self._go_on()
            return
        log.warning("%d readings held and the lake does not take them: reading no further", self._held)
        self._consumer.pause(self._followed)
        self._paused = True

    def _go_on(self) -> None:
        """Fetch all that is ours: librdkafka keeps a partition paused, whatever is assigned."""
        self._consumer.resume(self._followed)
        self._paused = False

    @property
    def _followed(self) -> list[TopicPartition]:
        return [TopicPartition(self._topic, p) for p in self._partitions.apps]

    def _due(self, now: float) -> bool:
        if self._writer.pending:
            return now >= self._writing.at
        if self._first_at is None or now < self._writing.at:
            return False
        if self._partitions.stuck or self._buffer.full(self._limits.rows):
            return True
        return now - self._first_at >= (self._limits.seconds if self._buffer.rows else IDLE_SECONDS)

    def _flush(self) -> bool:
        """Try to bring the pending batch, or else all that is held, into the lake; whether it is there."""
        try:
            if self._writer.pending is None:
                self._partitions.make_certain()
                self._cut()
            outcome = self._writer.attempt()
        except TROUBLE as problem:
            wait = self._writing.failed(self._clock())
            self._telemetry.count(Metric.RETRIES)
            who = "Kafka does not confirm" if isinstance(problem, KafkaException) else "the lake did not take"
            log.warning(
                "%s %d readings (failure %d), trying again in %.1f s, nothing is lost: %s",
                *(who, self._held, self._writing.failures, wait, explain(problem)),
            )
            return False
        self._flushed(outcome)
        return True

    def _cut(self) -> None:
        if self._buffer.moved:
            self._writer.take(self._buffer.cut(), self._partitions.apps)
        self._first_at = None

    def _flushed(self, outcome: Outcome) -> None:
        if self._writing.failures:
            log.info("the lake takes readings again after %d failures", self._writing.failures)
        now = self._clock()
        self._writing.succeeded(now)
        self._committed_at = now
        if outcome.moved:
            self._telemetry.count(Metric.ABORTS)
            self._partitions.leave(outcome.moved)
            self._settling.at = now
        self._show({p: offset for p, offset in outcome.written.items() if p in self._partitions.apps})

    def _show(self, offsets: dict[int, int]) -> None:
        """Tell the group how far we are. Only the lag is seen from it, so failing to is no harm."""
        self._shown_at = None
        if not offsets:
            return
        try:
            self._consumer.commit(
                offsets=[TopicPartition(self._topic, p, offset) for p, offset in offsets.items()], asynchronous=True
            )
        except KafkaException as problem:
            log.info("offsets not shown to the group: %s", problem)

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._joined = True
        self._partitions.give(tp.partition for tp in partitions)
        self._consumer.assign([])  # `settle` assigns them once the lake has told the offsets
        self._settling.at = 0.0

    def _on_revoke(self, _: Consumer, _partitions: list[TopicPartition]) -> None:
        """Write what is held, so that the next owner need not read it again; but do not keep the group waiting."""
        if self._held and not self._closing and not self._writing.failures:
            self._flush()
        self._let_go()

    def _on_lost(self, _: Consumer, _partitions: list[TopicPartition]) -> None:
        log.warning("partitions lost: %d readings held are dropped, their next owner reads them", self._held)
        self._let_go()

    def _let_go(self) -> None:
        self._writer.drop(self._partitions.given)
        self._partitions.forget_all()
        self._first_at = self._shown_at = None
        self._paused = False
