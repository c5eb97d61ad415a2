"""The activity worker: readings in; what was heard and counts of uplinks to Redis, then counts, changelog and offsets.

Redis is written before the transaction is committed: what is written again after a crash changes nothing there.
"""

import logging
from functools import partial

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from meterpipe.adapters.activity_store import ACTIVITY_ERRORS, ActivityStore
from meterpipe.adapters.aggregator import Windowed
from meterpipe.adapters.aggregator_partitions import OwnedWindows, Restorer
from meterpipe.adapters.schema_registry import decoder_of
from meterpipe.adapters.stateful_partitions import Place
from meterpipe.core.activity import NOTHING, ActivityPartition, Heard, by_meter, heard_of, newest, uplinks_of
from meterpipe.core.messages import Messages, Payloads
from meterpipe.core.windows import WindowPolicy
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger(__name__)


class Activity(Windowed):
    """Tracks when meters were heard and how often. See `worker.ports.Worker`.

    It reads what gateways sent, not what a validation makes of it, and reports nothing that cannot be decoded: that is
    the aggregator's (or the validation's) to do.
    """

    kind = "activity"

    def __init__(self, config: WorkerConfig, telemetry: Telemetry) -> None:
        names, spec = names_of(config.pipeline), config.pipeline.spec
        make_decoder = partial(decoder_of, config)
        self._window = spec.activity.uplinks.window
        policy = WindowPolicy((self._window * 1000,), spec.activity.uplinks.grace * 1000, drop_duplicates=False)
        self._restorer = Restorer(
            config,
            telemetry,
            lambda max_ahead, admit, topic: ActivityPartition(policy, make_decoder(), max_ahead, admit, topic),
            Place(config.kafka, names.activity_changelog, self.kind),
            spec.readings.key,
        )
        self._store = ActivityStore(config)
        self._heard: dict[int, list[Heard]] = {}
        super().__init__(config, telemetry, names.readings, names.activity_changelog)

    def close(self) -> None:
        """Commit what is in hand, leave the group and the store."""
        super().close()
        self._store.close()

    def _restore(self, consumer: Consumer, where: TopicPartition) -> OwnedWindows:
        self._heard[where.partition] = []
        return super()._restore(consumer, where)

    def _take(self, number: int, owned: OwnedWindows, messages: Messages) -> int:
        state = owned.state
        assert isinstance(state, ActivityPartition)
        raw = state.balance.raw
        state.take(messages.values, messages.arrived, messages.next_offset)
        owned.active_watermark = state.windows.watermark
        if len(state.heard):
            self._heard[number].append(newest(heard_of(state.heard, messages.offset)))
        return state.balance.raw - raw

    def _put_out(self, number: int, owned: OwnedWindows) -> None:
        state = owned.state
        heard = newest(Heard.concat([NOTHING, *self._heard[number]]))
        rows = [rows for size, rows in state.close().results if size == self._window]
        uplinks = [one for some in rows for one in uplinks_of(some, state.keys, self._window)]
        try:
            with self._telemetry.span("redis", meters=len(heard)):
                self._store.hear(by_meter(heard, state.keys))
                self._store.count(uplinks)
                if len(heard):
                    self._store.forget_before(int(heard.ts.max()))
        except ACTIVITY_ERRORS as problem:
            # as for a Kafka that does not answer: the transaction is given up, the input read again after a pause
            raise KafkaException(KafkaError(KafkaError._TRANSPORT, f"Redis: {problem}")) from problem
        self._heard[number] = []
        self._out.produce_all(
            self._names.uplinks,
            number,
            Payloads.of(list(map(msgspec.json.encode, uplinks))),
            Payloads.of([one.meter.encode() for one in uplinks]),
        )
        self._counts.append((Metric.WINDOWS, len(uplinks), {"window": str(self._window)}))

    def _drop(self) -> None:
        super()._drop()
        self._heard.clear()
