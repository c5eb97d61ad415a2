"""The aggregator's partitions: what is restored and shown of them beyond what all stateful workers have."""

import time
from collections.abc import Callable

from confluent_kafka import Consumer, TopicPartition

from meterpipe.adapters.kafka import TopicInfo
from meterpipe.adapters.stateful_partitions import Owned, Place, resume
from meterpipe.adapters.transaction import TIMEOUT
from meterpipe.core.codecs import Admit, admit_in
from meterpipe.core.partition import Partition
from meterpipe.core.readings import Readings
from meterpipe.core.windows import NEVER
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
        self.late: list[Readings] = []  # late readings not produced yet: the fewer messages, the cheaper


class Restorer:
    """Brings partitions back as they were at their last commit."""

    def __init__(
        self,
        config: WorkerConfig,
        telemetry: Telemetry,
        make_state: Callable[[int, Admit, str], Partition],
        place: Place,
        rule: KeyRule,
    ) -> None:
        """`make_state`: of maxAhead in ms, who is admitted, and the topic's id. `rule`: of the topic that is read."""
        self._telemetry, self._make_state, self._place, self._rule = telemetry, make_state, place, rule
        self._names, self._spec = names_of(config.pipeline), config.pipeline.spec

    def restore(self, consumer: Consumer, where: TopicPartition, topic: TopicInfo) -> OwnedWindows:
        """The partition of `where`, which holds the committed offset. Raises StateMismatchError, KafkaException."""
        admit = admit_in(where.partition, topic.partitions, self._rule)
        state = self._make_state(self._spec.readings.max_ahead * 1000, admit, topic.id)
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
