"""The alarms worker: readings in; alarms raised and cleared, changelog and offsets out in one transaction."""

import time
from collections import Counter

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, TopicPartition

from meterpipe.adapters.counted import counted_decoder, counted_rule
from meterpipe.adapters.stateful import EventClock, Stateful
from meterpipe.adapters.stateful_partitions import Owned, Place, resume
from meterpipe.adapters.threshold_follower import ThresholdFollower
from meterpipe.adapters.tracing import current_traceparent
from meterpipe.core.alarms.events import encode_alarm
from meterpipe.core.alarms.memory import Changes
from meterpipe.core.alarms.stage import Stage
from meterpipe.core.alarms.state import AlarmPartition
from meterpipe.core.codecs import CONTENT_JSON, admit_in
from meterpipe.core.messages import Messages
from meterpipe.core.validation.series import NEVER
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Metric, Telemetry

NO_OFFSETS = np.empty(0, np.int64)


class OwnedAlarms(Owned[AlarmPartition]):
    """A partition of the alarms. `active_watermark`: at its last message."""

    def __init__(self, state: AlarmPartition, now: float, snapshot_offset: int) -> None:
        super().__init__(state, now, snapshot_offset)
        self.active_watermark = state.stage.watermark
        self.readings = 0  # since the last commit
        self.counted: Counter[tuple[str, str]] = Counter()  # alarms since the last commit, by kind and state


class Alarms(Stateful[OwnedAlarms]):
    """Raises and clears alarms, exactly once. See `worker.ports.Worker`."""

    kind = "alarms"

    def __init__(self, config: WorkerConfig, telemetry: Telemetry) -> None:
        names = names_of(config.pipeline)
        self._make_decoder, self._rule = counted_decoder(config), counted_rule(config)
        self._place = Place(config.kafka, names.alarms_changelog, self.kind)
        self._follower = ThresholdFollower(config.kafka, names.thresholds)
        super().__init__(config, telemetry, names.counted, names.alarms_changelog)

    def step(self) -> int:
        """As every worker's, with the thresholds that have come meanwhile."""
        self._heed_thresholds()
        return super().step()

    def close(self) -> None:
        """Commit what is in hand and leave the group."""
        super().close()
        self._follower.close()

    def _heed_thresholds(self) -> None:
        for number, changes in self._follower.news().items():
            if owned := self._owned.get(number):
                stage = owned.state.stage
                stage.limits.put(changes, stage.keys.ids)
                self._telemetry.gauge(Metric.THRESHOLDS, len(stage.limits.table), partition=str(number))

    def _restore(self, consumer: Consumer, where: TopicPartition) -> OwnedAlarms:
        readings, number = self._spec.readings, where.partition
        admit = admit_in(number, self._topic.partitions, self._rule)
        grace, ahead = self._spec.aggregator.grace * 1000, readings.max_ahead * 1000
        stage = Stage(self._spec.alarms, grace, self._make_decoder(), ahead, admit)
        state = AlarmPartition(stage, self._topic.id)
        hint = resume(state, self._place, consumer, where, self._topic, self._telemetry)
        self._follower.end(number)
        stage.limits.put(self._follower.begin(number), stage.keys.ids)
        self._telemetry.gauge(Metric.THRESHOLDS, len(stage.limits.table), partition=str(number))
        return OwnedAlarms(state, time.monotonic(), hint)

    def _take(self, number: int, owned: OwnedAlarms, messages: Messages) -> int:
        taken = owned.state.take(messages.values, messages.arrived, messages.next_offset)
        owned.active_watermark = owned.state.stage.watermark
        owned.readings += taken.readings
        if taken.skipped:  # the aggregator reports them
            self._counts.append((Metric.SKIPPED, taken.skipped, {}))
        self._tell_alarms(number, owned, taken.changes, messages.offset)
        return taken.readings + taken.skipped

    def _tell_alarms(self, number: int, owned: OwnedAlarms, changes: Changes, offset: npt.NDArray[np.int64]) -> None:
        headers = [CONTENT_JSON, *current_traceparent()]
        for alarm in owned.state.events(changes, number, lambda index: int(offset[index])):
            self._out.produce(self._names.alarms, number, encode_alarm(alarm), alarm.meter, headers)
            owned.counted[alarm.kind.value, alarm.state.value] += 1

    def _idle(self, now: float) -> None:
        """Let time pass for partitions where no meter speaks, if the pipeline asks for it."""
        after = self._spec.alarms.silence.idle_after
        if not after:
            return
        grace = self._spec.aggregator.grace * 1000

        def clock(owned: OwnedAlarms) -> EventClock | None:
            stage = owned.state.stage
            return EventClock(owned.active_watermark, stage.watermark, grace) if stage.reached != NEVER else None

        for number, owned, wanted in self._idle_partitions(now, after, clock):
            self._tell_alarms(number, owned, owned.state.stage.advance(wanted), NO_OFFSETS)
            owned.touched = True

    def _put_out(self, number: int, owned: OwnedAlarms) -> None:
        """Alarms are on their way already."""

    def _tell(self, number: int, owned: OwnedAlarms) -> None:
        self._telemetry.count(Metric.READINGS, owned.readings)
        for (kind, state), count in owned.counted.items():
            self._telemetry.count(Metric.ALARMS, count, kind=kind, state=state)
        owned.readings = 0
        owned.counted.clear()

    def _unobserve(self, number: int) -> None:
        self._follower.end(number)
        self._telemetry.forget(Metric.THRESHOLDS, partition=str(number))
