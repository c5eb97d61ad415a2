"""The limit of any aggregator in Python on this machine: the Kafka client alone. Prints one JSON line.

Reads a loaded topic to its end with the aggregator's consumer and takes the bytes of each message; nothing is decoded.
"""

from __future__ import annotations

import argparse
import json
import time
import uuid

from confluent_kafka import Message, TopicPartition
from meterpipe.adapters.kafka import new_consumer
from meterpipe.adapters.stateful import BATCH_MESSAGES, POLL_SECONDS
from meterpipe.spec.connections import KafkaConnection
from meterpipe.worker.frame import settle_memory

from bench.engine.workload import ends


def run(kafka: KafkaConnection, topic: str) -> dict[str, float]:
    """Messages per CPU-second of the process."""
    wanted = ends(kafka, topic)
    consumer = new_consumer(kafka, f"limit-{uuid.uuid4().hex[:8]}")
    consumer.assign([TopicPartition(topic, partition, 0) for partition in wanted])
    first = consumer.consume(1, 30.0)  # connected
    settle_memory()
    cpu, wall, taken = time.process_time(), time.monotonic(), len(first)
    while taken < sum(wanted.values()):
        messages = consumer.consume(BATCH_MESSAGES, POLL_SECONDS)
        taken += sum(value is not None for value in map(Message.value, messages))
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    return {"readings_per_cpu_second": taken / cpu, "cpu_seconds": cpu, "wall_seconds": wall}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    options = parser.parse_args()
    print(json.dumps(run(KafkaConnection(bootstrap_servers=options.bootstrap), options.topic)), flush=True)
