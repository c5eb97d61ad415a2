"""The aggregator: readings in; results, late readings, dead letters, changelog and offsets out in one transaction."""

import msgspec
from confluent_kafka import Consumer, TopicPartition

from meterpipe.adapters.aggregator_partitions import OwnedWindows, Restorer, observe, unobserve
from meterpipe.adapters.counted import counted_decoder, counted_rule
from meterpipe.adapters.stateful import EventClock, Stateful
from meterpipe.adapters.stateful_partitions import Place
from meterpipe.adapters.tracing import current_traceparent
from meterpipe.core.aggregates import encode_columns, encode_json
from meterpipe.core.codecs import CONTENT_ENVELOPE, CONTENT_JSON
from meterpipe.core.envelope_codec import split_envelope
from meterpipe.core.messages import Messages
from meterpipe.core.partition import Partition
from meterpipe.core.readings import EMPTY, Readings, to_arrow
from meterpipe.core.windows import NEVER, WindowPolicy
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.models import Output
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Metric, Telemetry

IDLE_SECONDS = 10.0


class Windowed(Stateful[OwnedWindows]):
    """A worker whose partitions hold windows."""

    _restorer: Restorer

    def _restore(self, consumer: Consumer, where: TopicPartition) -> OwnedWindows:
        owned = self._restorer.restore(consumer, where, self._topic)
        observe(self._telemetry, where.partition, owned)
        return owned

    def _idle(self, now: float) -> None:
        """Let time pass for partitions where no meter speaks."""

        def clock(owned: OwnedWindows) -> EventClock | None:
            windows = owned.state.windows
            known = windows.watermark != NEVER
            return EventClock(owned.active_watermark, windows.watermark, windows.policy.grace_ms) if known else None

        for _, owned, wanted in self._idle_partitions(now, IDLE_SECONDS, clock):
            owned.state.windows.advance(wanted)
            owned.touched = True

    def _tell(self, number: int, owned: OwnedWindows) -> None:
        state, label = owned.state, str(number)
        told, owned.told = owned.told, state.balance
        self._telemetry.count(Metric.READINGS, state.balance.raw - told.raw)
        self._telemetry.count(Metric.LATE, state.balance.late - told.late)
        self._telemetry.count(Metric.DUPLICATES, state.balance.duplicates - told.duplicates)
        self._telemetry.count(Metric.SUPERSEDED, state.balance.superseded - told.superseded)
        self._telemetry.gauge(Metric.OPEN_READINGS, state.windows.open_readings, partition=label)

    def _unobserve(self, number: int) -> None:
        unobserve(self._telemetry, number)


class Aggregator(Windowed):
    """Windowed aggregates, exactly once. See `worker.ports.Worker`."""

    kind = "aggregator"

    def __init__(self, config: WorkerConfig, telemetry: Telemetry) -> None:
        names = names_of(config.pipeline)
        make_decoder = counted_decoder(config)
        policy = WindowPolicy.of(config.pipeline.spec.aggregator)
        self._restorer = Restorer(
            config,
            telemetry,
            lambda max_ahead, admit, topic: Partition(policy, make_decoder(), max_ahead, admit, topic),
            Place(config.kafka, names.changelog, self.kind),
            counted_rule(config),
        )
        super().__init__(config, telemetry, names.counted, names.changelog)

    def _take(self, number: int, owned: OwnedWindows, messages: Messages) -> int:
        state = owned.state
        raw = state.balance.raw
        taken = state.take(messages.values, messages.arrived, messages.next_offset)
        owned.active_watermark = state.windows.watermark
        if len(taken.late):
            owned.late.append(taken.late)
        self._bury(number, messages, taken.rejects)
        return state.balance.raw - raw

    def _put_late(self, number: int, owned: OwnedWindows) -> None:
        late, owned.late = Readings.concat([EMPTY, *owned.late]), []
        if len(late):
            missed = ("windows", ",".join(map(str, self._spec.aggregator.windows)).encode())
            for value, _ in split_envelope(to_arrow(late, owned.state.keys)):
                self._out.produce(self._names.late, number, value, None, [CONTENT_ENVELOPE, missed])

    def _put_out(self, number: int, owned: OwnedWindows) -> None:
        self._put_late(number, owned)
        state = owned.state
        context = current_traceparent()
        for window, rows in state.close().results:
            topic = self._names.aggregates(window)
            if self._spec.aggregator.output is Output.COLUMNS:
                for value in encode_columns(rows, state.keys, window):
                    self._out.produce(topic, number, value, None, [CONTENT_ENVELOPE, *context])
            else:
                for values, meters in encode_json(rows, state.keys, window):
                    self._out.produce_all(topic, number, values, meters)
            self._counts.append((Metric.WINDOWS, len(rows), {"window": str(window)}))
        balance = msgspec.json.encode(state.mark.balance)
        self._out.produce(self._names.balance, number, balance, str(number), [CONTENT_JSON])
