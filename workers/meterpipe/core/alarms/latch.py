"""Alarms as latches: what raises one, what clears it, over rows sorted by channel. Pure."""

import numpy as np
import numpy.typing as npt

from meterpipe.core.alarms.events import AlarmKind
from meterpipe.core.alarms.memory import NO_CHANGES, NUMBER, Changes, Floats, Ints, Keys, Mask
from meterpipe.core.alarms.thresholds import NO_THRESHOLD
from meterpipe.core.validation.series import NEVER


def heads_of(key: Keys) -> Mask:
    """Where another key begins, of sorted keys."""
    return np.append(True, key[1:] != key[:-1]) if len(key) else np.empty(0, bool)


def latch(key: Keys, at: Ints, on: Mask, off: Mask, since: Ints) -> tuple[npt.NDArray[np.intp], Mask, Ints]:
    """The rows where an alarm is raised (`on` while it is not open) or cleared (`off` while it is), in order.

    Rows are sorted by key; `since` tells by key since when it is open, NEVER: not, and is brought up to date. Gives the
    rows, whether each raises, and since when the alarm is or was open.
    """
    decisive = np.flatnonzero(on | off)
    if not len(decisive):
        return decisive, np.empty(0, bool), np.empty(0, np.int64)
    name, raises, when = key[decisive], on[decisive], at[decisive]
    head = heads_of(name)
    before = np.where(head, since[name] > NEVER, np.append(False, raises[:-1]))
    turns = np.flatnonzero(raises != before)
    rows, name, raises, when = decisive[turns], name[turns], raises[turns], when[turns]
    head = heads_of(name)
    opened = np.where(raises, when, np.where(head, since[name], np.append(NEVER, when[:-1])))
    last = np.append(head[1:], True)[: len(name)]
    since[name[last]] = np.where(raises[last], when[last], NEVER)
    return rows, raises, opened


def changes_of(
    kind: AlarmKind,
    key: Keys,
    at: Ints,
    raises: Mask,
    raised_at: Ints,
    *,
    value: Floats | None = None,
    limit: Floats | float = np.nan,
    threshold: Ints | None = None,
    message: Ints | None = None,
) -> Changes:
    """Changes of one kind; what is not told is none."""
    count = len(key)
    if not count:
        return NO_CHANGES
    return Changes(
        key.astype(np.int32),
        np.full(count, NUMBER[kind], np.uint8),
        raises,
        at,
        raised_at,
        np.full(count, np.nan) if value is None else value,
        np.broadcast_to(np.asarray(limit, np.float64), (count,)),
        np.full(count, NO_THRESHOLD) if threshold is None else threshold,
        np.full(count, -1) if message is None else message,
    )
