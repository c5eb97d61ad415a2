"""The aggregator's partitions: what is restored and shown of them beyond what all stateful workers have."""

import time
from collections.abc import Callable

from confluent_kafka import Consumer, TopicPartition

from meterpipe.adapters.kafka import TopicInfo
from meterpipe.adapters.stateful_partitions import Owned, Place, resume
from meterpipe.adapters.transaction import TIMEOUT
from meterpipe.core.codecs import Decoder, admit_in
from meterpipe.core.partition import Partition
from meterpipe.core.windows import NEVER, WindowPolicy
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.models import KeyRule
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Metric, Telemetry


class OwnedWindows(Owned[Partition]):
    """A partition of the aggregator."""

    def __init__(self, state: Partition, now: float, snapshot_offset: int) -> None:
        super().__init__(state, now, snapshot_offset)
        self.active_watermark = state.windows.watermark
        self.told = state.balance


class Restorer:
    """Brings partitions back as they were at their last commit."""

    def __init__(self, config: WorkerConfig, telemetry: Telemetry, make_decoder: Callable[[], Decoder]) -> None:
        self._telemetry, self._make_decoder = telemetry, make_decoder
        self._names, self._spec = names_of(config.pipeline), config.pipeline.spec
        self._place = Place(config.kafka, self._names.changelog, "aggregator")

    def restore(self, consumer: Consumer, where: TopicPartition, topic: TopicInfo) -> OwnedWindows:
        """The partition of `where`, which holds the committed offset. Raises StateMismatchError, KafkaException."""
        # what the validation made of a meter's readings is in the meter's partition, whatever its channel
        rule = KeyRule.TRUSTED if self._names.validated else self._spec.readings.key
        admit = admit_in(where.partition, topic.partitions, rule)
        max_ahead = self._spec.readings.max_ahead * 1000
        policy = WindowPolicy.of(self._spec.aggregator)
        state = Partition(policy, self._make_decoder(), max_ahead, admit, topic.id)
        hint = resume(state, self._place, consumer, where, topic, self._telemetry)
        state.windows.flushed = [
            (size, rows) for size, rows in state.windows.flushed if self._has_topic(consumer, size)
        ]
        return OwnedWindows(state, time.monotonic(), hint)

    def _has_topic(self, consumer: Consumer, window: int) -> bool:
        topic = self._names.aggregates(window)
        return consumer.list_topics(topic, TIMEOUT).topics[topic].error is None


def observe(telemetry: Telemetry, number: int, owned: OwnedWindows) -> None:
    """Show gauges of a partition that are asked for by a scrape, not told by the loop."""

    def delay() -> float:
        watermark = owned.state.windows.watermark
        return time.time() - watermark / 1000 if watermark > NEVER else float("nan")

    telemetry.gauge_from(Metric.WATERMARK_DELAY, delay, partition=str(number))


def unobserve(telemetry: Telemetry, number: int) -> None:
    """Drop the gauges of a partition that is owned no more."""
    telemetry.forget(Metric.WATERMARK_DELAY, partition=str(number))
    telemetry.forget(Metric.OPEN_READINGS, partition=str(number))
