"""Reads windows back from Cassandra, one partition at a time, the next ones being fetched meanwhile."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np
from cassandra.cluster import Session
from cassandra.util import Date

from meterpipe.core.cql import COLUMNS
from meterpipe.core.readings import Key
from meterpipe.core.store_rows import bucket_unit

AHEAD = 16  # partitions asked for at the same time
SEARCH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Window:
    """One row. `start` is UTC ms, inclusive."""

    meter: str
    metric: str
    attribute: str
    start: int
    count: int
    min: float
    max: float
    sum: float
    avg: float
    first: float
    last: float
    revision: int

    @property
    def channel(self) -> Key:
        """Whose window it is."""
        return self.meter, self.metric, self.attribute


class StoreReader:
    """The read side of the store. `session` is the caller's; `tables` by window size in seconds."""

    def __init__(self, session: Session, keyspace: str, tables: dict[int, str]) -> None:
        self._session, self._keyspace, self._tables = session, keyspace, tables

    def windows(self, channel: Key, window: int, start: int, end: int) -> Iterator[Window]:
        """Windows that start in [start, end), UTC ms, ascending."""
        columns = ", ".join(column for column in COLUMNS if column != "bucket")
        query = self._session.prepare(
            f'SELECT {columns} FROM "{self._keyspace}".{self._tables[window]} WHERE meter = ? AND metric = ?'
            " AND attribute = ? AND bucket = ? AND window_start >= ? AND window_start < ? ORDER BY window_start"
        )
        asked: deque[Any] = deque()
        buckets = iter(buckets_between(start, end, window))

        def ask(more: int) -> None:
            for bucket in islice(buckets, more):
                asked.append(self._session.execute_async(query, (*channel, Date(bucket), start, end)))

        ask(AHEAD)
        while asked:
            rows = asked.popleft().result()
            ask(1)
            for meter, metric, attribute, begin, *numbers in rows:
                yield Window(meter, metric, attribute, _milliseconds(begin), *numbers)

    def channels(self, meter: str) -> list[Key]:
        """Every (meter, metric, attribute) of `meter`, sorted; none if it is not known.

        Looks through the keys of a whole table, beginning with that of the largest windows, which has the fewest.
        """
        for window in sorted(self._tables, reverse=True):
            query = f'SELECT DISTINCT meter, metric, attribute, bucket FROM "{self._keyspace}".{self._tables[window]}'
            rows = self._session.execute(f"{query} WHERE meter = %s ALLOW FILTERING", (meter,), timeout=SEARCH_SECONDS)
            if found := {(row.meter, row.metric, row.attribute) for row in rows}:
                return sorted(found)
        return []

    def some_meters(self, most: int = 20_000) -> list[str]:
        """Some of the meters there are."""
        found: set[str] = set()
        for window in sorted(self._tables, reverse=True):
            query = f'SELECT DISTINCT meter, metric, attribute, bucket FROM "{self._keyspace}".{self._tables[window]}'
            rows = self._session.execute(f"{query} LIMIT {most}", timeout=SEARCH_SECONDS)
            found.update(row.meter for row in rows)
            if found:
                break
        return sorted(found)


def buckets_between(start: int, end: int, window: int) -> Sequence[int]:
    """The buckets (first day, in days since 1970) of windows that start in [start, end), UTC ms."""
    unit = bucket_unit(window)
    first, last = (np.datetime64(moment, "ms").astype(f"datetime64[{unit}]") for moment in (start, end - 1))
    days: list[int] = np.arange(first, last + 1).astype("datetime64[D]").astype(int).tolist()
    return days


def _milliseconds(moment: datetime) -> int:
    """UTC ms of what the driver gives for a timestamp: a naive datetime."""
    since = moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return round(since.total_seconds() * 1000)


def matching(channels: Iterable[Key], metric: str | None, attribute: str | None) -> list[Key]:
    """Those of a metric and an attribute, where given."""
    return [c for c in channels if metric in (None, c[1]) and attribute in (None, c[2])]
