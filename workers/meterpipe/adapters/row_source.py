"""Messages of a pipeline's topics to rows that a person can read."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Any

import pyarrow as pa
from confluent_kafka import Message

from meterpipe.adapters.kafka import offset_of
from meterpipe.adapters.schema_registry import decoder_of
from meterpipe.core.arrow_stream import plain_columns, read_stream
from meterpipe.core.readings import KeyTable, to_arrow
from meterpipe.core.result_codec import decode_results
from meterpipe.core.row_filter import Wanted
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import Names

Row = dict[str, Any]
Refused = Counter[str]


class Stream(StrEnum):
    """What flows through a pipeline and has channels."""

    READINGS = "readings"
    VALID = "valid"
    RESULTS = "results"
    LATE = "late"
    QUARANTINE = "quarantine"


READING_COLUMNS = ("arrived", "partition", "offset", "meter", "metric", "attribute", "time", "value", "interval")
HEADINGS: dict[Stream, tuple[str, ...]] = {
    Stream.READINGS: (*READING_COLUMNS, "quality", "revision"),
    Stream.VALID: (*READING_COLUMNS, "quality", "revision"),
    Stream.LATE: READING_COLUMNS,
    Stream.QUARANTINE: (*READING_COLUMNS, "rule", "reason"),
    Stream.RESULTS: (
        "arrived", "window", "meter", "metric", "attribute", "start", "count", "min", "max", "sum", "avg", "first",
        "last",
    ),
}  # fmt: skip
NAMES = {"ts": "time", "interval_s": "interval", "window_start": "start"}
"""Columns that are called otherwise where people read them."""


def topics_of(stream: Stream, names: Names, windows: Sequence[int]) -> list[str]:
    """The topics of a stream."""
    if stream is Stream.RESULTS:
        return [names.aggregates(window) for window in windows]
    by_stream = {Stream.READINGS: names.readings, Stream.VALID: names.valid, Stream.LATE: names.late}
    return [by_stream.get(stream, names.quarantine)]


class RowSource:
    """Rows of one stream. What cannot be decoded is counted in `refused`, by reason."""

    def __init__(self, config: WorkerConfig, stream: Stream, wanted: Wanted) -> None:
        self._wanted = wanted
        self._windows = config.pipeline.spec.aggregator.windows
        self._keys = KeyTable()
        self._decoder = decoder_of(config)
        by_stream: dict[Stream, Callable[[list[Message]], Iterator[Row]]] = {
            Stream.RESULTS: self._results,
            Stream.QUARANTINE: self._columns,
        }
        self.rows = by_stream.get(stream, self._readings)
        """Rows of messages, in their order."""
        self.refused: Refused = Counter()

    def _readings(self, messages: list[Message]) -> Iterator[Row]:
        decoded = self._decoder.decode([message.value() for message in messages], self._keys)
        self.refused.update(reject.reason.value for reject in decoded.rejects)
        table = pa.Table.from_batches([to_arrow(decoded.readings, self._keys)])
        table = self._wanted.of(table.append_column("message", pa.array(decoded.readings.message)))
        message_of = table.column("message").to_pylist()
        for row, index in zip(table.drop_columns("message").to_pylist(), message_of, strict=True):
            yield _told(messages[index], row)

    def _results(self, messages: list[Message]) -> Iterator[Row]:
        for message in messages:
            decoded = decode_results([message.value()], self._windows)
            self.refused.update(reject.reason.value for reject in decoded.rejects)
            for window, tables in decoded.tables.items():
                for row in (row for table in tables for row in self._wanted.of(table).to_pylist()):
                    row["avg"] = row["sum"] / row["count"]
                    yield _told(message, {"window": window} | row)

    def _columns(self, messages: list[Message]) -> Iterator[Row]:
        for message in messages:
            try:
                table = plain_columns(read_stream(message.value() or b""))
            except (pa.ArrowException, OSError, ValueError):
                self.refused["malformed"] += 1
                continue
            for row in self._wanted.of(table).to_pylist():
                yield _told(message, row)


def _told(message: Message, row: Row) -> Row:
    place = {"arrived": message.timestamp()[1], "partition": message.partition(), "offset": offset_of(message)}
    return place | {NAMES.get(name, name): value for name, value in row.items()}
