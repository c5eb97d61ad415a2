"""The thresholds as they are now, kept in memory and brought up to date whenever they are asked for."""

import threading

from meterpipe.adapters.kafka import offset_of
from meterpipe.adapters.thresholds import change_of
from meterpipe.adapters.topic_reader import Edge, TopicReader
from meterpipe.adapters.topic_reader import Place as TopicPlace
from meterpipe.core.alarms.events import Place
from meterpipe.core.alarms.thresholds import Threshold, partitions_of, rule_of
from meterpipe.core.readings import Key
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of, restore_group

Row = tuple[Key, Threshold, Place]


class ThresholdView:
    """Follows the topic. Whoever asks sees all that Kafka had acknowledged before. Thread-safe.

    A threshold takes about 600 bytes; nothing is read before the first question.
    """

    def __init__(self, config: WorkerConfig) -> None:
        names = names_of(config.pipeline)
        self._topic, self._rule = names.thresholds, rule_of(config.pipeline.spec)
        self._reader = TopicReader(config.kafka, restore_group(names.thresholds))
        self._lock = threading.Lock()
        self._at: dict[TopicPlace, int] = {}
        self._rows: dict[Key, tuple[Threshold, Place]] = {}

    def one(self, key: Key) -> tuple[Threshold, Place] | None:
        """The threshold of exactly this name. Raises NoTopicError, KafkaException."""
        with self._lock:
            self._catch_up()
            return self._rows.get(key)

    def some(self, meter: str | None, most: int) -> list[Row]:
        """Thresholds by name, of a meter or of all; at most so many. Raises NoTopicError, KafkaException."""
        with self._lock:
            self._catch_up()
            keys = self._rows if meter is None else (key for key in self._rows if key[0] == meter)
            return [(key, *self._rows[key]) for key in sorted(keys)[:most]]

    def close(self) -> None:
        """Leave the brokers."""
        with self._lock:
            self._reader.close()

    def _catch_up(self) -> None:
        if not self._at:
            self._at = self._reader.offsets(self._reader.places([self._topic]), Edge.BEGINNING)
        ends = self._reader.ends(list(self._at))
        for messages in self._reader.read(dict(self._at), ends):
            for message in messages:
                partition, offset = message.partition() or 0, offset_of(message)
                self._at[self._topic, partition] = offset + 1
                change = change_of(message)
                if change is None or partition != partitions_of(change[0], self._rule, len(self._at))[0]:
                    continue  # no threshold, or a copy of one
                key, threshold = change
                if threshold is None:
                    self._rows.pop(key, None)
                else:
                    self._rows[key] = threshold, Place(partition, offset)
        self._at |= {place: max(at, self._at[place]) for place, at in ends.items()}
