"""The topic of thresholds: written for people and the API, read whole by people, followed by the alarms worker."""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing

from confluent_kafka import KafkaError, KafkaException, Message

from meterpipe.adapters.kafka import new_producer, offset_of, topic_info
from meterpipe.adapters.progress import quiet
from meterpipe.adapters.topic_reader import Edge, TopicReader
from meterpipe.core.alarms.events import Place
from meterpipe.core.alarms.thresholds import (
    BadThresholdError,
    Threshold,
    decode_threshold,
    decode_threshold_key,
    encode_threshold,
    encode_threshold_key,
    partitions_of,
    rule_of,
)
from meterpipe.core.readings import Key
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of, restore_group

log = logging.getLogger(__name__)

TIMEOUT = 30.0
Told = Callable[[KafkaError | None, Message], None]
Change = tuple[Key, Threshold | None]
"""A threshold that is set, or (None) taken away."""


class ThresholdWriter:
    """Writes thresholds to the partitions where their readings are. Keep one: it holds a producer. Thread-safe."""

    def __init__(self, config: WorkerConfig) -> None:
        """Raises KafkaException if the topic is not there."""
        self._topic = names_of(config.pipeline).thresholds
        self._rule = rule_of(config.pipeline.spec)
        kafka = quiet(config.kafka)
        self._partitions = topic_info(kafka, self._topic, timeout=5.0).partitions
        self._producer = new_producer(kafka, message_timeout_ms=int(TIMEOUT * 1000))

    def write(self, changes: Iterable[Change]) -> int:
        """Write `changes` in order, durable when this returns; how many there were. Writing again does no harm.

        Raises BadThresholdError before anything is written, KafkaException if not all could be.
        """
        records = [
            (encode_threshold_key(key), None if threshold is None else encode_threshold(threshold), key)
            for key, threshold in changes
        ]
        failed: list[KafkaError] = []

        def told(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failed.append(error)

        for name, value, key in records:
            for partition in partitions_of(key, self._rule, self._partitions):
                self._produce(partition, name, value, told)
        left = self._producer.flush(TIMEOUT)
        if failed or left:
            raise KafkaException(failed[0] if failed else KafkaError(KafkaError._MSG_TIMED_OUT, f"{left} not written"))
        return len(records)

    def _produce(self, partition: int, name: bytes, value: bytes | None, told: Told) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value, name, partition, on_delivery=told)
                return
            except BufferError:
                self._producer.poll(0.1)


def read_thresholds(config: WorkerConfig) -> Mapping[Key, tuple[Threshold, Place]]:
    """All thresholds there are, and the newest record of each. Raises NoTopicError, KafkaException."""
    topic, rule = names_of(config.pipeline).thresholds, rule_of(config.pipeline.spec)
    found: dict[Key, tuple[Threshold, Place]] = {}
    with closing(TopicReader(config.kafka, restore_group(topic))) as reader:
        places = reader.places([topic])
        for messages in reader.read(reader.offsets(places, Edge.BEGINNING), reader.ends(places)):
            for message in messages:
                partition = message.partition() or 0
                if (change := change_of(message)) is None:
                    continue
                key, threshold = change
                if partition != partitions_of(key, rule, len(places))[0]:  # the others hold copies
                    continue
                if threshold is None:
                    found.pop(key, None)
                else:
                    found[key] = threshold, Place(partition, offset_of(message))
    return found


def change_of(message: Message) -> Change | None:
    """What a record says; None if it makes no sense, which is logged: it must not stop anybody."""
    try:
        key, value = decode_threshold_key(message.key()), message.value()
        return key, None if value is None else decode_threshold(value)
    except BadThresholdError as problem:
        log.warning("%s[%s]@%s is no threshold: %s", message.topic(), message.partition(), message.offset(), problem)
        return None
