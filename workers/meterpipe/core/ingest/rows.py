"""Rows of a request: its readings as columns, and what is wrong with the others, by place, field and reason."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import numpy.typing as npt

from meterpipe.core.codecs import admit_any
from meterpipe.core.deadletters import Reason
from meterpipe.core.json_codec import JsonColumns
from meterpipe.core.readings import EMPTY, Key, Readings, readings_of

PARTS = ("meter", "metric", "attribute")
MAX_READINGS = 100_000
"""Of one request: what decoding and answering it may cost is bounded by that."""
MAX_PROBLEMS = 100
"""Told one by one in an answer; of more than that the number is told."""

Admit = Callable[[Key], tuple[Reason, str] | None]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a reading, or all of a body, was refused. `index` counts readings from 0, `line` lines of text from 1."""

    reason: Reason
    detail: str
    field: str | None = None
    index: int | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """n readings of a request. `readings.key` indexes `keys`, the distinct ones; `readings.message` is the index."""

    keys: list[Key]
    readings: Readings

    def __len__(self) -> int:
        return len(self.readings)


NO_ROWS = Rows([], EMPTY)


def nowhere(_indices: Sequence[int]) -> list[int] | None:
    """The lines of readings of a body that has none."""
    return None


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a body holds. `refused` counts readings by reason, `problems` may name fewer; `lines` gives the line of each
    of some ascending indices."""

    rows: Rows = NO_ROWS
    problems: list[Problem] = field(default_factory=list)
    refused: Counter[Reason] = field(default_factory=Counter)
    lines: Callable[[Sequence[int]], list[int] | None] = nowhere

    @classmethod
    def unreadable(cls, reason: Reason, detail: str, line: int | None = None, at: str | None = None) -> "Parsed":
        """A body that holds no readings at all."""
        return cls(problems=[Problem(reason, detail, field=at, line=line)], refused=Counter([reason]))

    def told(self) -> list[Problem]:
        """The first problems in order, with their lines."""
        whole = [problem for problem in self.problems if problem.index is None]
        ordered = sorted((p for p in self.problems if p.index is not None), key=lambda p: p.index or 0)
        first = ordered[: MAX_PROBLEMS - len(whole)]
        lines = self.lines([p.index for p in first if p.index is not None])
        if lines is not None:
            first = [msgspec.structs.replace(p, line=line) for p, line in zip(first, lines, strict=True)]
        return whole + first


def rows_of_json(columns: JsonColumns) -> Rows:
    """Rows of decoded JSON; `columns.message` are the indices. Keys are told apart by C-level maps."""
    place = {key: code for code, key in enumerate(dict.fromkeys(columns.keys))}
    codes = np.fromiter(map(place.__getitem__, columns.keys), np.int32, len(columns.keys))
    return Rows(list(place), readings_of(columns, codes, columns.message))


def screen(parsed: Parsed, admit: Admit, latest: int, names: Mapping[str, str], told: int = MAX_PROBLEMS) -> Parsed:
    """Leave out readings whose key is not admitted or that are after `latest` (UTC ms), which the aggregator would
    refuse. `names` are the fields' names to tell (meter, metric, attribute, timestamp); `told`: how many to name."""
    rows = parsed.rows
    bad = np.zeros(len(rows), bool)
    problems, refused = list(parsed.problems), parsed.refused.copy()
    refusals = {code: why for code, key in enumerate(rows.keys) if (why := admit(key))}
    if refusals:
        bad = np.isin(rows.readings.key, list(refusals))
        for at in _some(bad, told):
            code = int(rows.readings.key[at])
            problems.append(_problem(rows, at, *refusals[code], names[_part(rows.keys[code])]))
        for code, count in enumerate(np.bincount(rows.readings.key[bad]).tolist()):
            if count:
                refused[refusals[code][0]] += count
    ahead = (rows.readings.ts > latest) & ~bad
    if ahead.any():
        for at in _some(ahead, told):
            seconds = (int(rows.readings.ts[at]) - latest) / 1000
            detail = f"is {seconds:.0f} s later than the latest instant taken, by the clock of the server"
            problems.append(_problem(rows, at, Reason.TOO_FAR_AHEAD, detail, names["timestamp"]))
        refused[Reason.TOO_FAR_AHEAD] += int(ahead.sum())
        bad |= ahead
    if not bad.any():
        return parsed
    left = Rows(rows.keys, rows.readings.take(~bad))
    return replace(parsed, rows=left, problems=problems, refused=refused)


def admit_prefixes(prefixes: tuple[str, ...]) -> Admit:
    """Admit meters that begin with one of `prefixes`; all if there are none."""
    if not prefixes:
        return admit_any

    def admit(key: Key) -> tuple[Reason, str] | None:
        if not key[0].startswith(prefixes):
            return Reason.NOT_PERMITTED, "the token is not for readings of this meter"
        return admit_any(key)

    return admit


def _some(mask: npt.NDArray[np.bool_], told: int) -> list[int]:
    """The first positions of what is bad: all are counted, few are told."""
    return np.flatnonzero(mask)[:told].tolist()  # type: ignore[no-any-return]


def _problem(rows: Rows, at: int, reason: Reason, detail: str, name: str) -> Problem:
    return Problem(reason, detail, field=name, index=int(rows.readings.message[at]))


def _part(key: Key) -> str:
    """The part of a refused key that is to blame: the first empty one, else the meter."""
    return next((part for part, word in zip(PARTS, key, strict=True) if not word), "meter")
