"""The table of open alarms: one row a meter, metric, attribute and kind, from the newest event of each.

A row is written or deleted at the *offset* of its event as the write time. All events of a meter are in one partition,
so a later event has a higher write time; an older one that is delivered again changes nothing, whoever writes it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from meterpipe.core.alarms.events import Alarm, AlarmState

TABLE = "open_alarms"
KEY = ("meter", "metric", "attribute", "kind")
COLUMNS = (
    *KEY,
    *("id", "raised_at", "value", "limit_value"),
    *("threshold_partition", "threshold_offset", "reading_partition", "reading_offset"),
)
MOST_KEY_BYTES = 60_000
"""Of meter, metric and attribute together; Cassandra takes 64 KiB of each part."""

Row = tuple[object, ...]
"""Values of COLUMNS."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one event does to the table. `row` None: the row of `key` is deleted."""

    key: tuple[str, str, str, str]
    written: int
    row: Row | None


def key_of(event: Alarm) -> tuple[str, str, str, str]:
    """The row an event is about."""
    return event.meter, event.metric, event.attribute, event.kind.value


def fits(event: Alarm) -> bool:
    """Whether the table can hold it: a partition key of one column must not be empty."""
    return event.meter != "" and sum(len(text.encode()) for text in key_of(event)) <= MOST_KEY_BYTES


def changes(events: Iterable[tuple[int, Alarm]]) -> list[Change]:
    """What is to be written of events with their offsets, in order within a meter: the last one of each row counts."""
    last = {key_of(event): (offset, event) for offset, event in events}
    return [Change(key, offset + 1, _row(key, event)) for key, (offset, event) in last.items()]


def _row(key: tuple[str, str, str, str], event: Alarm) -> Row | None:
    if event.state is AlarmState.CLEARED:
        return None
    threshold, reading = event.threshold, event.reading
    return (
        *key,
        event.id,
        datetime.fromisoformat(event.raised_at),
        event.value,
        event.limit,
        *((threshold.partition, threshold.offset) if threshold else (None, None)),
        *((reading.partition, reading.offset) if reading else (None, None)),
    )


def upsert(keyspace: str) -> str:
    """The statement that takes a row and its write time."""
    marks = ", ".join("?" * len(COLUMNS))
    return f'INSERT INTO "{keyspace}".{TABLE} ({", ".join(COLUMNS)}) VALUES ({marks}) USING TIMESTAMP ?'


def delete(keyspace: str) -> str:
    """The statement that takes a write time and the key of a row."""
    where = " AND ".join(f"{name} = ?" for name in KEY)
    return f'DELETE FROM "{keyspace}".{TABLE} USING TIMESTAMP ? WHERE {where}'
