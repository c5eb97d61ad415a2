"""What taking messages costs without doing anything with them, in two ways. Prints one JSON line.

By the batch, as the aggregator takes them: no aggregator can be faster on this machine. And as message objects, whose
bytes are asked for: the limit of whatever uses the client's own interface.
"""

from __future__ import annotations

import argparse
import json
import time
import uuid

from confluent_kafka import Message, TopicPartition
from meterpipe.adapters.batches import new_receiver
from meterpipe.adapters.kafka import new_consumer
from meterpipe.adapters.stateful import BATCH_MESSAGES, POLL_SECONDS
from meterpipe.spec.connections import KafkaConnection
from meterpipe.worker.frame import settle_memory

from bench.engine.workload import ends

WAYS = BATCHES, OBJECTS = "batches", "objects"


def run(kafka: KafkaConnection, topic: str, way: str) -> dict[str, float]:
    """Messages per CPU-second of the process."""
    wanted = ends(kafka, topic)
    consumer = new_consumer(kafka, f"limit-{uuid.uuid4().hex[:8]}")
    receiver = new_receiver(consumer)
    places = [TopicPartition(topic, partition, 0) for partition in wanted]
    if way == BATCHES:
        receiver.follow(places)
    consumer.assign(places)

    def take() -> int:
        if way == BATCHES:
            return len(receiver.take(BATCH_MESSAGES, POLL_SECONDS))
        return sum(value is not None for value in map(Message.value, consumer.consume(BATCH_MESSAGES, POLL_SECONDS)))

    taken = 0
    while not taken:  # connected
        taken = take()
    settle_memory()
    cpu, wall, before = time.process_time(), time.monotonic(), taken
    while taken < sum(wanted.values()):
        taken += take()
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    receiver.close()
    consumer.close()
    return {"readings_per_cpu_second": (taken - before) / cpu, "cpu_seconds": cpu, "wall_seconds": wall}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("way", choices=WAYS)
    options = parser.parse_args()
    kafka = KafkaConnection(bootstrap_servers=options.bootstrap)
    print(json.dumps(run(kafka, options.topic, options.way)), flush=True)
