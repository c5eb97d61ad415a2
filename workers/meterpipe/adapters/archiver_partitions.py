"""The archiver's partitions: where each is read on, and whether it still is a partition of the topic it was."""

import logging
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from meterpipe.adapters.batches import Receiver
from meterpipe.adapters.readings_topic import ASK_SECONDS, TopicIdentity
from meterpipe.core.lake_buffer import Buffer
from meterpipe.core.lake_protocol import Gap, app_id, resume
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger(__name__)

Versions = Callable[[Iterable[str]], dict[str, int | None]]


class Partitions:
    """A partition is *given* by the consumer group, then *followed* from where the lake ends, or has a *gap*.

    A followed one gets *stuck* when the log cannot be read on from here (its topic was recreated, or the offset is
    gone): what is held of it is still written, then it is settled anew.
    """

    def __init__(
        self, topic: str, consumer: Consumer, receiver: Receiver, identity: TopicIdentity, buffer: Buffer,
        versions: Versions, telemetry: Telemetry,
    ) -> None:  # fmt: skip
        self._topic = topic
        self._consumer, self._receiver = consumer, receiver
        self._identity = identity
        self._buffer = buffer
        self._versions = versions
        self._telemetry = telemetry
        self._uuid: str | None = None  # of the topic that followed partitions belong to
        self._replaced = False  # there is another topic of that name now
        self._certain: dict[int, int] = {}  # up to which offset what was taken is known to come from that topic
        self._asked: dict[int, int] = {}
        self.given: frozenset[int] = frozenset()
        self.apps: dict[int, str] = {}  # Delta application of each followed partition
        self.gaps: dict[int, Gap] = {}
        self.stuck: set[int] = set()

    @property
    def unsettled(self) -> set[int]:
        """Given, but not followed."""
        return set(self.given) - self.apps.keys()

    def give(self, partitions: Iterable[int]) -> None:
        """The group gave us these, and no others. They are followed from the next `settle` on."""
        self.forget_all()
        self.given = frozenset(partitions)
        self._telemetry.gauge(Metric.PARTITIONS, len(self.given))

    def forget_all(self) -> None:
        """No partition is ours any more, nothing is held of any."""
        for p in self.given:
            self._buffer.forget(p)
            self._telemetry.forget(Metric.LAG, topic=self._topic, partition=str(p))
            self._telemetry.forget(Metric.LAKE_GAP, partition=str(p))
        self.given = frozenset()
        self.apps, self.gaps = {}, {}
        self.stuck.clear()
        self._telemetry.gauge(Metric.PARTITIONS, 0)

    def leave(self, partitions: Iterable[int]) -> None:
        """Let go of what is held of some partitions; they are to be settled anew."""
        for p in set(partitions) & self.apps.keys():
            self._buffer.forget(p)
            del self.apps[p]
            self.stuck.discard(p)

    def stick(self, partition: int) -> None:
        """Nothing more can be read of a followed partition from here."""
        self.stuck.add(partition)
        self._buffer.stop(partition)

    def release(self, pending: Iterable[int]) -> bool:
        """Leave the stuck partitions of which nothing is held any more; whether there were any."""
        free = {p for p in self.stuck if not self._buffer.holds(p)}.difference(pending)
        self.leave(free)
        return bool(free)

    def settle(self) -> None:
        """Ask the lake where given partitions go on, and read them from there.

        Raises LAKE_ERRORS or KafkaException if one of them can't be asked; nothing has changed then.
        """
        uuid = self._identity.now()
        if uuid is None:
            return
        if self.apps and uuid != self._uuid:  # not to be mixed; the watch will see it, too
            self._recreated(uuid)
            return
        cluster = self._identity.cluster()
        apps = {p: app_id(cluster, uuid, p) for p in sorted(self.unsettled)}
        versions = self._versions(apps.values())
        found = {}
        for p, app in apps.items():
            log_range = self._consumer.get_watermark_offsets(TopicPartition(self._topic, p), timeout=ASK_SECONDS)
            if log_range is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            found[p] = resume(versions[app], *log_range)
        self._uuid, self._replaced = uuid, False
        for p, start in found.items():
            if isinstance(start, Gap):
                self._gap(p, start)
                continue
            self._mended(p)
            self.apps[p] = apps[p]
            self._certain[p] = start.offset
            self._buffer.follow(p, start.version, start.offset)
            log.info("partition %d: reading on at offset %d", p, start.offset)
        if self.apps.keys() & apps.keys():
            positions = self._buffer.positions()
            starts = [TopicPartition(self._topic, p, positions[p]) for p in sorted(self.apps)]
            self._receiver.follow(starts)
            self._consumer.assign(starts)

    def make_certain(self) -> None:
        """Make sure that all that is held comes from the topic it is taken to come from.

        If the topic was recreated meanwhile, what is not certain is dropped. Raises KafkaException if that can't be
        told.
        """
        uuid = self._identity.now()
        if uuid is None or uuid == self._uuid:  # a topic that is gone took no other's place
            self._certain = self._buffer.positions()
        else:
            self._recreated(uuid)

    def watch(self) -> None:
        """Look, without waiting, whether the topic is still the same, and tell the lag. Once a second is enough."""
        answer = self._identity.answer()
        if answer is not None and self.apps:
            if answer[0] is None or answer[0] == self._uuid:
                self._certain |= {p: self._asked[p] for p in self._asked.keys() & self.apps.keys()}
            else:
                self._recreated(answer[0])
        if not self._identity.asking:
            self._asked = self._buffer.positions()
            self._identity.ask()
        for p, position in self._buffer.positions().items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, p), cached=True)
            if high >= 0:
                self._telemetry.gauge(Metric.LAG, max(0, high - position), topic=self._topic, partition=str(p))

    def _recreated(self, uuid: str) -> None:
        if self._replaced:
            return
        self._replaced = True
        log.warning("topic %s was recreated (%s, before %s): starting on the new one", self._topic, uuid, self._uuid)
        self._buffer.truncate({p: self._certain[p] for p in self.apps})
        for p in self.apps:
            self.stick(p)

    def _gap(self, partition: int, gap: Gap) -> None:
        if self.gaps.get(partition) != gap:
            log.error(
                "partition %d of %s is not archived: %s. If that loss is accepted: meterpipe lake accept-loss "
                "--partition %d",
                *(partition, self._topic, gap, partition),
            )
        self.gaps[partition] = gap
        self._telemetry.gauge(Metric.LAKE_GAP, gap.lost, partition=str(partition))

    def _mended(self, partition: int) -> None:
        if self.gaps.pop(partition, None):
            self._telemetry.gauge(Metric.LAKE_GAP, 0, partition=str(partition))
