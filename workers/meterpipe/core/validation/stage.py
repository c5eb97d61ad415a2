"""One partition of the validation: messages in; valid readings, refused ones and the changelog out. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterpipe.core.aggregates import to_ipc
from meterpipe.core.codecs import Admit, Decoder, admit_any
from meterpipe.core.deadletters import Reject
from meterpipe.core.partition import screen_ahead
from meterpipe.core.readings import READING_SCHEMA, KeyTable, Readings, named
from meterpipe.core.validation.counters import ITSELF, NO_EPOCH, NO_ROWS, Bases, Rows, settle
from meterpipe.core.validation.memory import Instants, Memory
from meterpipe.core.validation.rules import Channels, Rule, Screen, screen_singly
from meterpipe.core.validation.series import Series, chain_of, judge_series, running_newest
from meterpipe.spec.validation import Validation

EPOCH_FIELD = pa.field("epoch", pa.int32())
RULE_FIELD, REASON_FIELD = pa.field("rule", pa.string()), pa.field("reason", pa.string())


class Tally(msgspec.Struct, frozen=True, rename="camel"):
    """What became of the readings since the pipeline began: raw = valid + quarantined + dead letters + held.

    `consumption`: readings made of registers; they come on top. `held`: registers' readings that wait for a decision.
    """

    raw: int = 0
    valid: int = 0
    quarantined: int = 0
    dead_letters: int = 0
    held: int = 0
    consumption: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Tally(*(a + b for a, b in pairs))

    @property
    def missing(self) -> int:
        """Readings unaccounted for: 0, or something is wrong."""
        return self.raw - self.valid - self.quarantined - self.dead_letters - self.held


@dataclass(frozen=True, slots=True)
class Judged:
    """What becomes of some messages, in this order: readings that pass, and then the event time reached (UTC ms)."""

    passed: list[tuple[Rows, int | None]] = field(default_factory=list)
    refused: list[tuple[Rows, list[Rule], list[str]]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    by_rule: dict[tuple[Rule, str], int] = field(default_factory=dict)
    """Readings refused or flagged."""


class Judge:
    """The rules of one partition, and what they have to remember."""

    def __init__(self, spec: Validation) -> None:
        self.spec = spec
        self.keys = KeyTable()
        self.channels = Channels(spec, self.keys)
        self.series, self.bases = Series.empty(), Bases.empty()
        self.memory = Memory(spec.remember * 1000)
        self.touched: list[npt.NDArray[np.int32]] = []  # keys whose state has changed
        self.remembered: list[Instants] = []  # what was added to the memory

    def grow(self) -> None:
        """Take in the keys that are new."""
        self.channels.learn()
        self.series.grow(len(self.keys))
        self.bases.grow(len(self.keys))

    def judge(self, readings: Readings, skew_ms: npt.NDArray[np.int64], out: Judged) -> Rows:
        """Judge readings of consecutive messages; those that pass, in order. What is refused goes to `out`."""
        self.grow()
        spec, series = self.spec, self.series
        screen = screen_singly(spec, self.channels, readings, skew_ms)
        order = np.argsort(readings.key, kind="stable")
        key, ts = readings.key[order], readings.ts[order]
        good = screen.good[order]
        seen = running_newest(key, ts, good, series.newest)
        young = good & (ts > seen)
        span = spec.remember * 1000
        if span:
            asked = good & ~young & (ts >= seen - span)
            added = self.memory.settle(spec, readings, order, young, asked, screen)
            self.memory.add(added)
            self.remembered.append(added)
        rows = order[young]
        chain = chain_of(rows, readings.key[rows], readings.ts[rows], readings.value[rows], series.newest)
        judge_series(spec, self.channels, series, chain, readings.interval_s, screen)
        quality = readings.quality | screen.bits
        settled = settle(spec, self.channels, self.bases, chain, readings, quality)
        self.touched.append(chain.key[chain.head])
        self.memory.prune(series.newest)
        passing = screen.rule == 0
        passing[settled.waits] = False
        at = np.flatnonzero(passing)
        plain = _rows(readings, quality, at, settled.epochs)
        passed = Rows.concat([plain, settled.passed]) if len(settled.passed) else plain
        if len(settled.passed):
            passed = passed.take(np.argsort(passed.place, kind="stable"))
        self._report(screen, readings, settled.refused, settled.why, out)
        return passed

    def _report(self, screen: Screen, readings: Readings, refused: Rows, why: list[str], out: Judged) -> None:
        for rule, count in screen.flagged.items():
            out.by_rule[rule, "flag"] = out.by_rule.get((rule, "flag"), 0) + count
        bad = np.flatnonzero(screen.rule)
        if not len(bad) and not len(refused):
            return
        rows = Rows.concat([NO_ROWS, _rows(readings, readings.quality, bad, np.full(len(readings), NO_EPOCH)), refused])
        rules = [Rule(number) for number in screen.rule[bad].tolist()]
        reasons = [_reason(self.spec, rule, readings, row) for rule, row in zip(rules, bad.tolist(), strict=True)]
        rules += [Rule.REGISTER] * len(refused)
        out.refused.append((rows, rules, reasons + why))
        for rule in rules:
            out.by_rule[rule, "quarantine"] = out.by_rule.get((rule, "quarantine"), 0) + 1


def _rows(
    readings: Readings, quality: npt.NDArray[np.uint8], at: npt.NDArray[np.intp], epochs: npt.NDArray[np.int32]
) -> Rows:
    return Rows(
        readings.key[at],
        readings.ts[at],
        readings.value[at],
        readings.interval_s[at],
        quality[at],
        readings.revision[at],
        epochs[at].astype(np.int32),
        at.astype(np.int64) * 4 + ITSELF,
    )


def _reason(spec: Validation, rule: Rule, readings: Readings, row: int) -> str:
    value, interval = float(readings.value[row]), int(readings.interval_s[row])
    if rule is Rule.NEGATIVE:
        return f"{value} is negative"
    if rule is Rule.PLAUSIBILITY:
        return f"{value} is beyond the limit (interval {interval} s)"
    if rule is Rule.CLOCK_SKEW:
        return f"more than {spec.clock_skew.seconds} s ahead of its record"
    if rule is Rule.INTERVAL_SIZE:
        return f"covers {interval} s, agreed are {', '.join(map(str, spec.interval_size.seconds))}"
    if rule is Rule.DUPLICATE:
        return f"{value} at {int(readings.ts[row])} is there already"
    return f"{value} at {int(readings.ts[row])} loses against the reading that is there"


def ahead_of_record(readings: Readings, arrived: npt.NDArray[np.int64], tolerance_ms: int) -> npt.NDArray[np.int64]:
    """How far each reading is ahead of its record, in ms; where none is by more than the tolerance, a bound is told."""
    if not len(readings) or int(readings.ts.max()) <= int(arrived.min()) + tolerance_ms:
        return np.zeros(len(readings), np.int64)
    return readings.ts - arrived[readings.message]


class Stage:
    """Decodes messages and judges their readings; minds control records between them."""

    def __init__(self, spec: Validation, decoder: Decoder, max_ahead_ms: int, admit: Admit = admit_any) -> None:
        self.judge = Judge(spec)
        self.tally = Tally()
        self._decoder, self._max_ahead_ms, self._admit = decoder, max_ahead_ms, admit

    def take(self, values: Sequence[bytes | None], arrived: npt.NDArray[np.int64]) -> Judged:
        """Take messages in log order."""
        decoded = self._decoder.decode(values, self.judge.keys, self._admit)
        readings, ahead = screen_ahead(decoded.readings, arrived, self._max_ahead_ms)
        out = Judged(rejects=sorted(decoded.rejects + ahead, key=lambda reject: reject.message))
        skew = ahead_of_record(readings, arrived, self.judge.spec.clock_skew.seconds * 1000)
        start = 0
        for message, event_time in [*decoded.controls, (len(values), None)]:
            cut = int(np.searchsorted(readings.message, message))
            some = slice(start, cut)
            passed = self.judge.judge(readings.take(some), skew[some], out) if cut > start else NO_ROWS
            out.passed.append((passed, event_time))
            start = cut
        self._count(readings, out)
        return out

    def _count(self, readings: Readings, out: Judged) -> None:
        dead = sum(reject.count for reject in out.rejects)
        passed = sum(len(rows) for rows, _ in out.passed)
        refused = sum(len(rows) for rows, _, _ in out.refused)
        held = sum(map(len, self.judge.bases.held.values())) - self.tally.held
        made = passed + refused + held - len(readings)
        self.tally += Tally(len(readings) + dead, passed - made, refused, dead, held, made)


MAX_ROWS, MAX_BYTES = 16_384, 900_000
"""Of an envelope; brokers take 1 MB by default. A row takes about 40 bytes beside its words."""


def encode_passed(rows: Rows, keys: KeyTable) -> list[bytes]:
    """Readings that pass as envelopes."""
    cuts = range(0, len(rows), MAX_ROWS)
    return [message for at in cuts for message in _pieces(rows.take(slice(at, at + MAX_ROWS)), keys)]


def _pieces(rows: Rows, keys: KeyTable) -> list[bytes]:
    message = to_ipc(passed_to_arrow(rows, keys))
    if len(message) <= MAX_BYTES or len(rows) == 1:
        return [message]
    half = len(rows) // 2
    return [*_pieces(rows.take(slice(0, half)), keys), *_pieces(rows.take(slice(half, None)), keys)]


def passed_to_arrow(rows: Rows, keys: KeyTable) -> pa.RecordBatch:
    """Readings that pass, with the epoch of registers; null where there is none."""
    columns = _columns(rows, keys)
    epoch = pa.array(rows.epoch, mask=rows.epoch == NO_EPOCH)
    return pa.record_batch([*columns, epoch], names=[*READING_SCHEMA.names, EPOCH_FIELD.name])


def refused_to_arrow(rows: Rows, rules: list[Rule], reasons: list[str], keys: KeyTable) -> pa.RecordBatch:
    """Refused readings, with the rule and why."""
    titles = pa.array([rule.title for rule in rules], pa.string())
    columns = [*_columns(rows, keys), titles, pa.array(reasons, pa.string())]
    return pa.record_batch(columns, names=[*READING_SCHEMA.names, RULE_FIELD.name, REASON_FIELD.name])


def _columns(rows: Rows, keys: KeyTable) -> list[pa.Array]:
    numbers = (rows.ts, rows.value, rows.interval_s, rows.quality, rows.revision)
    return [*named(rows.key, keys), *map(pa.array, numbers)]
