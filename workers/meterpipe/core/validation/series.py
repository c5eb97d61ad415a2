"""Rules that look at a channel's readings one after the other, in columns. Pure.

A channel's *chain* are its accepted readings each younger than all before: what comes out of order is judged by itself
only. All rules here see the chain, so that the order of arrival of older readings changes nothing.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from meterpipe.core.validation.rules import Channels, Rule, Screen
from meterpipe.spec.validation import Action, Validation

NEVER = np.iinfo(np.int64).min // 2
"""The newest instant of a channel without readings."""
BEFORE = 3
"""Values before a reading that a spike is compared with."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Series:
    """What is known of each channel's chain, by key."""

    newest: Ints
    values: Floats  # shape (n, BEFORE), the last one first
    count: npt.NDArray[np.uint8]  # of those values
    flat: npt.NDArray[np.int32]  # equal values, not zero, at the end of the chain

    @classmethod
    def empty(cls) -> "Series":
        """Of no keys."""
        return cls(np.empty(0, np.int64), np.empty((0, BEFORE)), np.empty(0, np.uint8), np.empty(0, np.int32))

    def grow(self, size: int) -> None:
        """Make room for so many keys."""
        more = size - len(self.newest)
        if more > 0:
            self.newest = np.append(self.newest, np.full(more, NEVER))
            self.values = np.concatenate([self.values, np.zeros((more, BEFORE))])
            self.count = np.append(self.count, np.zeros(more, np.uint8))
            self.flat = np.append(self.flat, np.zeros(more, np.int32))


@dataclass(frozen=True, slots=True)
class Chain:
    """The chain's rows of a batch, channel by channel. `row` is their place in the batch."""

    row: Rows
    key: npt.NDArray[np.int32]
    ts: Ints
    value: Floats
    head: Mask
    """The first of its channel in the batch."""
    place: Ints
    """How many of its channel are before it in the batch."""
    before: Ints
    """The instant of the one before it, NEVER if there is none."""


def running_newest(key: npt.NDArray[np.int32], ts: Ints, good: Mask, newest: Ints) -> Ints:
    """Of readings sorted by key: the newest good instant of the channel before each one."""
    head = np.append(True, key[1:] != key[:-1])
    start = newest[key]
    reach = np.where(good, ts, NEVER)
    segment = np.cumsum(head) - 1
    lowest = int(ts.min())
    span = int(ts.max()) - lowest + 2
    if span * (int(segment[-1]) + 1) < 2**62:
        packed = segment * span + np.where(good, reach - lowest + 1, 0)
        best = np.maximum.accumulate(packed)
        best = np.append(0, best[:-1]) - segment * span
        inside = np.where(head | (best <= 0), NEVER, best + lowest - 1)
    else:  # instants all over the calendar
        inside = np.full(len(ts), NEVER)
        for first, end in zip(np.flatnonzero(head), np.append(np.flatnonzero(head)[1:], len(ts)), strict=True):
            inside[first + 1 : end] = np.maximum.accumulate(reach[first : end - 1])
    return np.maximum(inside, start)


def chain_of(rows: Rows, key: npt.NDArray[np.int32], ts: Ints, value: Floats, newest: Ints) -> Chain:
    """The chain of readings sorted by key, each younger than those of its channel before it."""
    head = np.append(True, key[1:] != key[:-1]) if len(key) else np.empty(0, bool)
    index = np.arange(len(key))
    first = np.maximum.accumulate(np.where(head, index, 0)) if len(key) else index
    before = np.append(NEVER, ts[:-1])[: len(key)]
    return Chain(rows, key, ts, value, head, index - first, np.where(head, newest[key], before))


def judge_series(
    spec: Validation,
    channels: Channels,
    series: Series,
    chain: Chain,
    interval_s: npt.NDArray[np.int32],
    screen: Screen,
) -> None:
    """Flag gaps, spikes and flat lines, and have the series take the chain."""
    if not len(chain.row):
        return
    usual = channels.register[chain.key] < 0
    _judge_gaps(spec, chain, interval_s, screen)
    previous, known = previous_values(series, chain)
    peak = np.abs(previous[0])
    for column in previous[1:]:
        peak = np.maximum(peak, np.abs(column))
    size = np.abs(chain.value)
    spike = usual & (known >= BEFORE) & (size > spec.spike.factor * peak) & (size > spec.spike.floor)
    _flag(Rule.SPIKE, spike, chain, spec.spike.action, screen)
    flat = flat_runs(series, chain, previous[0], known)
    _flag(Rule.FLATLINE, usual & (flat >= spec.flatline.readings), chain, spec.flatline.action, screen)
    last = np.append(chain.head[1:], True)
    key = chain.key[last]
    series.newest[key] = chain.ts[last]
    series.values[key] = np.column_stack([chain.value[last], *(column[last] for column in previous[:-1])])
    series.count[key] = np.minimum(known[last] + 1, BEFORE)
    series.flat[key] = flat[last]


def _judge_gaps(spec: Validation, chain: Chain, interval_s: npt.NDArray[np.int32], screen: Screen) -> None:
    step = np.full(len(chain.row), spec.missing.interval) if spec.missing.interval else interval_s[chain.row]
    gap = (chain.before > NEVER) & (step > 0) & (chain.ts - chain.before > step * 1000.0 * spec.missing.after)
    _flag(Rule.MISSING, gap, chain, spec.missing.action, screen)


def previous_values(series: Series, chain: Chain) -> tuple[list[Floats], Ints]:
    """The values before each one, the last first (0 where there is none), and how many there are."""
    known = np.minimum(series.count[chain.key] + chain.place, BEFORE)
    columns = []
    for back in range(1, BEFORE + 1):
        column = np.empty(len(chain.row))
        column[back:] = chain.value[:-back]
        early = np.flatnonzero(chain.place < back)  # before the batch
        column[early] = series.values[chain.key[early], back - 1 - chain.place[early]]
        column[known < back] = 0.0
        columns.append(column)
    return columns, known


def flat_runs(series: Series, chain: Chain, previous: Floats, known: Ints) -> npt.NDArray[np.int32]:
    """How many equal values, not zero, end with each one."""
    moving = chain.value != 0
    same = moving & (known > 0) & (chain.value == previous)
    begins = chain.head | ~same
    base = np.where(same, series.flat[chain.key] + 1, moving.astype(np.int32))
    index = np.arange(len(chain.row))
    start = np.maximum.accumulate(np.where(begins, index, 0))
    return (base[start] + index - start).astype(np.int32)


def _flag(rule: Rule, bad: Mask, chain: Chain, action: Action, screen: Screen) -> None:
    if action is Action.OFF or not bad.any():
        return
    everywhere = np.zeros(len(screen.rule), bool)
    everywhere[chain.row[bad]] = True
    screen.judge(rule, everywhere, action)
