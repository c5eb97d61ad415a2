"""Ways out when the changelog of a worker with state and the offsets of its group tell different stories."""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import (
    OFFSET_BEGINNING,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from meterpipe.adapters.changelog import read_changelog
from meterpipe.adapters.kafka import new_admin, topic_info
from meterpipe.adapters.topics import ensure_topics
from meterpipe.core.alarms.state import next_offset as judged_up_to
from meterpipe.core.changelog import next_offset
from meterpipe.core.validation.state import next_offset as validated_up_to
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of

TIMEOUT = 30.0


class GroupInUseError(Exception):
    """Workers of the kind run; what they hold would contradict what is reset."""


class Reset:
    """Moves the offsets of one pipeline's aggregators, validations or alarms, or their state. They must be stopped."""

    def __init__(self, config: WorkerConfig, worker: str = "aggregator") -> None:
        self._config, names = config, names_of(config.pipeline)
        self._group = names.group(worker)
        self._source, self._changelog = names.counted, names.changelog
        self._emptied = [names.changelog, names.balance]
        self._position: Callable[[Iterable[tuple[str, bytes | None]]], int | None] = next_offset
        if worker == "validation":
            self._source, self._position = names.readings, validated_up_to
            self._changelog = names.validation_changelog
            self._emptied = [names.validation_changelog, names.validation_balance]
        elif worker == "alarms":
            self._position, self._changelog = judged_up_to, names.alarms_changelog
            self._emptied = [names.alarms_changelog]
        self._admin: AdminClient = new_admin(config.kafka)

    def positions(self) -> dict[int, int]:
        """By partition, the offset at which the changelog says to go on; without state: not there."""
        found = {}
        for number in range(topic_info(self._config.kafka, self._source, TIMEOUT).partitions):
            records = read_changelog(self._config.kafka, self._changelog, number, OFFSET_BEGINNING)
            if (at := self._position(records)) is not None:
                found[number] = at
        return found

    def to_changelog(self) -> dict[int, int]:
        """Let the group go on where the changelog ends; the new offsets. Nothing is lost or counted twice."""
        self._refuse_in_use()
        positions = self.positions()
        self._forget_group()
        if positions:
            places = [TopicPartition(self._source, number, at) for number, at in positions.items()]
            wanted = [ConsumerGroupTopicPartitions(self._group, places)]
            self._admin.alter_consumer_group_offsets(wanted, request_timeout=TIMEOUT)[self._group].result()
        return positions

    def to_beginning(self) -> list[str]:
        """Forget offsets, state and balance, to count all that the readings topic still holds anew; topics emptied."""
        self._refuse_in_use()
        self._forget_group()
        emptied = self._emptied
        for future in self._admin.delete_topics(emptied, operation_timeout=TIMEOUT).values():
            _unless(KafkaError.UNKNOWN_TOPIC_OR_PART, future)
        deadline = time.monotonic() + TIMEOUT
        while set(emptied) & self._admin.list_topics(timeout=TIMEOUT).topics.keys():
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{', '.join(emptied)} are still there"))
            time.sleep(0.1)
        ensure_topics(self._config)
        return emptied

    def _refuse_in_use(self) -> None:
        described = self._admin.describe_consumer_groups([self._group], request_timeout=TIMEOUT)[self._group]
        try:
            group = described.result()
        except KafkaException as failed:
            if failed.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return
            raise
        if group.state not in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD):
            members = ", ".join(sorted(member.host for member in group.members)) or "none listed"
            raise GroupInUseError(f"the group {self._group} is in use ({group.state.name.lower()}; members: {members})")

    def _forget_group(self) -> None:
        deleted = self._admin.delete_consumer_groups([self._group], request_timeout=TIMEOUT)[self._group]
        _unless(KafkaError.GROUP_ID_NOT_FOUND, deleted)


def _unless(code: int, future: object) -> None:
    """Wait for `future`; that it failed with `code` is as good."""
    try:
        future.result()  # type: ignore[attr-defined]
    except KafkaException as failed:
        if failed.args[0].code() != code:
            raise
