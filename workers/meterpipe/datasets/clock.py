"""Local clocks of data sets: day and month in doubtful order, times without a zone, hours that exist twice or never."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1).toordinal()
_CLOCK = re.compile(rb"\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?\s*")

Triple = tuple[int, int, int]
"""year, then two numbers of which the file's format says that they are month and day."""


class DayOrder(StrEnum):
    """Which of a date's two small numbers is the day."""

    AUTO = "auto"  # decided by the dates themselves
    AS_WRITTEN = "as-written"  # as the format says
    SWAPPED = "swapped"  # the other way round wherever that is a date too (both at most 12)


def clock_ms(text: bytes) -> int | None:
    """Milliseconds of `17:24`, `17:24:00` or `17:24:00.000`; None if it is no time of day."""
    found = _CLOCK.fullmatch(text)
    if not found:
        return None
    hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    return ((hour * 60 + minute) * 60 + second) * 1000 + int((found[4] or b"0").ljust(3, b"0")[:3])


@dataclass(frozen=True, slots=True)
class Days:
    """Distinct dates read: days since 1970 (None: no date), and how many had day and month put right."""

    days: list[int | None]
    swapped: int = 0


def read_days(triples: Sequence[Triple | None], order: DayOrder = DayOrder.AUTO) -> Days:
    """Days since 1970 of distinct (year, month, day) triples.

    Tools that take dd/mm for mm/dd swap exactly the dates whose day is at most 12. AUTO tells by continuity: a meter is
    read day after day, so the reading of the dates with clearly fewer breaks is right (`triples` in file order). A file
    written the other way round throughout is told by its numbers above 12; the few that contradict those are no date.
    """
    as_format = [_day(t) for t in triples]
    turned = [_day((t[0], t[2], t[1])) if t else None for t in triples]
    written = as_format
    if order is DayOrder.AUTO:
        for_format = sum(w is not None and t is None for w, t in zip(written, turned, strict=True))
        against = sum(w is None and t is not None for w, t in zip(written, turned, strict=True))
        if against > for_format:
            written, turned = turned, written
    other = [t if w is not None and t is not None else w for w, t in zip(written, turned, strict=True)]
    swap = order is DayOrder.SWAPPED or (order is DayOrder.AUTO and _clearly_smoother(other, written))
    days = other if swap else written
    return Days(days, sum(d is not None and d != f for d, f in zip(days, as_format, strict=True)))


def _day(triple: Triple | None) -> int | None:
    if triple is None:
        return None
    try:
        return date(*triple).toordinal() - _EPOCH
    except ValueError:
        return None


def _clearly_smoother(other: Sequence[int | None], written: Sequence[int | None]) -> bool:
    """Whether `other` has less than half the breaks: as a set of days or, where that tells nothing, in file order."""
    theirs, ours = ([d for d in days if d is not None] for days in (other, written))
    as_sets = _breaks(sorted(set(theirs))), _breaks(sorted(set(ours)))
    if as_sets[0] != as_sets[1]:
        return 2 * as_sets[0] < as_sets[1]
    return 2 * _breaks(theirs) < _breaks(ours)


def _breaks(days: list[int]) -> int:
    """Places at which the next day is not the day after."""
    return sum(b - a != 1 for a, b in pairwise(days))


@dataclass(frozen=True, slots=True)
class Instants:
    """UTC milliseconds of local times, in file order. `unreal`: local times that no clock of the zone ever showed."""

    utc: npt.NDArray[np.int64]
    unreal: npt.NDArray[np.bool_]


def to_utc(local: npt.NDArray[np.int64], zone: ZoneInfo) -> Instants:
    """UTC of local times (ms since 1970 as if they were UTC), in the order in which they were recorded.

    * An hour that exists twice (autumn): the first pass is summer time; where the clock runs back, the second begins.
    * An hour that never existed (spring): taken as if the change had not happened yet, and told as `unreal`.
    """
    unreal = np.zeros(len(local), bool)
    if not len(local):
        return Instants(local, unreal)
    changes = _changes(zone, int(local.min()), int(local.max()))
    offset = np.full(len(local), _offset(zone, int(local.min()) - 2 * DAY_MS), np.int64)
    for at, before, after in changes:
        begins = at + max(before, after)  # local time from which the new offset holds for certain
        offset[local >= begins] = after
        doubtful = np.flatnonzero((local >= at + min(before, after)) & (local < begins))
        if not len(doubtful):
            continue
        if after > before:
            unreal[doubtful] = True
            offset[doubtful] = before
        else:
            offset[doubtful[_second_pass(local[doubtful]) :]] = after
    return Instants(local - offset, unreal)


def _second_pass(times: npt.NDArray[np.int64]) -> int:
    """Place at which the second pass through an hour that exists twice begins; the length if there is but one pass."""
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back):
        return int(back[0]) + 1
    one_time = len(times) > 1 and times[0] == times[-1]  # a meter read as seldom as that: one time a pass
    return 1 if one_time else len(times)


def _offset(zone: ZoneInfo, utc_ms: int) -> int:
    """The zone's offset from UTC at an instant, in ms."""
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=utc_ms)
    offset = instant.astimezone(zone).utcoffset()
    return int(offset.total_seconds()) * 1000 if offset else 0


def _changes(zone: ZoneInfo, first: int, last: int) -> list[tuple[int, int, int]]:
    """(UTC ms, offset before, offset after) of each change from two days before `first` to two after `last`."""
    found = []
    start, end = first - 2 * DAY_MS, last + 2 * DAY_MS
    before = _offset(zone, start)
    while start < end:
        step = min(start + DAY_MS, end)
        after = _offset(zone, step)
        if after != before:
            low, high = start, step  # the change is in (low, high]
            while high - low > 1000:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
            found.append((high // 1000 * 1000, before, after))
            before = after
        start = step
    return found
