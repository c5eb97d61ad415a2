"""Which rows go to the store together.

A partition with many rows gets batches of its own (the server applies one as a single mutation); small partitions share
batches, but only with others of the same owner (the set of nodes that hold them), so that the node that takes a batch
keeps all of it. Nothing here runs once a row but numpy.
"""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from meterpipe.core.store_rows import StoreRows

Positions = npt.NDArray[np.intp]

OWN_BATCH_ROWS = 8
"""Rows from which a partition gets batches of its own."""


ROW_BYTES = 288
"""What the server counts a row as against batch_size_warn_threshold, rounded up (5.0 counts 278, whatever the key)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Most rows of a batch: `own` if all are of one partition, `shared` if of several; `partitions` caps those."""

    own: int = 200
    shared: int = 50
    partitions: int = 50

    def within(self, warn_bytes: int, warn_partitions: int) -> "Limits":
        """These limits, lowered so that the server does not warn. It does not count batches of one partition."""
        shared = min(self.shared, max(1, warn_bytes // ROW_BYTES))
        return Limits(self.own, shared, min(self.partitions, max(1, warn_partitions)))


@dataclass(frozen=True, slots=True)
class Grouping:
    """Rows by partition: `order` sorts them, `bounds` (k + 1) are the partitions' ends in that order."""

    order: Positions
    bounds: Positions

    @property
    def heads(self) -> Positions:
        """One row of each partition (a position in the original order)."""
        return self.order[self.bounds[:-1]]

    @property
    def sizes(self) -> Positions:
        """Rows of each partition."""
        return np.diff(self.bounds)


def by_partition(rows: StoreRows) -> Grouping:
    """Group rows by (meter, metric, attribute, bucket)."""
    code = _dense(rows.bucket)
    for text in rows.texts:
        code = _dense(code * max(1, len(text.dictionary)) + text.indices.to_numpy())
    order = np.argsort(code, kind="stable")
    ends = np.flatnonzero(np.diff(code[order], prepend=-1))
    return Grouping(order, np.append(ends, len(order)))


def _dense(code: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The same grouping in small numbers, so that products stay within 64 bits."""
    if len(code) == 0:
        return code.astype(np.int64)
    low, high = int(code.min()), int(code.max())
    if high - low < 1 << 31:
        return code.astype(np.int64) - low
    return np.unique(code, return_inverse=True)[1].astype(np.int64)


def arrange(grouping: Grouping, owners: npt.NDArray[np.int64]) -> tuple[Grouping, npt.NDArray[np.int64], Positions]:
    """Partitions in the order they are sent, for each the group whose batches it may share, and its former place.

    `owners` is the owner of each partition. Large partitions come first, each a group of its own (-1, -2 …); small
    ones follow by owner (group = owner, not negative).
    """
    sizes = grouping.sizes
    large = sizes >= OWN_BATCH_ROWS
    group = np.where(large, -1 - np.arange(len(sizes)), owners)
    sequence = np.argsort(group, kind="stable")
    moved = sizes[sequence]
    bounds = np.concatenate(([0], np.cumsum(moved)))
    # position within the old order of each row of the new one
    rows = np.repeat(grouping.bounds[:-1][sequence] - bounds[:-1], moved) + np.arange(bounds[-1])
    return Grouping(grouping.order[rows], bounds), group[sequence], sequence


def cut(bounds: Positions, group: npt.NDArray[np.int64], limits: Limits) -> list[tuple[int, int]]:
    """Batches as row ranges, none across two groups, those of one group about equally long.

    `bounds` are the partitions' ends (k + 1), `group` (k) tells what may share a batch, see `arrange`.
    """
    if len(group) == 0:
        return []
    changes = np.append(np.flatnonzero(np.diff(group)) + 1, len(group))
    firsts = np.concatenate(([0], changes[:-1]))
    batches: list[tuple[int, int]] = []
    for first, past, owner in zip(firsts.tolist(), changes.tolist(), group[firsts].tolist(), strict=True):
        if owner < 0:
            batches += _even(int(bounds[first]), int(bounds[past]), limits.own)
        else:
            batches += _shared(bounds[first : past + 1].tolist(), limits)
    return batches


def _even(start: int, end: int, most: int) -> list[tuple[int, int]]:
    """start to end in as few pieces of at most `most` as possible, about equally long."""
    pieces = -(-(end - start) // most)
    marks = [start + (end - start) * i // pieces for i in range(pieces + 1)]
    return list(pairwise(marks))


def _shared(bounds: list[int], limits: Limits) -> list[tuple[int, int]]:
    """Greedy batches of the small partitions of one owner."""
    batches = []
    start, end = bounds[0], bounds[-1]
    while start < end:
        partition = bisect_right(bounds, start) - 1
        last = bounds[min(partition + limits.partitions, len(bounds) - 1)]
        stop = min(start + limits.shared, last)
        batches.append((start, stop))
        start = stop
    return batches
