"""Households as columns, and many of them merged in time order, as Arrow batches of READING_SCHEMA's names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterpipe.core.readings import READING_SCHEMA

Floats = npt.NDArray[np.float64]
BATCH_ROWS = 100_000
STEP = 0.001
"""Household number n beyond those of the file reads `STEP * n` more than the household it is derived from."""


@dataclass(frozen=True, slots=True)
class Channel:
    """What one meter measures: one value a row of its household; NaN is a missing one."""

    metric: str
    attribute: str
    interval_s: int
    value: Floats


@dataclass(frozen=True, slots=True)
class Household:
    """One meter's rows, ascending in time (equal times keep the order of the file). Shapes (n,)."""

    meter: str
    ts: npt.NDArray[np.int64]
    quality: npt.NDArray[np.uint8]
    channels: tuple[Channel, ...]

    def __len__(self) -> int:
        return len(self.ts)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "Household":
        """The household with these rows only."""
        channels = tuple(replace(c, value=c.value[rows]) for c in self.channels)
        return replace(self, ts=self.ts[rows], quality=self.quality[rows], channels=channels)


def in_time_order(household: Household) -> Household:
    """The household sorted by time, stable."""
    if len(household) and (np.diff(household.ts) < 0).any():
        return household.take(np.argsort(household.ts, kind="stable"))
    return household


@dataclass(frozen=True, slots=True)
class Selection:
    """Which readings of the households are wanted. Times are UTC ms, before the shift by `day_offset`."""

    households: int | None = None  # None: those of the files
    attributes: frozenset[str] = frozenset()  # empty: all
    since: int | None = None
    until: int | None = None  # exclusive
    day_offset: int = 0
    limit: int | None = None


def meters_of(base: Sequence[Household], count: int) -> list[str]:
    """Names of `count` households: those of the files, then `<name>-<number>` of the one each is derived from."""
    names = [h.meter for h in base[:count]]
    names += [f"{base[i % len(base)].meter}-{i}" for i in range(len(base), count)]
    if len(set(names)) != len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two households would be named {repeated!r}")
    return names


def replay(base: Sequence[Household], selection: Selection, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """The readings of the wanted households merged in time order, in batches of about `batch_rows`.

    Households beyond those of the files are derived: value + STEP x number. Adding a constant keeps counters monotone.
    All columns of strings are dictionary encoded over words that are the same in all batches.
    """
    count = len(base) if selection.households is None else selection.households
    base = [_wanted(h, selection) for h in base[:count]]
    if not base:
        return
    merged = _Merged.of(base, meters_of(base, count))
    per_row = max(1, -(-count // len(base)) * max(len(h.channels) for h in base))
    rows = max(1, batch_rows // per_row)
    left = selection.limit
    for at in range(0, len(merged.order), rows):
        batch = merged.batch(slice(at, at + rows), selection.day_offset * 86_400_000)
        if left is not None:
            batch = batch.slice(0, left)
            left -= len(batch)
        if len(batch):
            yield batch
        if left == 0:
            return


def count_readings(base: Sequence[Household], selection: Selection) -> int:
    """How many readings `replay` gives."""
    count = len(base) if selection.households is None else selection.households
    total = 0
    for place, household in enumerate(base[:count]):
        own = sum(int((~np.isnan(c.value)).sum()) for c in _wanted(household, selection).channels)
        total += own * len(range(place, count, len(base)))
    return total if selection.limit is None else min(total, selection.limit)


def _wanted(household: Household, selection: Selection) -> Household:
    """The household cut to the wanted times and attributes."""
    start = 0 if selection.since is None else int(np.searchsorted(household.ts, selection.since, "left"))
    end = len(household) if selection.until is None else int(np.searchsorted(household.ts, selection.until, "left"))
    if selection.attributes:
        channels = tuple(c for c in household.channels if c.attribute in selection.attributes)
        household = replace(household, channels=channels)
    return household.take(np.arange(start, max(start, end)))


@dataclass(frozen=True, slots=True)
class _Merged:
    """The rows of all base households in time order; `order` indexes their concatenation. All have equal channels."""

    base_of: npt.NDArray[np.int64]  # of each concatenated row
    ts: npt.NDArray[np.int64]
    quality: npt.NDArray[np.uint8]
    values: Floats  # (rows, channels)
    channels: tuple[Channel, ...]
    order: npt.NDArray[np.intp]
    derived: npt.NDArray[np.int64]  # how many households each base stands for
    meters: pa.Array
    metrics: pa.Array
    attributes: pa.Array

    @staticmethod
    def of(base: Sequence[Household], meters: list[str]) -> "_Merged":
        channels = base[0].channels
        if any(
            [(c.metric, c.attribute) for c in h.channels] != [(c.metric, c.attribute) for c in channels] for h in base
        ):
            raise ValueError("all households of a data set must have the same channels")
        ts = np.concatenate([h.ts for h in base])
        counts = [len(range(i, len(meters), len(base))) for i in range(len(base))]
        values = np.concatenate([np.stack([c.value for c in h.channels], axis=1) for h in base]) if channels else None
        return _Merged(
            base_of=np.repeat(np.arange(len(base)), [len(h) for h in base]),
            ts=ts,
            quality=np.concatenate([h.quality for h in base]),
            values=np.empty((len(ts), 0)) if values is None else values,
            channels=channels,
            order=np.argsort(ts, kind="stable"),
            derived=np.array(counts, np.int64),
            meters=pa.array(meters, pa.string()),
            metrics=pa.array([c.metric for c in channels], pa.string()),
            attributes=pa.array([c.attribute for c in channels], pa.string()),
        )

    def batch(self, where: slice, shift_ms: int) -> pa.RecordBatch:
        """The readings of these rows: row by row, of each household by household, of each channel by channel."""
        rows, width, bases = self.order[where], len(self.channels), len(self.derived)
        copies = self.derived[self.base_of[rows]]
        repeated = np.repeat(rows, copies)
        nth = np.arange(len(repeated)) - np.repeat(np.cumsum(copies) - copies, copies)
        household = self.base_of[repeated] + bases * nth
        extra = np.where(household >= bases, STEP * household, 0.0)
        value = (self.values[repeated] + extra[:, None]).ravel()
        present = ~np.isnan(value)
        channel = np.tile(np.arange(width, dtype=np.int32), len(repeated))[present]
        each = np.repeat(np.arange(len(repeated)), width)[present]
        row = repeated[each]
        interval = np.array([c.interval_s for c in self.channels], np.int32)
        return pa.record_batch(
            [
                pa.DictionaryArray.from_arrays(pa.array(household[each].astype(np.int32)), self.meters),
                pa.DictionaryArray.from_arrays(pa.array(channel), self.metrics),
                pa.DictionaryArray.from_arrays(pa.array(channel), self.attributes),
                pa.array(self.ts[row] + shift_ms),
                pa.array(value[present]),
                pa.array(interval[channel]),
                pa.array(self.quality[row]),
                pa.array(np.zeros(len(row), np.uint16)),
            ],
            names=READING_SCHEMA.names,
        )
