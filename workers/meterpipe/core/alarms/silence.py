"""SILENCE: channels that send nothing any more. Pure."""

import numpy as np

from meterpipe.core.alarms.events import AlarmKind
from meterpipe.core.alarms.latch import changes_of
from meterpipe.core.alarms.memory import FOREVER, Changes, Ints, Keys, Mask, Memory
from meterpipe.core.validation.series import NEVER, Chain
from meterpipe.spec.alarms import Silence


def hear(
    rule: Silence, memory: Memory, watched: Mask, chain: Chain, interval_s: Keys, passed: Ints, message: Ints
) -> Changes:
    """Take in a chain: readings clear what is open, and what would have been raised before them, too.

    `passed`: the watermark just before each row; `interval_s`, `message`: of each row.
    """
    key, ts = chain.key, chain.ts
    if not len(key):
        return changes_of(AlarmKind.SILENCE, key, ts, np.empty(0, bool), ts)
    step = np.where(interval_s > 0, interval_s, 0) if rule.interval is None else np.full(len(ts), rule.interval)
    wait = np.rint(step * (1000.0 * rule.intervals)).astype(np.int64)
    deadline = np.where((wait > 0) & watched[key], ts + wait, FOREVER)
    since = memory.since(AlarmKind.SILENCE)
    before = np.where(chain.head, memory.deadline[key], np.append(FOREVER, deadline[:-1]))
    is_open = chain.head & (since[key] > NEVER)
    due = ~is_open & (before <= passed)
    raised_at = np.where(is_open, since[key], before)
    raises, clears = np.flatnonzero(due), np.flatnonzero(due | is_open)
    last = np.append(chain.head[1:], True)
    memory.deadline[key[last]] = deadline[last]
    since[key[last]] = NEVER
    rows = np.concatenate([raises, clears])
    begins = np.append(np.ones(len(raises), bool), np.zeros(len(clears), bool))
    order = np.lexsort((~begins, rows))  # a reading clears what was raised before it
    rows, begins = rows[order], begins[order]
    return changes_of(
        AlarmKind.SILENCE, key[rows], np.where(begins, before[rows], ts[rows]), begins, raised_at[rows],
        value=np.where(begins, np.nan, chain.value[rows]), message=np.where(begins, -1, message[rows]),
    )  # fmt: skip


def fall_silent(memory: Memory, watermark: int) -> Changes:
    """Raise the alarm of channels that have said nothing until their deadline, which the watermark has reached."""
    since = memory.since(AlarmKind.SILENCE)
    key = np.flatnonzero((memory.deadline <= watermark) & (since == NEVER)).astype(np.int32)
    at = memory.deadline[key]
    since[key] = at
    return changes_of(AlarmKind.SILENCE, key, at, np.ones(len(key), bool), at)
