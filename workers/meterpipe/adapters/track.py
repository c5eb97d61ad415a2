"""Feeds a Tracker from Kafka."""

import time
from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np
from confluent_kafka import Message

from meterpipe.adapters.kafka import offset_of
from meterpipe.adapters.progress import Progress
from meterpipe.adapters.schema_registry import decoder_of
from meterpipe.adapters.topic_reader import Start, TopicReader, place_of
from meterpipe.core.readings import KeyTable
from meterpipe.core.result_codec import decode_results
from meterpipe.core.tracking import Tracker
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of

LOOK_SECONDS = 0.5
"""Between two looks at what sinks and archivers have committed: how exact the times of rows are."""


class Track:
    """Follows one pipeline's readings and results, and the commits of its sinks and archivers."""

    def __init__(self, config: WorkerConfig, reader: TopicReader, tracker: Tracker) -> None:
        names, spec = names_of(config.pipeline), config.pipeline.spec
        self._reader, self._tracker, self._progress = reader, tracker, Progress(config)
        self._readings = names.readings
        self._windows = {names.aggregates(window): window for window in spec.aggregator.windows}
        self._ahead_ms = spec.readings.max_ahead * 1000
        self._decoder, self._keys = decoder_of(config), KeyTable()

    def close(self) -> None:
        """Leave the brokers."""
        self._progress.close()

    def run(self, start: Start, to_end: bool) -> Iterator[None]:
        """Track; gives way at least every second. Ends at the present end of the topics if `to_end`, else never.

        Rows that were written before tracking had caught up were so at unknown times.
        """
        places = self._reader.places([self._readings, *self._windows])
        starts = self._reader.offsets(places, start)
        ends = self._reader.ends(places)
        batches = self._reader.read(starts, ends) if to_end else self._reader.follow(starts)
        looked, past, behind = time.monotonic(), True, set(places)
        for messages in batches:
            self._take(messages)
            if past:
                behind -= self._reader.ended | {place_of(m) for m in messages if offset_of(m) + 1 >= ends[place_of(m)]}
            if past and not behind:
                self._look(None)
                past = False
            if not past and time.monotonic() - looked >= LOOK_SECONDS:
                self._look(int(time.time() * 1000))
                looked = time.monotonic()
            yield
        self._look(None)  # reached only where the end is

    def _take(self, messages: Iterable[Message]) -> None:
        for (topic, partition), run in groupby(messages, key=place_of):
            if topic == self._readings:
                self._take_readings(partition, list(run))
            else:
                for message in run:
                    self._take_results(self._windows[topic], partition, message)

    def _take_readings(self, partition: int, messages: list[Message]) -> None:
        decoded = self._decoder.decode([message.value() for message in messages], self._keys)
        arrived = np.fromiter((message.timestamp()[1] for message in messages), np.int64, len(messages))
        readings, tracker = decoded.readings, self._tracker
        counts = np.bincount(readings.message, minlength=len(messages)).tolist()
        for message, count, at in zip(messages, counts, arrived.tolist(), strict=True):
            tracker.add_readings(partition, offset_of(message) + 1, count, at)
        told = np.array([(index, event_time) for index, event_time in decoded.controls], np.int64).reshape(-1, 2)
        index = np.concatenate([readings.message, told[:, 0]])
        ts = np.concatenate([readings.ts, told[:, 1]])
        ahead = ts > arrived[index] + self._ahead_ms
        ahead[len(readings) :] = False  # control records are believed
        order = np.argsort(index, kind="stable")
        order = order[~ahead[order]]
        tracker.add_event_times(partition, ts[order], arrived[index][order])

    def _take_results(self, window: int, partition: int, message: Message) -> None:
        decoded = decode_results([message.value()], (window,))
        for table in decoded.tables.get(window, ()):
            starts = table.column("window_start").to_numpy()
            at = message.timestamp()[1]
            self._tracker.add_results(window, partition, offset_of(message) + 1, at, starts)

    def _look(self, now: int | None) -> None:
        for topic, partition, committed, _ in self._progress.places("sink"):
            self._tracker.written(self._windows[topic], partition, committed or 0, now)
        for _, partition, committed, _ in self._progress.places("archiver"):
            self._tracker.archived(partition, committed or 0, now)
