"""OVER and UNDER: readings against the thresholds. Pure."""

import numpy as np
import numpy.typing as npt

from meterpipe.core.alarms.events import AlarmKind
from meterpipe.core.alarms.latch import changes_of, heads_of, latch
from meterpipe.core.alarms.memory import Changes, Ints, Mask, Memory
from meterpipe.core.alarms.thresholds import NO_THRESHOLD, Limits
from meterpipe.core.validation.series import NEVER, Chain

SIDES = (AlarmKind.OVER, AlarmKind.UNDER)


def judge_bounds(memory: Memory, limits: Limits, watched: Mask, chain: Chain, message: Ints) -> list[Changes]:
    """Judge a chain by the thresholds that count now. `message`: of each of its rows."""
    concerned = (limits.offset != NO_THRESHOLD) & watched
    for kind in SIDES:  # without a threshold any more: the next reading clears it
        concerned |= memory.since(kind) > NEVER
    rows = np.flatnonzero(concerned[chain.key])
    if not len(rows):
        return []
    heads = chain.key[rows[heads_of(chain.key[rows])]]
    changed = heads[memory.used[heads] != limits.offset[heads]]  # how long a value was outside of another bound
    memory.over_since[changed] = memory.under_since[changed] = NEVER
    memory.used[heads] = limits.offset[heads]
    return [_judge_side(memory, limits, kind, chain, rows, message) for kind in SIDES]


def _judge_side(
    memory: Memory, limits: Limits, kind: AlarmKind, chain: Chain, rows: npt.NDArray[np.intp], message: Ints
) -> Changes:
    over = kind is AlarmKind.OVER
    bound, since = (limits.upper, memory.over_since) if over else (limits.lower, memory.under_since)
    key, value = chain.key[rows], chain.value[rows]
    outside = value > bound[key] if over else value < bound[key]
    opened = memory.since(kind)
    busy = (since > NEVER) | (opened > NEVER)
    busy[key[outside]] = True
    some = busy[key]  # all readings of channels where something is, was or may be
    if not some.any():
        return changes_of(kind, key[:0], since[:0], outside[:0], since[:0])
    rows, key, value, outside = rows[some], key[some], value[some], outside[some]
    ts, head = chain.ts[rows], heads_of(key)
    began = _run_starts(ts, outside, head, np.where(head, since[key], NEVER))
    ripe = outside & (ts - began >= limits.hold_ms[key])
    edge = bound[key] - limits.hysteresis[key] if over else bound[key] + limits.hysteresis[key]
    inside = value <= edge if over else value >= edge
    at, raises, raised_at = latch(key, ts, ripe, inside & ~outside, opened)
    last = np.append(head[1:], True)
    since[key[last]] = np.where(outside[last], began[last], NEVER)
    where = key[at]
    return changes_of(
        kind, where, ts[at], raises, raised_at,
        value=value[at], limit=bound[where], threshold=limits.offset[where], message=message[rows[at]],
    )  # fmt: skip


def _run_starts(ts: Ints, outside: Mask, head: Mask, before: Ints) -> Ints:
    """The instant of the first of the readings outside that end with each one; `before`: of a run that goes on."""
    goes_on = outside & ~head
    goes_on[1:] &= outside[:-1]
    own = np.where(before > NEVER, before, ts)
    index = np.where(goes_on, 0, np.arange(len(ts)))
    began: Ints = own[np.maximum.accumulate(index)]
    return began
