"""How far a pipeline is, read from Kafka: lag of each consumer group, and the balance of readings."""

import time
from collections.abc import Mapping

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from meterpipe.adapters.kafka import new_admin, new_consumer
from meterpipe.core.balance import Balance
from meterpipe.spec.connections import KafkaConnection, WorkerConfig
from meterpipe.spec.names import names_of

Place = tuple[str, int]
TIMEOUT = 10.0
NEWEST = 50  # records at the end of a balance partition to look at first: each commit writes one and a marker


class Progress:
    """Reads offsets and balances of one pipeline. Keeps its clients; close it."""

    def __init__(self, config: WorkerConfig) -> None:
        self._names = names_of(config.pipeline)
        self._spec = config.pipeline.spec
        self._kafka = quiet(config.kafka)
        self._admin = new_admin(self._kafka)
        self._consumer = _reader(self._kafka, self._names.group("progress"))
        self._members: dict[str, Consumer] = {}

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of workers that read readings or results, in the order these pass them; the notifier's two groups."""
        spec = self._spec
        more = {"router": spec.routing.routes, "alarms": spec.alarms.enabled}
        more["notifier"] = spec.alarms.enabled and spec.alarms.notifier.open_alarms
        more["webhook"] = spec.alarms.enabled and spec.alarms.notifier.webhook
        more["activity"] = spec.activity.enabled
        first = ("validation",) if self._names.validated else ()
        return (*first, "aggregator", "sink", "archiver", *(kind for kind, wanted in more.items() if wanted))

    def close(self) -> None:
        """Leave the brokers."""
        for consumer in (self._consumer, *self._members.values()):
            consumer.close()

    def inputs(self, worker: str) -> list[str]:
        """Topics a kind of worker reads."""
        if worker == "sink":
            return [self._names.aggregates(window) for window in self._spec.aggregator.windows]
        if worker in ("notifier", "webhook"):
            return [self._names.alarms]
        if worker in ("aggregator", "router", "alarms"):
            return [self._names.counted]
        return [self._names.readings]

    def ends(self, topics: list[str]) -> dict[Place, int]:
        """End offset of each partition."""
        return _ends(self._admin, topics)

    def lag(self, worker: str) -> int:
        """Offsets between what the group committed and the ends of its topics; transaction markers count too."""
        return sum(end - start for _, _, start, end in self._open_ranges(worker))

    def lag_or_none(self, worker: str) -> int | None:
        """As `lag`; None where the broker does not answer, for figures that are only looked at."""
        try:
            return self.lag(worker)
        except KafkaException:
            return None

    def places(self, worker: str) -> list[tuple[str, int, int | None, int]]:
        """(topic, partition, committed, end) of each partition a kind of worker reads; None: nothing committed yet."""
        ends = self.ends(self.inputs(worker))
        committed = self._committed(worker, list(ends))
        return [(*place, at if (at := committed.get(place, -1)) >= 0 else None, end) for place, end in ends.items()]

    def members(self) -> dict[str, tuple[str, int]]:
        """By kind of worker, the state of its group (`stable`, `empty`, `absent`, …) and how many are in it."""
        groups = {self._names.group(kind): kind for kind in self.kinds}
        found = {}
        for group, asked in self._admin.describe_consumer_groups(list(groups), request_timeout=TIMEOUT).items():
            try:
                told = asked.result()
                state = told.state.name.lower().replace("_", " ")
                found[groups[group]] = ("absent" if state == "dead" else state, len(told.members))
            except KafkaException as failed:
                if failed.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                    raise
                found[groups[group]] = ("absent", 0)
        return found

    def remaining(self, worker: str) -> int:
        """Messages the group has yet to commit: as `lag`, but exact, by reading what lies between. For small lags."""
        starts = {(topic, partition): start for topic, partition, start, _ in self._open_ranges(worker)}
        return sum(map(len, self._read(starts).values()))

    def balance(self) -> Balance:
        """Where all readings went: the newest committed record of each partition, added up."""
        ends = {place: end for place, end in self.ends([self._names.balance]).items() if end}
        found = self._read({place: max(0, end - NEWEST) for place, end in ends.items()})
        found |= self._read({place: 0 for place, values in found.items() if not values and ends[place] > NEWEST})
        newest = [values[-1] for values in found.values() if values]
        return sum((msgspec.json.decode(value, type=Balance) for value in newest if value), Balance())

    def _open_ranges(self, worker: str) -> list[tuple[str, int, int, int]]:
        """(topic, partition, committed, end) where the two differ."""
        return [(topic, number, at or 0, end) for topic, number, at, end in self.places(worker) if end > (at or 0)]

    def _committed(self, worker: str, places: list[Place]) -> dict[Place, int]:
        """Committed offsets of a group, asked for by a consumer that never joins it.

        Not by AdminClient.list_consumer_group_offsets: while the coordinator loads, librdkafka (2.16) handles that
        answer as a group member's and dies of a null pointer.
        """
        if worker not in self._members:
            self._members[worker] = new_consumer(self._kafka, self._names.group(worker))
        found = self._members[worker].committed([TopicPartition(*place) for place in places], timeout=TIMEOUT)
        return {(place.topic, place.partition): place.offset for place in found}

    def _read(self, starts: Mapping[Place, int]) -> dict[Place, list[bytes | None]]:
        """Values of all committed records from these offsets to the ends of their partitions."""
        found: dict[Place, list[bytes | None]] = {place: [] for place in starts}
        unfinished, deadline = set(starts), time.monotonic() + TIMEOUT
        self._consumer.assign([TopicPartition(*place, start) for place, start in starts.items()])
        while unfinished:
            for message in self._consumer.consume(1000, 0.05):
                place = str(message.topic()), int(message.partition() or 0)
                if not (error := message.error()):
                    found[place].append(message.value())
                elif error.code() == KafkaError._PARTITION_EOF:
                    unfinished.discard(place)
                else:
                    raise KafkaException(error)
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{unfinished} not read in {TIMEOUT:.0f} s"))
        return found


def quiet(connection: KafkaConnection) -> KafkaConnection:
    """The same Kafka for clients that look on: a broker that stops is no news to them."""
    return connection.model_copy(update={"properties": {**connection.properties, "log_level": "2"}})


def _reader(kafka: KafkaConnection, group: str) -> Consumer:
    return new_consumer(kafka, group, enable_partition_eof=True, fetch_wait_max_ms=50)


def _ends(admin: AdminClient, topics: list[str]) -> dict[Place, int]:
    known = admin.list_topics(timeout=TIMEOUT).topics
    wanted = {
        TopicPartition(topic, partition): OffsetSpec.latest()  # type: ignore[no-untyped-call]
        for topic in topics
        if topic in known
        for partition in known[topic].partitions
    }
    found = admin.list_offsets(wanted, request_timeout=TIMEOUT) if wanted else {}
    return {(place.topic, place.partition): future.result().offset for place, future in found.items()}
