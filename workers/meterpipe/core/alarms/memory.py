"""What is known of each channel, in columns by key; and what a batch changes of it. Pure."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from meterpipe.core.alarms.events import AlarmKind
from meterpipe.core.alarms.thresholds import NO_THRESHOLD
from meterpipe.core.columns import Columns
from meterpipe.core.validation.series import BEFORE, NEVER, Series

KINDS = tuple(AlarmKind)
NUMBER = {kind: number for number, kind in enumerate(KINDS)}
FOREVER = np.iinfo(np.int64).max // 2
"""The deadline of a channel that is not waited for."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Keys = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Changes(Columns):
    """Alarms raised and cleared; those of one channel and kind in order."""

    key: Keys
    kind: npt.NDArray[np.uint8]
    raised: Mask  # else cleared
    at: Ints
    raised_at: Ints
    value: Floats  # NaN: none
    limit: Floats  # not finite: none
    threshold: Ints  # offset of its record, NO_THRESHOLD: none
    message: Ints  # index in the batch of that which held the reading, -1: none


NO_CHANGES = Changes.of_dtypes(
    np.int32, np.uint8, np.bool_, np.int64, np.int64, np.float64, np.float64, np.int64, np.int64
)


@dataclass(frozen=True, slots=True)
class ChannelStates(Columns):
    """All that is known of some channels: what the changelog holds."""

    key: Keys
    newest: Ints
    values: Floats  # shape (n x BEFORE,), the last one first
    count: npt.NDArray[np.uint8]  # of those values
    flat: npt.NDArray[np.int32]  # equal values, not zero, at the end
    used: Ints  # offset of the threshold that its newest reading was judged by
    over_since: Ints  # instant of the first of the readings above the upper bound that end with the newest
    under_since: Ints
    deadline: Ints  # when it is silent
    night_end: Ints  # of the night that is not judged yet, FOREVER: none
    night_low: Floats
    night_count: npt.NDArray[np.int32]
    dry: Mask  # the last night that was judged had a pause
    raised: Ints  # shape (n x kinds,): since when each alarm is open, NEVER: it is not


class Memory:
    """The columns, growing with the keys."""

    def __init__(self) -> None:
        self.series = Series.empty()
        self.used = np.empty(0, np.int64)
        self.over_since, self.under_since = np.empty(0, np.int64), np.empty(0, np.int64)
        self.deadline, self.night_end = np.empty(0, np.int64), np.empty(0, np.int64)
        self.night_low, self.night_count = np.empty(0), np.empty(0, np.int32)
        self.dry = np.empty(0, bool)
        self.raised = np.empty((0, len(KINDS)), np.int64)

    def grow(self, size: int) -> None:
        """Make room for so many keys."""
        more = size - len(self.used)
        if more <= 0:
            return
        self.series.grow(size)
        self.used = np.append(self.used, np.full(more, NO_THRESHOLD))
        self.over_since = np.append(self.over_since, np.full(more, NEVER))
        self.under_since = np.append(self.under_since, np.full(more, NEVER))
        self.deadline = np.append(self.deadline, np.full(more, FOREVER))
        self.night_end = np.append(self.night_end, np.full(more, FOREVER))
        self.night_low = np.append(self.night_low, np.zeros(more))
        self.night_count = np.append(self.night_count, np.zeros(more, np.int32))
        self.dry = np.append(self.dry, np.zeros(more, bool))
        self.raised = np.concatenate([self.raised, np.full((more, len(KINDS)), NEVER)])

    def since(self, kind: AlarmKind) -> Ints:
        """By key: since when the alarm is open, NEVER if it is not. A view."""
        return self.raised[:, NUMBER[kind]]

    def of(self, ids: npt.NDArray[np.int32]) -> ChannelStates:
        """What is known of some keys."""
        series = self.series
        return ChannelStates(
            ids, series.newest[ids], series.values[ids].ravel(), series.count[ids], series.flat[ids], self.used[ids],
            self.over_since[ids], self.under_since[ids], self.deadline[ids], self.night_end[ids], self.night_low[ids],
            self.night_count[ids], self.dry[ids], self.raised[ids].ravel(),
        )  # fmt: skip

    def load(self, states: ChannelStates) -> None:
        """Put back what `of` gave; there must be room."""
        series, ids = self.series, states.key
        series.newest[ids], series.count[ids], series.flat[ids] = states.newest, states.count, states.flat
        series.values[ids] = states.values.reshape(-1, BEFORE)
        self.used[ids], self.over_since[ids] = states.used, states.over_since
        self.under_since[ids], self.deadline[ids] = states.under_since, states.deadline
        self.night_end[ids], self.night_low[ids] = states.night_end, states.night_low
        self.night_count[ids], self.dry[ids] = states.night_count, states.dry
        self.raised[ids] = states.raised.reshape(-1, len(KINDS))
