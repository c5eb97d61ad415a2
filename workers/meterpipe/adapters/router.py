"""The router: readings in, messages of every route and offsets out in one transaction."""

import logging
import time

from confluent_kafka import OFFSET_INVALID, Consumer, TopicPartition

from meterpipe.adapters.counted import counted_decoder, counted_rule
from meterpipe.adapters.kafka import topic_info
from meterpipe.adapters.stateful import Stateful
from meterpipe.adapters.stateful_partitions import Owned
from meterpipe.adapters.tracing import current_traceparent
from meterpipe.adapters.transaction import ANY_BATCH, TIMEOUT
from meterpipe.core.codecs import CONTENT_ENVELOPE, CONTENT_JSON, admit_in
from meterpipe.core.messages import Messages
from meterpipe.core.partition import screen_ahead
from meterpipe.core.position import Position
from meterpipe.core.readings import KeyTable
from meterpipe.core.routing import ANYWHERE, Outgoing, frame_of
from meterpipe.core.routing import Router as Routed
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.spec.routing import RouteFormat
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger(__name__)

MANY_KEYS = 1_000_000
"""Keys of a partition after which its table is begun anew: nothing else would ever forget a meter."""
PIECE = 50_000
"""Readings worked on at once."""


class OwnedRoutes(Owned[Position]):
    """A partition of the router."""

    def __init__(self, state: Position, now: float) -> None:
        super().__init__(state, now, snapshot_offset=0)
        self.keys = KeyTable()
        self.raw = self.told = 0

    @property
    def hint(self) -> str:
        """The topic the committed offset is of: there is no changelog that could tell."""
        return self.state.topic_id


class Router(Stateful[OwnedRoutes]):
    """Sends readings on by the routes, exactly once. See `worker.ports.Worker`.

    What cannot be decoded is not reported here: the dead letters are the aggregator's (or the validation's).
    """

    kind = "router"
    batch = ANY_BATCH

    def __init__(self, config: WorkerConfig, telemetry: Telemetry) -> None:
        names = names_of(config.pipeline)
        self._decoder, self._rule = counted_decoder(config)(), counted_rule(config)
        super().__init__(config, telemetry, names.counted, changelog="")
        readings = config.pipeline.spec.readings
        self._routes = []
        for route in config.pipeline.spec.routing.routes:
            topic = route.topic or names.route(route.name)
            partitions = topic_info(config.kafka, topic).partitions
            self._routes.append((topic, Routed(route, readings.fields, partitions)))

    def _restore(self, consumer: Consumer, where: TopicPartition) -> OwnedRoutes:
        low, high = consumer.get_watermark_offsets(TopicPartition(where.topic, where.partition), TIMEOUT)
        offset = where.offset
        if offset > high or (where.metadata or self._topic.id) != self._topic.id:
            log.warning("%s was created anew: starting at its beginning", where.topic)
            offset = OFFSET_INVALID  # what was committed is of another topic
        if 0 <= offset < low:
            self._telemetry.count(Metric.LOST, low - offset)
            log.error("%s[%d]: %d messages expired before they were read", where.topic, where.partition, low - offset)
        return OwnedRoutes(Position(self._topic.id, max(offset, low)), time.monotonic())

    def _take(self, number: int, owned: OwnedRoutes, messages: Messages) -> int:
        spec = self._spec.readings
        if len(owned.keys) > MANY_KEYS:
            owned.keys = KeyTable()
        admit = admit_in(number, self._topic.partitions, self._rule)
        decoded = self._decoder.decode(messages.values, owned.keys, admit)
        readings, _ = screen_ahead(decoded.readings, messages.arrived, spec.max_ahead * 1000)
        owned.state.next_offset = messages.next_offset
        owned.raw += len(readings)
        for start in range(0, len(readings), PIECE):
            piece = readings.take(slice(start, start + PIECE))
            frame = frame_of(piece, owned.keys)
            for topic, route in self._routes:
                self._send(topic, number, route, route.send_on(frame, piece, owned.keys))
        return len(readings)

    def _send(self, topic: str, number: int, route: Routed, outgoing: Outgoing) -> None:
        envelope = route.route.format is RouteFormat.ENVELOPE
        headers = [CONTENT_ENVELOPE if envelope else CONTENT_JSON, *current_traceparent()]
        here = number % route.partitions
        if outgoing.partitions is None:
            for value, key in zip(outgoing.values, outgoing.keys, strict=True):
                self._out.produce(topic, here, value, key, headers)
        else:
            for value, key, home in zip(outgoing.values, outgoing.keys, outgoing.partitions, strict=True):
                self._out.produce(topic, here if home == ANYWHERE else home, value, key, headers)
        labels = {"route": route.route.name}
        self._counts.append((Metric.ROUTED, outgoing.readings, labels))
        if outgoing.failed:
            self._counts.append((Metric.ROUTE_FAILED, outgoing.failed, labels))

    def _put_out(self, number: int, owned: OwnedRoutes) -> None:
        """All was produced as it was taken."""

    def _tell(self, number: int, owned: OwnedRoutes) -> None:
        self._telemetry.count(Metric.READINGS, owned.raw - owned.told)
        owned.told = owned.raw

    def _unobserve(self, number: int) -> None:
        """There are no gauges of a partition."""
