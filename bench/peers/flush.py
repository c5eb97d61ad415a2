"""The end of an input topic: readings that move event time on until the last day of the others is closed.

A peer has no control record that says "event time has reached T", so each partition ends with readings of a gateway of
its own, `~flush-<partition>`. Event time moves in steps of ten minutes: Kafka Streams drops a window that a jump
carries behind the retention of its store before it is emitted. The day's window of that gateway is its partition's last
result.
"""

from __future__ import annotations

import json

from confluent_kafka import Producer

from bench.peers.topics import read_topic

FLUSH_PREFIX = "~flush-"
STEP_MS = 600_000
DAY_MS = 86_400_000
AFTER_DAY_MS = 3_600_000
"""How far the flush goes on behind the end of the day: the grace and some steps for windows built from windows."""


def flush_times(last_ms: int) -> list[int]:
    """Event times (epoch ms) of the flush of a topic whose newest reading is at `last_ms`."""
    end = last_ms // DAY_MS * DAY_MS + DAY_MS + AFTER_DAY_MS
    return [last_ms, *range((last_ms // STEP_MS + 1) * STEP_MS, end + 1, STEP_MS)]


def ensure_flushed(bootstrap: str, topic: str) -> None:
    """Append the flush to each partition of `topic`, unless the topic ends with it already.

    The newest reading is looked for among the last 20 000 messages of each partition.
    """
    flushed: dict[int, bool] = {}
    newest: int | None = None
    for messages in read_topic(bootstrap, topic, last=20_000):
        for message in messages:
            value = json.loads(message.value())
            if value["gateway"].startswith(FLUSH_PREFIX):
                flushed[message.partition()] = True
            else:
                flushed[message.partition()] = False
                newest = max(newest or 0, value["timestamp"])
    if newest is None:
        raise ValueError(f"topic {topic} holds no readings: produce them before the peer is run")
    if all(flushed.values()):
        return
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "enable.idempotence": True})
    for at in flush_times(newest):
        for partition in flushed:
            gateway = f"{FLUSH_PREFIX}{partition}"
            value = {
                "gateway": gateway,
                "metricType": "FLUSH",
                "metricAttribute": "FLUSH",
                "timestamp": at,
                "value": 0.0,
            }
            producer.produce(topic, json.dumps(value, separators=(",", ":")), gateway, partition=partition)
    if left := producer.flush(60):
        raise TimeoutError(f"{left} flush readings could not be written to {topic} within 60 s")
