"""Registers of a partition in columns: what grows as it should is settled at once, the rest one by one. Pure."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from meterpipe.core.columns import Columns
from meterpipe.core.readings import Readings
from meterpipe.core.validation.register import Counter, Held, take
from meterpipe.core.validation.rules import HOUR_MS, Channels
from meterpipe.core.validation.series import Chain
from meterpipe.spec.validation import Validation

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows(Columns):
    """Readings on their way out. `place` orders them: the batch's row x 4, and what comes before or behind it."""

    key: npt.NDArray[np.int32]
    ts: Ints
    value: npt.NDArray[np.float64]
    interval_s: npt.NDArray[np.int32]
    quality: npt.NDArray[np.uint8]
    revision: npt.NDArray[np.uint16]
    epoch: npt.NDArray[np.int32]
    place: Ints


NO_ROWS = Rows.of_dtypes(np.int32, np.int64, np.float64, np.int32, np.uint8, np.uint16, np.int32, np.int64)
RELEASED, ITSELF, FLOWED = 0, 1, 2
"""Order of what one reading brings about."""
NO_EPOCH = -1


@dataclass(slots=True)
class Bases:
    """The last accepted reading of each register, by key; `held` are the keys whose readings wait for a decision."""

    ts: Ints
    value: npt.NDArray[np.float64]
    changed: Ints
    epoch: npt.NDArray[np.int32]
    known: npt.NDArray[np.bool_]
    held: dict[int, list[Held]] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> "Bases":
        """Of no keys."""
        none = np.empty(0, np.int64)
        return cls(none, np.empty(0), none, np.empty(0, np.int32), np.empty(0, bool))

    def grow(self, size: int) -> None:
        """Make room for so many keys."""
        more = size - len(self.ts)
        if more > 0:
            self.ts, self.changed = (np.append(c, np.zeros(more, np.int64)) for c in (self.ts, self.changed))
            self.value = np.append(self.value, np.zeros(more))
            self.epoch = np.append(self.epoch, np.zeros(more, np.int32))
            self.known = np.append(self.known, np.zeros(more, bool))


@dataclass(slots=True)
class Settled:
    """What became of a chain's registers. `waits`: rows of the batch that are held or refused, and so do not pass."""

    passed: Rows
    refused: Rows
    why: list[str]
    waits: npt.NDArray[np.intp]
    epochs: npt.NDArray[np.int32]
    """Of each row of the batch; NO_EPOCH if it is none of a register's chain."""


