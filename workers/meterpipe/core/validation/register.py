"""One cumulative counter, reading by reading: what goes on from the last accepted reading, and what does not. Pure.

A counter wraps, is exchanged, and glitches. A reading that does not go on from the last accepted one is held. If the
next goes on from the accepted one again, what was held was a glitch: it is refused, and nothing is counted twice. If
as many readings in a row as agreed go on from one another, they are a new meter (or one set back): a new epoch begins
with the first of them, and what flowed between the epochs is not known.
"""

from dataclasses import dataclass, field
from itertools import pairwise

from meterpipe.core.validation.rules import growth
from meterpipe.spec.validation import Register

NEARLY = 0.9
"""Share of the register's range above which it may wrap."""
PATIENCE = 4
"""Times `exchange_after`: so many readings are held at most; older ones are refused."""

Held = tuple[int, float, int, int, int]
"""A reading that waits: ts, value, interval_s, quality, revision."""


@dataclass(slots=True)
class Counter:
    """The state of one register. `changed_ts`: when its value was first seen as it is. No base: nothing is known."""

    base_ts: int
    base: float
    changed_ts: int
    epoch: int
    known: bool
    held: list[Held] = field(default_factory=list)


@dataclass(slots=True)
class Verdict:
    """What one reading brings about. `passed`, `refused`: readings; `flowed`: (from ts, until ts, amount)."""

    passed: list[Held] = field(default_factory=list)
    refused: list[Held] = field(default_factory=list)
    flowed: list[tuple[int, int, float]] = field(default_factory=list)
    at_once: bool = False
    """Whether the reading itself is accepted: it is the last of `passed`."""


def take(register: Register, counter: Counter, reading: Held) -> Verdict:
    """Have `counter` take the next reading in time."""
    ts, value = reading[0], reading[1]
    verdict = Verdict()
    if not counter.known:
        counter.base_ts, counter.base, counter.changed_ts, counter.known = ts, value, ts, True
        verdict.passed, verdict.at_once = [reading], True
        return verdict
    amount = _amount(register, counter, ts, value)
    if amount is not None:
        verdict.refused, counter.held = counter.held, []
        verdict.flowed.append((counter.base_ts, ts, amount))
        if value != counter.base:
            counter.changed_ts = ts
        counter.base_ts, counter.base = ts, value
        verdict.passed, verdict.at_once = [reading], True
        return verdict
    if not counter.held or not _goes_on(register, counter.held[-1], reading):
        verdict.refused, counter.held = counter.held, [reading]
        return verdict
    counter.held.append(reading)
    if len(counter.held) >= register.exchange_after and value > counter.held[0][1]:
        _exchange(counter, verdict)
    elif len(counter.held) > PATIENCE * register.exchange_after:
        verdict.refused.append(counter.held.pop(0))
    return verdict


def _amount(register: Register, counter: Counter, ts: int, value: float) -> float | None:
    """What flowed since the last accepted reading; None if `value` does not go on from it."""
    possible = growth(register, counter.changed_ts, ts)
    amount = value - counter.base
    if amount < 0 and counter.base > NEARLY * register.wraps_at:
        amount += register.wraps_at
    return amount if 0 <= amount <= possible else None


def _goes_on(register: Register, before: Held, reading: Held) -> bool:
    return 0 <= reading[1] - before[1] <= growth(register, before[0], reading[0])


def _exchange(counter: Counter, verdict: Verdict) -> None:
    held, counter.held = counter.held, []
    counter.epoch += 1
    verdict.passed, verdict.at_once = held, True
    for before, after in pairwise(held):
        verdict.flowed.append((before[0], after[0], after[1] - before[1]))
    ts, value = held[-1][0], held[-1][1]
    counter.base_ts, counter.base = ts, value
    counter.changed_ts = min(reading[0] for reading in held if reading[1] == value)
