"""The aggregator's partitions: restored from the changelog, checked against Kafka, remembered between commits."""

import logging
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from meterpipe.adapters.changelog import read_changelog
from meterpipe.adapters.kafka import TopicInfo, offset_of
from meterpipe.adapters.transaction import TIMEOUT
from meterpipe.core.codecs import Decoder, admit_in
from meterpipe.core.partition import Partition
from meterpipe.core.windows import NEVER, WindowPolicy
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger(__name__)


class StateMismatchError(Exception):
    """The changelog and the committed offset of a partition disagree: going on would lose or double readings."""


class Owned:
    """A partition this process owns, and what it remembers of it beside its state."""

    def __init__(self, state: Partition, now: float, snapshot_offset: int) -> None:
        self.state = state
        self.touched = state.changed
        self.read_to = -1  # the end of the partition when it was last reached; markers of transactions count
        self.snapshot_at = now
        self.snapshot_offset = snapshot_offset
        self.active_at = now
        self.active_watermark = state.windows.watermark
        self.told = state.balance

    @property
    def hint(self) -> str:
        """Where in the changelog a restore may begin, as metadata of the committed offset."""
        return str(self.snapshot_offset) if self.snapshot_offset >= 0 else ""

    def snapshot_begins(self, now: float) -> Callable[[Any, Message], None]:
        """A snapshot is being written; give what is called back tells where its first record lies."""
        self.snapshot_at, self.snapshot_offset = now, -1

        def placed(error: Any, message: Message) -> None:
            if error is None:
                self.snapshot_offset = offset_of(message)

        return placed


class Restorer:
    """Brings partitions back as they were at their last commit."""

    def __init__(self, config: WorkerConfig, telemetry: Telemetry) -> None:
        self._config, self._telemetry = config, telemetry
        self._names, self._spec = names_of(config.pipeline), config.pipeline.spec

    def restore(self, consumer: Consumer, where: TopicPartition, topic: TopicInfo) -> Owned:
        """The partition of `where`, which holds the committed offset. Raises StateMismatchError, KafkaException."""
        number = where.partition
        admit = admit_in(number, topic.partitions, self._spec.readings.key)
        max_ahead = self._spec.readings.max_ahead * 1000
        state = Partition(
            WindowPolicy.of(self._spec.aggregator), Decoder(self._spec.readings), max_ahead, admit, topic.id
        )
        hint = int(where.metadata) if where.offset >= 0 and where.metadata else OFFSET_BEGINNING
        records = read_changelog(self._config.kafka, self._names.changelog, number, hint)
        found = state.restore(records)
        low, _ = consumer.get_watermark_offsets(TopicPartition(where.topic, number), TIMEOUT)
        if found and state.topic_id != topic.id:
            log.warning("%s was created anew: starting at its beginning with the windows still open", where.topic)
            state.topic_id, state.next_offset = topic.id, low
        elif where.offset >= 0 and where.offset != (state.next_offset if found else 0):
            raise StateMismatchError(
                f"{where.topic}[{number}]: the group has committed offset {where.offset}, "
                f"the changelog {self._names.changelog} is at {state.next_offset if found else 'nothing'}; "
                "somebody moved one of them: see `meterpipe reset aggregator --help`"
            )
        if state.next_offset < low:
            lost = low - state.next_offset if found else 0
            if lost:
                self._telemetry.count(Metric.LOST, lost)
                log.error("%s[%d]: %d messages expired before they were read", where.topic, number, lost)
            state.next_offset = low
        state.windows.flushed = [
            (size, rows) for size, rows in state.windows.flushed if self._has_topic(consumer, size)
        ]
        return Owned(state, time.monotonic(), hint if found and hint >= 0 else 0)

    def _has_topic(self, consumer: Consumer, window: int) -> bool:
        topic = self._names.aggregates(window)
        return consumer.list_topics(topic, TIMEOUT).topics[topic].error is None


def observe(telemetry: Telemetry, consumer: Consumer, where: TopicPartition, owned: Owned) -> None:
    """Show gauges of a partition that are asked for by a scrape, not told by the loop."""

    def lag() -> float:
        _, end = consumer.get_watermark_offsets(where, cached=True)
        return float(max(0, end - owned.state.next_offset)) if end >= 0 else float("nan")

    def delay() -> float:
        watermark = owned.state.windows.watermark
        return time.time() - watermark / 1000 if watermark > NEVER else float("nan")

    telemetry.gauge_from(Metric.LAG, lag, topic=where.topic, partition=str(where.partition))
    telemetry.gauge_from(Metric.WATERMARK_DELAY, delay, partition=str(where.partition))


def unobserve(telemetry: Telemetry, topic: str, number: int) -> None:
    """Drop the gauges of a partition that is owned no more."""
    telemetry.forget(Metric.LAG, topic=topic, partition=str(number))
    telemetry.forget(Metric.WATERMARK_DELAY, partition=str(number))
    telemetry.forget(Metric.OPEN_READINGS, partition=str(number))
