"""Readings on their way to the lake, and the spans of messages they came from. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from meterpipe.core.lake_protocol import Span
from meterpipe.core.readings import EMPTY, KeyTable, Readings


@dataclass(frozen=True, slots=True)
class Arrivals:
    """n readings and where each was read; each column of shape (n,), in the order they were read.

    `arrived` is the timestamp of the Kafka record, UTC ms: the same whenever and by whomever the record is read.
    """

    readings: Readings
    partition: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    arrived: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.partition)

    def take(self, where: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Arrivals":
        """The readings selected by a mask or positions."""
        return Arrivals(self.readings.take(where), self.partition[where], self.offset[where], self.arrived[where])

    @classmethod
    def concat(cls, parts: Iterable["Arrivals"]) -> "Arrivals":
        """One batch of many, in order."""
        parts = [p for p in parts if len(p)]
        if not parts:
            return NOTHING
        if len(parts) == 1:
            return parts[0]
        columns = [np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)[1:]]
        return cls(Readings.concat(p.readings for p in parts), *columns)


NOTHING = Arrivals(EMPTY, np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit shall add: the readings of some spans. A span may hold no readings (all refused, or controls)."""

    spans: Mapping[int, Span]
    arrivals: Arrivals
    keys: KeyTable

    def without(self, partitions: Iterable[int]) -> "Batch":
        """The batch with some partitions left out."""
        gone = set(partitions)
        keep = ~np.isin(self.arrivals.partition, list(gone))
        return Batch({p: s for p, s in self.spans.items() if p not in gone}, self.arrivals.take(keep), self.keys)


@dataclass(slots=True)
class _Place:
    version: int | None  # what the table must say when the next cut is committed
    start: int  # offset at which the next cut begins
    next: int  # offset of the next message to take
    open: bool = True  # whether more is to be taken


class Buffer:
    """Collects readings of the partitions it follows, in log order; `cut` hands over all of them as one batch."""

    def __init__(self, key_limit: int = 500_000) -> None:
        self.keys = KeyTable()
        self._key_limit = key_limit
        self._places: dict[int, _Place] = {}
        self._parts: list[Arrivals] = []
        self.rows = 0

    def follow(self, partition: int, version: int | None, offset: int) -> None:
        """Begin with a partition at `offset`; the table's version of it is `version`."""
        self._places[partition] = _Place(version, offset, offset)

    def stop(self, partition: int) -> None:
        """Take no more of a partition; what is held of it stays."""
        self._places[partition].open = False

    def positions(self) -> dict[int, int]:
        """Offset of the next message to take, by partition."""
        return {p: place.next for p, place in self._places.items()}

    @property
    def moved(self) -> bool:
        """Whether any message was taken since the last cut."""
        return any(place.next > place.start for place in self._places.values())

    def holds(self, partition: int) -> bool:
        """Whether any message of a partition was taken since the last cut."""
        place = self._places.get(partition)
        return place is not None and place.next > place.start

    def full(self, rows: int) -> bool:
        """Whether there are so many rows, or more keys than are to be kept, that it is time to cut."""
        return self.rows >= rows or (len(self.keys) > self._key_limit and self.rows > 0)

    def wanted(self, partition: npt.NDArray[np.int32], offset: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        """Which of some messages are new to the buffer; None if all are. Others come from a former assignment."""
        floor = np.full(int(partition.max(initial=0)) + 1, np.iinfo(np.int64).max)
        for p, place in self._places.items():
            if p < len(floor):
                floor[p] = place.next if place.open else floor[p]
        new = offset >= floor[partition]
        return None if new.all() else new

    def add(
        self,
        partition: npt.NDArray[np.int32],
        offset: npt.NDArray[np.int64],
        arrived: npt.NDArray[np.int64],
        readings: Readings,
    ) -> None:
        """Take in messages (columns by message, log order within a partition) and the readings decoded from them."""
        if not len(partition):
            return
        for p in np.unique(partition).tolist():
            own = offset[partition == p]
            if (np.diff(own) <= 0).any():
                raise ValueError(f"messages of partition {p} are not in log order: {own.tolist()[:10]} …")
            self._places[p].next = int(own[-1]) + 1
        if len(readings):
            of = readings.message
            self._parts.append(Arrivals(readings, partition[of], offset[of], arrived[of]))
            self.rows += len(readings)

    def cut(self) -> Batch:
        """Everything taken in since the last cut; the buffer goes on behind it."""
        spans = {p: Span(place.version, place.next) for p, place in self._places.items() if place.next > place.start}
        batch = Batch(spans, Arrivals.concat(self._parts), self.keys)
        for p, span in spans.items():
            self._places[p] = _Place(span.next, span.next, span.next, self._places[p].open)
        self._parts, self.rows = [], 0
        if len(self.keys) > self._key_limit:
            self.keys = KeyTable()
        return batch

    def truncate(self, upto: Mapping[int, int]) -> None:
        """Forget messages at and behind the given offsets; partitions not named are forgotten as a whole."""
        for p in self._places.keys() - upto.keys():
            self.forget(p)
        kept = []
        for part in self._parts:
            ends = np.zeros(int(part.partition.max(initial=0)) + 1, np.int64)
            for p, end in upto.items():
                if p < len(ends):
                    ends[p] = end
            kept.append(part.take(part.offset < ends[part.partition]))
        self._keep(kept)
        for p, place in self._places.items():
            place.next = min(place.next, max(upto[p], place.start))

    def forget(self, partition: int) -> None:
        """Let go of a partition and all that is held of it."""
        self._places.pop(partition, None)
        self._keep([part.take(part.partition != partition) for part in self._parts])

    def _keep(self, parts: list[Arrivals]) -> None:
        self._parts = [part for part in parts if len(part)]
        self.rows = sum(map(len, self._parts))
