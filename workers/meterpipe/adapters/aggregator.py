"""The aggregator: readings in; results, late readings, dead letters, changelog and offsets out in one transaction."""

import time
from functools import partial

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from meterpipe.adapters.aggregator_partitions import OwnedWindows, Restorer, observe, unobserve
from meterpipe.adapters.kafka import offset_of
from meterpipe.adapters.schema_registry import decoder_of
from meterpipe.adapters.stateful import Stateful, times_of
from meterpipe.adapters.stateful_partitions import Place
from meterpipe.adapters.tracing import current_traceparent
from meterpipe.core.aggregates import encode_columns, encode_json
from meterpipe.core.codecs import CONTENT_ENVELOPE, CONTENT_JSON, Decoder
from meterpipe.core.envelope_codec import split_envelope
from meterpipe.core.idle import idle_watermark
from meterpipe.core.partition import Partition, Taken
from meterpipe.core.readings import to_arrow
from meterpipe.core.windows import NEVER, WindowPolicy
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.models import KeyRule, Output
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
        for number, owned in self._owned.items():
            idle = now - owned.active_at
            watermark = owned.state.windows.watermark
            if idle < IDLE_SECONDS or watermark == NEVER:
                continue
            grace = owned.state.windows.policy.grace_ms
            wanted = idle_watermark(owned.active_watermark, int(idle * 1000), int(time.time() * 1000), grace)
            if wanted - watermark < 1000:
                continue
            try:
                at_end = self._read_to_its_end(number, owned)
            except KafkaException:
                return  # no broker answers: it may hold readings, so no time passes
            if at_end:
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
        make_decoder = Decoder if names.validated else partial(decoder_of, config)
        policy = WindowPolicy.of(config.pipeline.spec.aggregator)
        self._restorer = Restorer(
            config,
            telemetry,
            lambda max_ahead, admit, topic: Partition(policy, make_decoder(), max_ahead, admit, topic),
            Place(config.kafka, names.changelog, self.kind),
            # what the validation made of a meter's readings is in the meter's partition, whatever its channel
            KeyRule.TRUSTED if names.validated else config.pipeline.spec.readings.key,
        )
        super().__init__(config, telemetry, names.counted, names.changelog)

    def _take(self, number: int, owned: OwnedWindows, messages: list[Message]) -> int:
        state = owned.state
        raw = state.balance.raw
        taken = state.take(list(map(Message.value, messages)), times_of(messages), offset_of(messages[-1]) + 1)
        owned.active_watermark = state.windows.watermark
        if taken.rejects or len(taken.late):
            self._put_aside(number, state, messages, taken)
        return state.balance.raw - raw

    def _put_aside(self, number: int, state: Partition, messages: list[Message], taken: Taken) -> None:
        self._bury(number, messages, taken.rejects)
        if len(taken.late):
            missed = ("windows", ",".join(map(str, self._spec.aggregator.windows)).encode())
            for value, _ in split_envelope(to_arrow(taken.late, state.keys)):
                self._out.produce(self._names.late, number, value, None, [CONTENT_ENVELOPE, missed])

    def _put_out(self, number: int, owned: OwnedWindows) -> None:
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
