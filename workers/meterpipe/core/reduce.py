"""Sort once, reduce by group: the one kernel under every window size."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from meterpipe.core.aggregates import NONE, Aggregates
from meterpipe.core.quality import RANKS
from meterpipe.core.readings import Samples

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reduced:
    """Aggregates of the smallest windows, and what became of the readings that do not count in them."""

    rows: Aggregates
    counted: int = 0
    duplicates: int = 0  # losers equal in value to the reading that counts
    superseded: int = 0  # losers of another value: replaced by a higher revision or better quality


def reduce_samples(samples: Samples, size_ms: int, drop_duplicates: bool) -> Reduced:
    """All `samples` (log order) as windows of `size_ms`, sorted by (start, key).

    Of readings with the same key and time one counts, if `drop_duplicates`: higher revision, then better quality, then
    the first in the log. Values are added in order of time, so the sum does not depend on the order of arrival.
    """
    if not len(samples):
        return Reduced(NONE)
    window = samples.ts // size_ms
    order, same_instant, same_group = _sort(window, samples.key, samples.ts - window * size_ms, size_ms)
    duplicates = superseded = 0
    if drop_duplicates and same_instant.any():
        winner, equal = _winners(samples, order, same_instant)
        losers = len(order) - int(winner.sum())
        duplicates = int((equal & ~winner).sum())
        superseded = losers - duplicates
        # a group lives on through its winners: the boundary before the first row of a group stays a boundary
        group = np.cumsum(~same_group)[winner]
        order = order[winner]
        same_group = np.concatenate([[False], group[1:] == group[:-1]])
    starts = np.flatnonzero(~same_group)
    value = samples.value[order]
    first = order[starts]
    if len(starts) == len(order):  # one reading a window, as in a live minutely feed
        counts = np.ones(len(order), np.int64)
        head = low = high = total = last = value  # one column: encoders make it text once
    else:
        ends = np.append(starts[1:], len(order))
        counts = ends - starts
        low = np.minimum.reduceat(value, starts)
        high = np.maximum.reduceat(value, starts)
        total = np.add.reduceat(value, starts)
        head, last = value[starts], value[ends - 1]
    rows = Aggregates(samples.key[first], window[first] * size_ms, counts, low, high, total, head, last)
    return Reduced(rows, len(order), duplicates, superseded)


def merge_rows(rows: Aggregates, size_ms: int, step_ms: int) -> Aggregates:
    """Rows of smaller windows (starts are multiples of `step_ms`) as windows of `size_ms`, sorted by (start, key)."""
    if not len(rows):
        return NONE
    window = rows.start // size_ms
    order, _, same_group = _sort(window, rows.key, (rows.start - window * size_ms) // step_ms, size_ms // step_ms)
    starts = np.flatnonzero(~same_group)
    first, last = order[starts], order[np.append(starts[1:], len(order)) - 1]
    return Aggregates(
        rows.key[first],
        window[first] * size_ms,
        np.add.reduceat(rows.count[order], starts),
        np.minimum.reduceat(rows.min[order], starts),
        np.maximum.reduceat(rows.max[order], starts),
        np.add.reduceat(rows.sum[order], starts),
        rows.first[first],
        rows.last[last],
    )


def _sort(
    window: Ints, key: npt.NDArray[np.int32], place: Ints, places: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Stable order by (window, key, place in the window), and whether each row shares (all three | the first two) with
    its predecessor.

    The columns and the row number are packed into one integer where they fit, so that one plain sort, several times as
    fast as an indirect one, does it all.
    """
    count = len(window)
    base = int(window.min())
    key_bits, place_bits, row_bits = int(key.max()).bit_length(), (places - 1).bit_length(), (count - 1).bit_length()
    window_bits = (int(window.max()) - base).bit_length()
    if window_bits + key_bits + place_bits + row_bits <= 63:
        packed = window - base
        packed <<= key_bits
        packed |= key
        packed <<= place_bits
        packed |= place
        packed <<= row_bits
        packed |= np.arange(count)
        packed.sort()
        order = packed & ((1 << row_bits) - 1)
        packed >>= row_bits
        same_instant = _like_predecessor(packed)
        packed >>= place_bits
        return order, same_instant, _like_predecessor(packed)
    order = np.lexsort((place, key, window))
    same_group = _like_predecessor(window[order]) & _like_predecessor(key[order])
    return order, same_group & _like_predecessor(place[order]), same_group


def _like_predecessor(column: npt.NDArray[np.int64] | npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    same = np.empty(len(column), bool)
    same[0] = False
    np.equal(column[1:], column[:-1], out=same[1:])
    return same


def _winners(
    samples: Samples, order: npt.NDArray[np.intp], same_instant: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which of the sorted rows count, and which are equal in value to the one that counts for their instant."""
    instant = np.cumsum(~same_instant) - 1
    rank = (samples.revision[order].astype(np.int32) << 8) - RANKS[samples.quality[order]]
    firsts = np.flatnonzero(~same_instant)
    best = np.maximum.reduceat(rank, firsts)[instant]
    contender = np.where(rank == best, np.arange(len(order)), len(order))
    chosen = np.minimum.reduceat(contender, firsts)  # the earliest in the log among the best
    winner = np.zeros(len(order), bool)
    winner[chosen] = True
    value = samples.value[order]
    return winner, value == value[chosen][instant]
