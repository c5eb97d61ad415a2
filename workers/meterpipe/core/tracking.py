"""From the first reading to so many results, rows and lake rows, and what delay each window had. Pure.

Fed with what is read from Kafka: readings, results, and the offsets that sinks and archivers have committed. A sink
commits a result's offset once its rows are acknowledged, an archiver that of a reading once the lake has it.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from meterpipe.core.delays import Count, Delays, EventTime


@dataclass(frozen=True, slots=True)
class _Group:
    """Windows of one message that begin together. `end`: the offset behind the message; `at`: its time, UTC ms."""

    window: int
    partition: int
    end: int
    at: int
    complete: int
    """Event time at which they are complete, UTC ms."""
    count: int


class Tracker:
    """What has been seen of one pipeline since tracking began."""

    def __init__(self, windows: Sequence[int], grace_s: int, wanted: Mapping[str, int | None]) -> None:
        """`windows`: sizes in seconds. `wanted`: numbers of results, rows, lakeRows to wait for."""
        self.first: int | None = None
        """When the first reading had arrived, UTC ms."""
        self.readings = 0
        self.counts = {name: Count(wanted.get(name)) for name in ("results", "rows", "lakeRows")}
        self._grace_ms = grace_s * 1000
        self._event_time: dict[int, EventTime] = {}
        self._results = {window: Count() for window in windows}
        self._delays = {window: Delays() for window in windows}
        self._row_delays = {window: Delays() for window in windows}
        self._unexplained: deque[_Group] = deque()
        self._unwritten: dict[tuple[int, int], deque[_Group]] = {}
        self._unarchived: dict[int, deque[tuple[int, int]]] = {}

    @property
    def done(self) -> bool:
        """Whether all numbers wanted have been reached."""
        return all(count.done for count in self.counts.values())

    def add_event_times(self, partition: int, ts: npt.NDArray[np.int64], arrived: npt.NDArray[np.int64]) -> None:
        """Of readings and control records in log order: event times and arrivals, UTC ms, of shape (n,)."""
        self._event_time.setdefault(partition, EventTime()).add(ts, arrived)

    def add_readings(self, partition: int, end: int, count: int, arrived: int) -> None:
        """`count` readings that the message before offset `end` holds, arrived at UTC ms."""
        if count:
            self.first = arrived if self.first is None else min(self.first, arrived)
            self.readings += count
            self._unarchived.setdefault(partition, deque()).append((end, count))

    def add_results(self, window: int, partition: int, end: int, at: int, starts: npt.NDArray[np.int64]) -> None:
        """Results of a message: starts of their windows, UTC ms, of shape (n,)."""
        self.counts["results"].add(len(starts), at)
        self._results[window].add(len(starts), at)
        waiting = self._unwritten.setdefault((window, partition), deque())
        for start, count in zip(*map(np.ndarray.tolist, np.unique(starts, return_counts=True)), strict=True):
            group = _Group(window, partition, end, at, start + window * 1000 + self._grace_ms, count)
            self._unexplained.append(group)
            waiting.append(group)

    def written(self, window: int, partition: int, committed: int, now: int | None) -> None:
        """The sink has committed so far. `now`, UTC ms: None if it may have been long ago."""
        waiting = self._unwritten.get((window, partition))
        while waiting and waiting[0].end <= committed:
            group = waiting.popleft()
            self.counts["rows"].add(group.count, now)
            if now is not None and (since := self._completed(group)) is not None:
                self._row_delays[window].add(now - since, group.count)

    def archived(self, partition: int, committed: int, now: int | None) -> None:
        """The archiver has committed so far. `now` as in `written`."""
        waiting = self._unarchived.get(partition)
        while waiting and waiting[0][0] <= committed:
            self.counts["lakeRows"].add(waiting.popleft()[1], now)

    def summary(self) -> dict[str, Any]:
        """All of it; times in seconds since the first reading, delays in ms."""
        self._explain()
        unexplained = dict.fromkeys(self._results, 0)
        for group in self._unexplained:
            unexplained[group.window] += group.count
        return {
            "firstReading": self.first,
            "readings": self.readings,
            **{name: self._told(count) for name, count in self.counts.items()},
            "windows": {
                str(window): {
                    "results": count.count,
                    "delayMs": self._delays[window].percentiles(),
                    "rowDelayMs": self._row_delays[window].percentiles(),
                    "unexplained": unexplained[window],
                }
                for window, count in self._results.items()
            },
        }

    def _told(self, count: Count) -> dict[str, Any]:
        known = count.at is not None and self.first is not None
        seconds = max(0, count.at - self.first) / 1000 if known else None  # type: ignore[operator]
        return {"count": count.count, "wanted": count.wanted, "seconds": seconds}

    def _completed(self, group: _Group) -> int | None:
        """When the reading that completes the windows had arrived."""
        event_time = self._event_time.get(group.partition)
        return event_time.reached(group.complete) if event_time else None

    def _explain(self) -> None:
        """Results may be seen before the readings that complete their windows; those wait."""
        left = deque[_Group]()
        for group in self._unexplained:
            if (since := self._completed(group)) is None:
                left.append(group)
            else:
                self._delays[group.window].add(group.at - since, group.count)
        self._unexplained = left
