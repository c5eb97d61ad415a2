"""Kafka clients, configured in one place."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicCollection
from confluent_kafka.admin import AdminClient

from meterpipe.spec.connections import KafkaConnection

log = logging.getLogger(__name__)

RECOVERY = {"topic.metadata.refresh.interval.ms": 10_000, "metadata.recovery.rebootstrap.trigger.ms": 10_000}
"""librdkafka throws away brokers that an answer does not name any more, at worst all: a broker that is being stopped
may answer that there are none. By default it looks for others after 5 minutes; until then it neither sends nor gets."""


def settings(connection: KafkaConnection, **overrides: Any) -> dict[str, Any]:
    """librdkafka's properties of `connection`; `file:PATH` values are read, underscores in overrides become dots."""
    properties: dict[str, Any] = RECOVERY | {"bootstrap.servers": connection.bootstrap_servers}
    for name, value in connection.properties.items():
        properties[name] = Path(value[5:]).read_text().strip() if value.startswith("file:") else value
    properties.update(dotted(overrides))
    return properties


def dotted(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`{"linger_ms": 5}` as `{"linger.ms": 5}`."""
    return {name.replace("_", "."): value for name, value in overrides.items()}


def new_consumer(connection: KafkaConnection, group: str, **overrides: Any) -> Consumer:
    """A consumer that sees committed records only, never commits by itself and refuses to guess a start.

    `fetch.queue.backoff.ms` 5: the default of 1 s leaves catching-up consumers idle for 20-40 % of the time.
    """
    defaults = {
        "group_id": group,
        "enable_auto_commit": False,
        "enable_auto_offset_store": False,
        "isolation_level": "read_committed",
        "auto_offset_reset": "earliest",
        "session_timeout_ms": 6000,
        "heartbeat_interval_ms": 2000,
        "fetch_queue_backoff_ms": 5,
        "queued_min_messages": 100_000,
        "queued_max_messages_kbytes": 65_536,
        "fetch_message_max_bytes": 4 * 1024 * 1024,
        "partition_assignment_strategy": "roundrobin",
    }
    return Consumer(settings(connection, **(defaults | overrides)))


def new_producer(connection: KafkaConnection, **overrides: Any) -> Producer:
    """A producer that is idempotent, waits for all replicas, and puts keys where Java's producer would."""
    defaults = {
        "partitioner": "murmur2_random",
        "enable_idempotence": True,
        "acks": "all",
        "compression_type": "lz4",
        "linger_ms": 5,
        "batch_size": 1_000_000,
        "queue_buffering_max_messages": 1_000_000,
        "queue_buffering_max_kbytes": 262_144,
    }
    return Producer(settings(connection, **(defaults | overrides)))


def new_admin(connection: KafkaConnection) -> AdminClient:
    """An admin client."""
    return AdminClient(settings(connection))


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """What a worker has to know of a topic."""

    id: str  # a topic created anew under the same name has another
    partitions: int


def topic_info(connection: KafkaConnection, topic: str, timeout: float = 60.0) -> TopicInfo:
    """The topic's id and number of partitions; waits up to `timeout` seconds for the topic to exist."""
    admin, deadline = new_admin(connection), time.monotonic() + timeout
    while True:
        try:
            asked = admin.describe_topics(TopicCollection([topic]), request_timeout=10.0)[topic].result()
            return TopicInfo(str(asked.topic_id), len(asked.partitions))
        except KafkaException as failed:
            if time.monotonic() > deadline:
                raise
            log.warning("waiting for topic %s: %s", topic, failed.args[0].str())
            time.sleep(1.0)


def offset_of(message: Message) -> int:
    """The offset of a consumed message; the client's types allow for none, which only unsent ones have."""
    offset = message.offset()
    if offset is None:
        raise ValueError("a message that was never sent has no offset")
    return offset
