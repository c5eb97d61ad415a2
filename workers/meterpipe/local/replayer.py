"""Sends real household data into a pipeline in a thread of its own, some days at a time, and notes what was sent."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pyarrow as pa

from meterpipe.adapters.kafka import new_producer
from meterpipe.adapters.progress import quiet
from meterpipe.datasets.households import Household, Selection, replay
from meterpipe.datasets.publish import Producer, Publisher, end_of_day
from meterpipe.local import replayed
from meterpipe.local.errors import LocalError
from meterpipe.local.replayed import DAY_MS, Replayed
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of

CHUNK_DAYS = 7  # days between two notes of what was sent: what an interrupted run sends again at most


class Replayer(threading.Thread):
    """Sends the readings of `todo`, then tells every partition that event time has reached the end of the last day."""

    def __init__(self, config: WorkerConfig, base: Sequence[Household], todo: Replayed, note: Path) -> None:
        super().__init__(name="replay", daemon=True)
        self._base, self._todo, self._note = base, todo, note
        spec = config.pipeline.spec
        self._grace = spec.aggregator.grace
        producer = cast("Producer", new_producer(quiet(config.kafka), delivery_report_only_error=True))
        topic, partitions = names_of(config.pipeline).readings, spec.kafka.topics.readings.partitions
        self.publisher = Publisher(producer, topic, partitions, names=spec.readings.fields.model_dump())
        self.error: BaseException | None = None
        self._stop_early = threading.Event()

    def run(self) -> None:
        """The thread's work; what goes wrong is left in `error`."""
        try:
            self._send()
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        """Send no more; wait until what was sent is delivered."""
        self._stop_early.set()
        self.join(30)

    def _send(self) -> None:
        for chunk in chunks(self._todo):
            for batch in readings_of(self._base, chunk):
                if self._stop_early.is_set():
                    self._delivered()
                    return
                self.publisher.send(batch)
            self._delivered()
            replayed.save(self._note, Replayed(chunk.households, self._note_since(), chunk.until))
        self.publisher.control(end_of_day(self._todo.until - 1, self._grace))
        self._delivered()

    def _note_since(self) -> int:
        before = replayed.load(self._note)
        return before.since if before else self._todo.since

    def _delivered(self) -> None:
        sent = self.publisher.finish()
        if sent.errors:
            reasons = ", ".join(f"{reason} ({count} x)" for reason, count in sent.errors.items())
            raise LocalError(f"readings were not delivered: {reasons}", "see the log of kafka; run it again to resend")


def chunks(todo: Replayed) -> Iterator[Replayed]:
    """`todo` cut into pieces of CHUNK_DAYS."""
    for since in range(todo.since, todo.until, CHUNK_DAYS * DAY_MS):
        yield Replayed(todo.households, since, min(since + CHUNK_DAYS * DAY_MS, todo.until))


def readings_of(base: Sequence[Household], part: Replayed) -> Iterator[pa.RecordBatch]:
    """The readings of these days in the order they are sent."""
    return replay(base, Selection(households=part.households, since=part.since, until=part.until), batch_rows=20_000)
