"""The validation worker: readings in; valid and refused ones, changelog and offsets out in one transaction."""

import time
from functools import partial

import msgspec
from confluent_kafka import Consumer, TopicPartition

from meterpipe.adapters.schema_registry import decoder_of
from meterpipe.adapters.stateful import Stateful
from meterpipe.adapters.stateful_partitions import Owned, Place, resume
from meterpipe.adapters.tracing import current_traceparent
from meterpipe.core.codecs import CONTENT_ENVELOPE, CONTENT_JSON, admit_in
from meterpipe.core.control import CONTROL_HEADER, encode_control
from meterpipe.core.envelope_codec import split_envelope
from meterpipe.core.messages import Messages
from meterpipe.core.validation.counters import NO_ROWS, Rows
from meterpipe.core.validation.stage import Judged, encode_passed, refused_to_arrow
from meterpipe.core.validation.state import ValidationPartition
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Metric, Telemetry


class OwnedReadings(Owned[ValidationPartition]):
    """A partition of the validation."""

    def __init__(self, state: ValidationPartition, now: float, snapshot_offset: int) -> None:
        super().__init__(state, now, snapshot_offset)
        self.told = state.tally
        self.waiting: list[Rows] = []  # valid readings not produced yet: the fewer messages, the cheaper


class Validation(Stateful[OwnedReadings]):
    """Judges readings before they are counted, exactly once. See `worker.ports.Worker`."""

    kind = "validation"

    def __init__(self, config: WorkerConfig, telemetry: Telemetry) -> None:
        names = names_of(config.pipeline)
        self._make_decoder = partial(decoder_of, config)
        self._place = Place(config.kafka, names.validation_changelog, self.kind)
        super().__init__(config, telemetry, names.readings, names.validation_changelog)

    def _restore(self, consumer: Consumer, where: TopicPartition) -> OwnedReadings:
        readings = self._spec.readings
        admit = admit_in(where.partition, self._topic.partitions, readings.key)
        state = ValidationPartition(
            self._spec.validation, self._make_decoder(), readings.max_ahead * 1000, admit, self._topic.id
        )
        hint = resume(state, self._place, consumer, where, self._topic, self._telemetry)
        return OwnedReadings(state, time.monotonic(), hint)

    def _take(self, number: int, owned: OwnedReadings, messages: Messages) -> int:
        state = owned.state
        raw = state.tally.raw
        judged = state.take(messages.values, messages.arrived, messages.next_offset)
        self._bury(number, messages, judged.rejects)
        self._refuse(number, owned, judged)
        for rows, event_time in judged.passed:
            if len(rows):
                owned.waiting.append(rows)
            if event_time is not None:  # it stays in its place among the readings
                self._pass(number, owned)
                self._out.produce(self._names.valid, number, encode_control(event_time), None, [CONTROL_HEADER])
        for (rule, action), count in judged.by_rule.items():
            self._counts.append((Metric.JUDGED, count, {"rule": rule.title, "action": action}))
        return state.tally.raw - raw

    def _refuse(self, number: int, owned: OwnedReadings, judged: Judged) -> None:
        for rows, rules, reasons in judged.refused:
            for value, _ in split_envelope(refused_to_arrow(rows, rules, reasons, owned.state.stage.judge.keys)):
                self._out.produce(self._names.quarantine, number, value, None, [CONTENT_ENVELOPE])

    def _pass(self, number: int, owned: OwnedReadings) -> None:
        rows, owned.waiting = Rows.concat([NO_ROWS, *owned.waiting]), []
        if len(rows):
            for value in encode_passed(rows, owned.state.stage.judge.keys):
                headers = [CONTENT_ENVELOPE, *current_traceparent()]
                self._out.produce(self._names.valid, number, value, None, headers)

    def _put_out(self, number: int, owned: OwnedReadings) -> None:
        self._pass(number, owned)
        tally = msgspec.json.encode(owned.state.tally)
        self._out.produce(self._names.validation_balance, number, tally, str(number), [CONTENT_JSON])

    def _tell(self, number: int, owned: OwnedReadings) -> None:
        tally = owned.state.tally
        told, owned.told = owned.told, tally
        self._telemetry.count(Metric.READINGS, tally.raw - told.raw)
        self._telemetry.gauge(Metric.HELD_READINGS, tally.held, partition=str(number))

    def _unobserve(self, number: int) -> None:
        self._telemetry.forget(Metric.HELD_READINGS, partition=str(number))
