"""NIGHT_LEAK: the smallest value of each night, by local time. Pure."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from meterpipe.core.alarms.events import AlarmKind
from meterpipe.core.alarms.latch import changes_of, heads_of, latch
from meterpipe.core.alarms.memory import FOREVER, NO_CHANGES, Changes, Floats, Ints, Keys, Mask, Memory
from meterpipe.core.columns import Columns
from meterpipe.core.validation.series import Chain
from meterpipe.spec.alarms import NightLeak

DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = (date.min.toordinal() + 2, date.max.toordinal() - 2)
_DAY_0 = _EPOCH.toordinal()
NIGHT_UNTIL = time(6)
"""Nights begin at midnight."""


class NightClock:
    """Which instants are at night, in one time zone. Hours that exist twice or never are minded."""

    def __init__(self, timezone: str) -> None:
        zone = ZoneInfo(timezone)

        @lru_cache(maxsize=4096)
        def bounds(day: int) -> tuple[int, int]:
            found = date.fromordinal(day + _DAY_0)
            return _ms(datetime.combine(found, time(0), zone)), _ms(datetime.combine(found, NIGHT_UNTIL, zone))

        self._bounds = bounds

    def ends_of(self, ts: Ints) -> Ints:
        """When the night of each instant (UTC ms) ends; FOREVER for those that are in none."""
        if not len(ts):
            return ts
        utc = np.unique(ts // DAY_MS)
        days = np.unique(np.concatenate([utc - 1, utc, utc + 1])) + _DAY_0
        days = np.clip(days, _FIRST, _LAST) - _DAY_0  # the calendar's first and last days have no nights
        begins, ends = np.array([self._bounds(day) for day in days.tolist()], np.int64).T
        at = np.searchsorted(begins, ts, "right") - 1
        found: Ints = np.where((at >= 0) & (ts < ends[at]), ends[at], FOREVER)
        return found


def _ms(local: datetime) -> int:
    return (local.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class _Nights(Columns):
    """Some nights of some channels, sorted by key and end."""

    key: Keys
    end: Ints
    low: Floats
    count: Ints


def judge_nights(
    rule: NightLeak, clock: NightClock, memory: Memory, watched: Mask, chain: Chain, passed: Ints, watermark: int
) -> tuple[Changes, Keys]:
    """Take in a chain whose newest instants the memory has already; judge the nights that are over.

    `passed`: the watermark just before each row of the chain; `watermark`: that at the end of the batch. Gives the
    changes, and the keys whose nights went on or ended.
    """
    night_rows = np.flatnonzero(watched[chain.key])
    ends = clock.ends_of(chain.ts[night_rows])
    some = ends > passed[night_rows]  # a night that was over is over
    some &= ends < FOREVER
    rows = night_rows[some]
    new = _Nights(chain.key[rows], ends[some], chain.value[rows], np.ones(len(rows), np.int64))
    newest = memory.series.newest
    touched = np.zeros(len(newest), bool)
    touched[chain.key] = True
    going = (memory.night_end < FOREVER) & watched
    old = np.flatnonzero(going & (touched | (memory.night_end <= watermark))).astype(np.int32)
    kept = _Nights(old, memory.night_end[old], memory.night_low[old], memory.night_count[old].astype(np.int64))
    nights = _merged(kept, new)
    if not len(nights.key):
        return NO_CHANGES, nights.key
    over = (nights.end <= watermark) | (nights.end <= newest[nights.key])
    memory.night_end[nights.key] = FOREVER
    open_ = nights.take(~over)  # at most one of each channel
    memory.night_end[open_.key], memory.night_low[open_.key] = open_.end, open_.low
    memory.night_count[open_.key] = open_.count
    judged = over & (nights.count >= rule.min_readings)
    return _judge_over(rule, memory, nights.take(judged)), nights.key


def _merged(kept: _Nights, new: _Nights) -> _Nights:
    nights = _Nights.concat([kept, new])
    nights = nights.take(np.lexsort((nights.end, nights.key)))
    key, end = nights.key, nights.end
    if not len(key):
        return nights
    first = np.flatnonzero(heads_of(key) | np.append(True, end[1:] != end[:-1]))
    low, count = np.minimum.reduceat(nights.low, first), np.add.reduceat(nights.count, first)
    return _Nights(key[first], end[first], low, count)


def _judge_over(rule: NightLeak, memory: Memory, nights: _Nights) -> Changes:
    key, end = nights.key, nights.end
    if not len(key):
        return NO_CHANGES
    leak, head = nights.low > rule.limit, heads_of(key)
    dry_before = np.where(head, memory.dry[key], np.append(False, ~leak[:-1]))
    at, raises, raised_at = latch(key, end, leak, ~leak & dry_before, memory.since(AlarmKind.NIGHT_LEAK))
    last = np.append(head[1:], True)
    memory.dry[key[last]] = ~leak[last]
    return changes_of(AlarmKind.NIGHT_LEAK, key[at], end[at], raises, raised_at, value=nights.low[at], limit=rule.limit)
