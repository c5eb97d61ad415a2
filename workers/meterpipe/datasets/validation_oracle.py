"""What the validation must make of a log of readings: its rules told again, a reading at a time, without its code.

Slow and plain on purpose. Tests compare the worker with this.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from meterpipe.spec.validation import Action, Limit, Register, Validation

NOT_VALID, BAD_CLOCK, GAP = 4, 2, 128
"""Flags of DLMS: data not valid, clock invalid, power down."""


class Reading(NamedTuple):
    """One reading; `appended` is the time of its Kafka record, UTC ms."""

    meter: str
    metric: str
    attribute: str
    ts: int
    value: float
    interval_s: int = 0
    quality: int = 0
    revision: int = 0
    appended: int = 2**62


class Passed(NamedTuple):
    """A reading on the valid topic. `epoch`: of a register."""

    meter: str
    metric: str
    attribute: str
    ts: int
    value: float
    interval_s: int
    quality: int
    revision: int
    epoch: int | None


class Refused(NamedTuple):
    """A reading in quarantine."""

    meter: str
    metric: str
    attribute: str
    ts: int
    value: float
    rule: str


@dataclass(slots=True)
class _Counter:
    """A register."""

    last: tuple[int, float]
    since: int
    epoch: int = 0
    waiting: list[Reading] = field(default_factory=list)


@dataclass(slots=True)
class _Channel:
    """All that is known of a channel."""

    seen: dict[int, tuple[tuple[int, int], float]] = field(default_factory=dict)
    chain: list[tuple[int, float]] = field(default_factory=list)
    counter: _Counter | None = None


class Oracle:
    """Takes readings in the order of the log."""

    def __init__(self, spec: Validation) -> None:
        self._spec = spec
        self._channels: dict[tuple[str, str, str], _Channel] = {}
        self.passed: list[Passed] = []
        self.refused: list[Refused] = []

    @property
    def waiting(self) -> int:
        """Readings of registers that are not decided."""
        return sum(len(c.counter.waiting) for c in self._channels.values() if c.counter)

    def take_all(self, readings: Iterable[Reading]) -> "Oracle":
        """Take many."""
        for reading in readings:
            self.take(reading)
        return self

    def take(self, reading: Reading) -> None:
        """Take one."""
        channel = self._channels.setdefault(reading[:3], _Channel())
        rule, flags = self._alone(reading)
        newest = channel.chain[-1][0] if channel.chain else None
        if rule is None and newest is not None and reading.ts <= newest:
            rule = self._again(channel, reading, newest)
        if rule is not None:
            self.refused.append(Refused(*reading[:5], rule))
            return
        if newest is not None and reading.ts <= newest:
            self._pass(reading, flags, None)
            return
        register = _of(self._spec.registers, reading)
        flags |= self._in_line(channel, reading, register is not None)
        channel.chain.append((reading.ts, reading.value))
        if self._spec.remember:
            channel.seen[reading.ts] = _rank(reading), reading.value
        flagged = reading._replace(quality=reading.quality | flags)
        if register is None:
            self._pass(reading, flags, None)
        elif channel.counter is None:
            channel.counter = _Counter((reading.ts, reading.value), reading.ts)
            self._pass(reading, flags, 0)
        else:
            self._count(register, channel.counter, flagged)

    def _alone(self, reading: Reading) -> tuple[str | None, int]:
        """The rule that refuses it, else its flags."""
        spec, flags = self._spec, 0
        limit = _of(spec.plausibility.limits, reading)
        beyond = False
        if limit is not None:
            hours = reading.interval_s / 3600 if limit.per == "hour" else 1.0
            beyond = hours > 0 and abs(reading.value) > limit.max * hours
        sizes = spec.interval_size.seconds
        broken = [
            (
                "negative",
                spec.negative.action,
                reading.value < 0 and reading.attribute not in spec.negative.allowed,
                NOT_VALID,
            ),
            ("plausibility", spec.plausibility.action, beyond, NOT_VALID),
            (
                "clock-skew",
                spec.clock_skew.action,
                reading.ts - reading.appended > spec.clock_skew.seconds * 1000,
                BAD_CLOCK,
            ),
            ("interval-size", spec.interval_size.action, bool(sizes) and reading.interval_s not in sizes, NOT_VALID),
        ]
        for rule, action, bad, flag in broken:
            if bad and action is Action.QUARANTINE:
                return rule, flags
            if bad and action is Action.FLAG:
                flags |= flag
        return None, flags

    def _again(self, channel: _Channel, reading: Reading, newest: int) -> str | None:
        """Whether it is a duplicate or a loser; readings from before what is remembered are neither."""
        spec = self._spec
        if not spec.remember or reading.ts < newest - spec.remember * 1000:
            return None
        before = channel.seen.get(reading.ts)
        mine = _rank(reading), reading.value
        if before is None or mine[0] > before[0]:
            channel.seen[reading.ts] = mine
            return None
        rule, action = ("conflict", spec.conflict.action)
        if before[1] == mine[1]:
            rule, action = ("duplicate", spec.duplicate.action)
        return rule if action is Action.QUARANTINE else None

    def _in_line(self, channel: _Channel, reading: Reading, register: bool) -> int:
        """Flags that depend on the readings before it."""
        spec, flags, chain = self._spec, 0, channel.chain
        step = spec.missing.interval or reading.interval_s
        if chain and step and spec.missing.action is Action.FLAG:
            flags |= GAP if reading.ts - chain[-1][0] > step * 1000.0 * spec.missing.after else 0
        if register:
            return flags
        size = abs(reading.value)
        if len(chain) >= 3 and spec.spike.action is Action.FLAG and size > spec.spike.floor:
            flags |= NOT_VALID if size > spec.spike.factor * max(abs(value) for _, value in chain[-3:]) else 0
        if spec.flatline.action is Action.FLAG and reading.value != 0:
            run = 1
            while run < spec.flatline.readings and run <= len(chain) and chain[-run][1] == reading.value:
                run += 1
            flags |= NOT_VALID if run >= spec.flatline.readings else 0
        return flags

    def _count(self, register: Register, counter: _Counter, reading: Reading) -> None:
        """A further reading of a register."""
        last_ts, last = counter.last
        most = register.max_per_hour * (reading.ts - counter.since) / 3_600_000
        flowed = reading.value - last
        if flowed < 0 and last > 0.9 * register.wraps_at:
            flowed += register.wraps_at
        if 0 <= flowed <= most:
            self._refuse_waiting(counter)
            self._pass(reading, 0, counter.epoch)
            self._flow(register, reading, last_ts, flowed)
            counter.since = reading.ts if reading.value != last else counter.since
            counter.last = reading.ts, reading.value
            return
        if counter.waiting:
            before = counter.waiting[-1]
            step = reading.value - before.value
            if not 0 <= step <= register.max_per_hour * (reading.ts - before.ts) / 3_600_000:
                self._refuse_waiting(counter)
        counter.waiting.append(reading)
        first = counter.waiting[0]
        if len(counter.waiting) >= register.exchange_after and reading.value > first.value:
            counter.epoch += 1
            for i, one in enumerate(counter.waiting):
                self._pass(one, 0, counter.epoch)
                if i:
                    earlier = counter.waiting[i - 1]
                    self._flow(register, one, earlier.ts, one.value - earlier.value)
            counter.since = next(one.ts for one in counter.waiting if one.value == reading.value)
            counter.last, counter.waiting = (reading.ts, reading.value), []
        elif len(counter.waiting) > 4 * register.exchange_after:
            self.refused.append(Refused(*counter.waiting.pop(0)[:5], "register"))

    def _refuse_waiting(self, counter: _Counter) -> None:
        self.refused += [Refused(*one[:5], "register") for one in counter.waiting]
        counter.waiting = []

    def _pass(self, reading: Reading, flags: int, epoch: int | None) -> None:
        self.passed.append(
            Passed(*reading[:6], quality=reading.quality | flags, revision=reading.revision, epoch=epoch)
        )

    def _flow(self, register: Register, reading: Reading, since: int, flowed: float) -> None:
        span = (reading.ts - since) // 1000
        made = (reading.meter, reading.metric, register.consumption, since, flowed, span)
        self.passed.append(Passed(*made, quality=reading.quality, revision=reading.revision, epoch=None))


def _of(candidates: tuple[Limit, ...] | tuple[Register, ...], reading: Reading):  # type: ignore[no-untyped-def]
    for one in candidates:
        if one.attribute == reading.attribute and one.metric in (None, reading.metric):
            return one
    return None


def _rank(reading: Reading) -> tuple[int, int]:
    """Revision, then quality; higher wins."""
    worse = [(1, 6), (4, 5), (2, 4), (16, 3), (64, 2), (32, 1)]
    return reading.revision, -next((level for flag, level in worse if reading.quality & flag), 0)