class _Lines:
    """Rows gathered one by one."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, int, float, int, int, int, int, int]] = []

    def add(self, key: int, reading: Held, epoch: int, place: int) -> None:
        self._lines.append((key, *reading, epoch, place))

    def rows(self) -> Rows:
        if not self._lines:
            return NO_ROWS
        kinds = (np.int32, np.int64, np.float64, np.int32, np.uint8, np.uint16, np.int32, np.int64)
        return Rows(*(np.array(c, kind) for c, kind in zip(zip(*self._lines, strict=True), kinds, strict=True)))


def settle(
    spec: Validation, channels: Channels, bases: Bases, chain: Chain, readings: Readings, quality: npt.NDArray[np.uint8]
) -> Settled:
    """Take the registers' rows of a chain. `quality`: of the readings, the flags set by now included."""
    epochs = np.full(len(readings), NO_EPOCH, np.int32)
    mine = np.flatnonzero(channels.register[chain.key] >= 0) if spec.registers else np.empty(0, np.intp)
    if not len(mine):
        return Settled(NO_ROWS, NO_ROWS, [], np.empty(0, np.intp), epochs)
    row, key, ts, value, head = chain.row[mine], chain.key[mine], chain.ts[mine], chain.value[mine], chain.head[mine]
    since = np.where(head, bases.ts[key], np.append(0, ts[:-1]))
    before = np.where(head, bases.value[key], np.append(0.0, value[:-1]))
    most = np.array([register.max_per_hour for register in spec.registers])[channels.register[key]]
    amount = value - before
    clean = (amount >= 0) & (amount <= most * (ts - since) / HOUR_MS)
    clean &= ~head | bases.known[key]
    if bases.held:
        clean &= ~(head & np.isin(key, np.fromiter(bases.held, np.int32, len(bases.held))))
    ends = np.append(np.flatnonzero(head)[1:], len(row))
    epoch = bases.epoch[key].copy()
    moved = np.flatnonzero(value != before)
    flowing = _Flowing(spec, channels, bases, readings, quality)
    settled = ~clean
    resume = 0
    changed = _changed(bases, key, ts, head, value != before)
    for at in np.flatnonzero(~clean).tolist():
        if at < resume:
            continue
        end = int(ends[np.searchsorted(ends, at, "right")])
        counter = flowing.counter(at, head, key, since, before, changed, epoch)
        resume = at
        while resume < end and (resume == at or counter.held or not clean[resume]):
            flowing.take(counter, int(key[at]), int(row[resume]))
            settled[resume] = True
            resume += 1
        epoch[at:end] = counter.epoch
        flowing.leave(counter, int(key[at]))
        if resume < end:  # the next ones go on from here: what they know of changes is the counter's
            later = moved[np.searchsorted(moved, resume) :]
            stop = int(later[0]) if len(later) and later[0] < end else end
            changed[resume : stop + 1 if stop < end else end] = counter.changed_ts
    _take_clean(bases, key, ts, value, head, changed, epoch, settled, value != before)
    good = np.flatnonzero(~settled)
    made = row[good]
    derived = Rows(
        channels.consumption[key[good]],
        since[good],
        amount[good],
        np.minimum((ts[good] - since[good]) // 1000, 2**31 - 1).astype(np.int32),
        quality[made],
        readings.revision[made],
        np.full(len(good), NO_EPOCH, np.int32),
        made.astype(np.int64) * 4 + FLOWED,
    )
    epochs[row] = epoch
    passed = Rows.concat([NO_ROWS, flowing.passed.rows(), derived])
    return Settled(passed, flowing.refused.rows(), flowing.why, row[settled], epochs)


def _changed(
    bases: Bases, key: npt.NDArray[np.int32], ts: Ints, head: npt.NDArray[np.bool_], moves: npt.NDArray[np.bool_]
) -> Ints:
    """Since when the value *before* each row has been what it is, as long as all rows are accepted."""
    index = np.arange(len(key))
    first = np.maximum.accumulate(np.where(head, index, 0))
    last = np.maximum.accumulate(np.where(moves, index, -1))
    last = np.append(-1, last[:-1])
    return np.where(last >= first, ts[np.maximum(last, 0)], bases.changed[key])


def _take_clean(
    bases: Bases,
    key: npt.NDArray[np.int32],
    ts: Ints,
    value: npt.NDArray[np.float64],
    head: npt.NDArray[np.bool_],
    changed: Ints,
    epoch: npt.NDArray[np.int32],
    settled: npt.NDArray[np.bool_],
    moves: npt.NDArray[np.bool_],
) -> None:
    """Keep the last row of each register, unless it was taken by itself."""
    last = np.flatnonzero(np.append(head[1:], True) & ~settled)
    keys = key[last]
    bases.ts[keys], bases.value[keys], bases.epoch[keys] = ts[last], value[last], epoch[last]
    bases.changed[keys] = np.where(moves[last], ts[last], changed[last])


class _Flowing:
    """Takes registers reading by reading and gathers what comes of it."""

    def __init__(
        self,
        spec: Validation,
        channels: Channels,
        bases: Bases,
        readings: Readings,
        quality: npt.NDArray[np.uint8],
    ) -> None:
        self.passed, self.refused, self.why = _Lines(), _Lines(), list[str]()
        self._spec, self._channels, self._bases = spec, channels, bases
        self._readings, self._quality = readings, quality

    def counter(
        self,
        at: int,
        head: npt.NDArray[np.bool_],
        key: npt.NDArray[np.int32],
        since: Ints,
        before: npt.NDArray[np.float64],
        changed: Ints,
        epoch: npt.NDArray[np.int32],
    ) -> Counter:
        """The register of row `at`, as it was before it."""
        number = int(key[at])
        known = bool(self._bases.known[number]) if head[at] else True
        held = self._bases.held.pop(number, []) if head[at] else []
        return Counter(int(since[at]), float(before[at]), int(changed[at]), int(epoch[at]), known, held)

    def leave(self, counter: Counter, key: int) -> None:
        """Keep the state; what clean rows behind it change is written later."""
        bases = self._bases
        bases.ts[key], bases.value[key], bases.changed[key] = counter.base_ts, counter.base, counter.changed_ts
        bases.epoch[key], bases.known[key] = counter.epoch, counter.known
        if counter.held:
            bases.held[key] = counter.held

    def take(self, counter: Counter, key: int, row: int) -> None:
        """One reading."""
        r = self._readings
        reading = (
            int(r.ts[row]), float(r.value[row]), int(r.interval_s[row]), int(self._quality[row]), int(r.revision[row])
        )  # fmt: skip
        register = self._spec.registers[self._channels.register[key]]
        base, base_ts = counter.base, counter.base_ts
        verdict = take(register, counter, reading)
        for one in verdict.refused:
            self.refused.add(key, one, NO_EPOCH, row * 4 + RELEASED)
            self.why.append(f"{one[1]} does not go on from {base} at {base_ts}, and nothing went on from it")
        for one in verdict.passed:
            own = verdict.at_once and one is verdict.passed[-1]
            self.passed.add(key, one, counter.epoch, row * 4 + (ITSELF if own else RELEASED))
        consumption = int(self._channels.consumption[key])
        for since, until, amount in verdict.flowed:
            source = next((one for one in verdict.passed if one[0] == until), reading)
            flowed = (since, amount, min((until - since) // 1000, 2**31 - 1), source[3], source[4])
            self.passed.add(consumption, flowed, NO_EPOCH, row * 4 + (FLOWED if until == reading[0] else RELEASED))
