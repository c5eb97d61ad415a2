"""Rules that look at one reading alone, and what is known of a channel's rules. Pure."""

from enum import IntEnum
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from meterpipe.core.quality import Quality
from meterpipe.core.readings import Key, KeyTable, Readings
from meterpipe.spec.validation import Action, Limit, Register, Validation

HOUR_MS = 3_600_000


class Rule(IntEnum):
    """Rules by number; `title` is what metrics, quarantine and documents call them."""

    NONE = 0
    NEGATIVE = 1
    PLAUSIBILITY = 2
    CLOCK_SKEW = 3
    INTERVAL_SIZE = 4
    DUPLICATE = 5
    CONFLICT = 6
    REGISTER = 7
    MISSING = 8
    SPIKE = 9
    FLATLINE = 10

    @property
    def title(self) -> str:
        """Name for people."""
        return self.name.lower().replace("_", "-")


BITS = {
    Rule.NEGATIVE: Quality.DATA_NOT_VALID,
    Rule.PLAUSIBILITY: Quality.DATA_NOT_VALID,
    Rule.CLOCK_SKEW: Quality.CLOCK_INVALID,
    Rule.INTERVAL_SIZE: Quality.DATA_NOT_VALID,
    Rule.MISSING: Quality.POWER_DOWN,
    Rule.SPIKE: Quality.DATA_NOT_VALID,
    Rule.FLATLINE: Quality.DATA_NOT_VALID,
}
"""The flag that each rule sets on suspicious readings."""

Bits = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


_Named = TypeVar("_Named", Limit, Register)


class Channels:
    """What the rules are for each key of a table: looked up by name once, then by id."""

    def __init__(self, spec: Validation, keys: KeyTable) -> None:
        self.keys = keys
        self._spec = spec
        self._known = 0
        self.limit = np.empty(0)  # the largest plausible value; inf where there is none
        self.hourly = np.empty(0, bool)  # the limit is for an hour
        self.signed = np.empty(0, bool)  # may be negative
        self.register = np.empty(0, np.int32)  # which register of the spec, -1: none
        self.consumption = np.empty(0, np.int32)  # of a register: the key of its consumption

    def learn(self) -> None:
        """Look at the keys that are new."""
        while self._known < len(self.keys):  # a register's consumption is a key, too
            names = list(self.keys.ids)[self._known :]
            limits = [_first(self._spec.plausibility.limits, key) for key in names]
            registers = [_first(self._spec.registers, key) for key in names]
            number = [-1 if r is None else self._spec.registers.index(r) for r in registers]
            self.limit = np.append(self.limit, [np.inf if limit is None else limit.max for limit in limits])
            hourly = [limit is not None and limit.per == "hour" for limit in limits]
            self.hourly = np.append(self.hourly, np.array(hourly, bool))
            allowed = self._spec.negative.allowed
            self.signed = np.append(self.signed, np.array([key[2] in allowed for key in names], bool))
            self.register = np.append(self.register, np.array(number, np.int32))
            self._known += len(names)
            made = [
                -1 if register is None else self.keys.add((key[0], key[1], register.consumption))
                for key, register in zip(names, registers, strict=True)
            ]
            self.consumption = np.append(self.consumption, np.array(made, np.int32))


def _first(candidates: tuple[_Named, ...], key: Key) -> _Named | None:
    for one in candidates:
        if one.attribute == key[2] and one.metric in (None, key[1]):
            return one
    return None


class Screen:
    """Verdicts on a batch: the rule that refused a reading, and the flags that others set."""

    def __init__(self, count: int) -> None:
        self.rule = np.zeros(count, np.uint8)
        self.bits = np.zeros(count, np.uint8)
        self.flagged = dict[Rule, int]()

    @property
    def good(self) -> Mask:
        """Readings nobody has refused."""
        good: Mask = self.rule == 0
        return good

    def judge(self, rule: Rule, bad: Mask, action: Action) -> None:
        """Have `rule` act on the bad ones, as far as they are not refused already."""
        if action is Action.OFF or not bad.any():
            return
        bad = bad & (self.rule == 0)
        if action is Action.QUARANTINE:
            self.rule[bad] = rule
        elif count := int(bad.sum()):
            self.bits[bad] |= np.uint8(BITS[rule])
            self.flagged[rule] = self.flagged.get(rule, 0) + count


def screen_singly(spec: Validation, channels: Channels, readings: Readings, skew_ms: npt.NDArray[np.int64]) -> Screen:
    """Judge each reading by itself. `skew_ms`: how far each is ahead of its Kafka record, or a bound that is enough."""
    screen, key, value = Screen(len(readings)), readings.key, readings.value
    screen.judge(Rule.NEGATIVE, (value < 0) & ~channels.signed[key], spec.negative.action)
    if spec.plausibility.limits:
        hours = np.where(channels.hourly[key], readings.interval_s / 3600, 1.0)
        beyond = (np.abs(value) > channels.limit[key] * hours) & (hours > 0)
        screen.judge(Rule.PLAUSIBILITY, beyond, spec.plausibility.action)
    screen.judge(Rule.CLOCK_SKEW, skew_ms > spec.clock_skew.seconds * 1000, spec.clock_skew.action)
    if spec.interval_size.seconds:
        agreed = np.isin(readings.interval_s, spec.interval_size.seconds)
        screen.judge(Rule.INTERVAL_SIZE, ~agreed, spec.interval_size.action)
    return screen


def growth(register: Register, since: int, until: int) -> float:
    """The most a register can have grown between two instants (UTC ms)."""
    return register.max_per_hour * (until - since) / HOUR_MS
