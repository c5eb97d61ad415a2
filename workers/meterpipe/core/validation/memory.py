"""Which instants of which channels were there already: duplicates, and conflicts by the winner rule. Pure."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from meterpipe.core.columns import Columns
from meterpipe.core.quality import RANKS
from meterpipe.core.readings import Readings
from meterpipe.core.validation.rules import Rule, Screen
from meterpipe.spec.validation import Action, Validation

PRUNE_ROWS = 100_000
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Instants(Columns):
    """Accepted readings, in the order they were accepted."""

    key: npt.NDArray[np.int32]
    ts: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    rank: npt.NDArray[np.int32]


NO_INSTANTS = Instants.of_dtypes(np.int32, np.int64, np.float64, np.int32)


def ranks(readings: Readings) -> npt.NDArray[np.int32]:
    """Higher wins: by revision, then quality."""
    return (readings.revision.astype(np.int32) << 8) - RANKS[readings.quality]


class Memory:
    """Accepted instants of the recent past. How far back is asked is the asker's rule; more may be kept."""

    def __init__(self, span_ms: int) -> None:
        self._span_ms = span_ms
        self._chunks: list[Instants] = []
        self._prune_at = PRUNE_ROWS

    def add(self, instants: Instants) -> None:
        """Remember."""
        if not self._span_ms or not len(instants):
            return
        self._chunks.append(instants)
        while len(self._chunks) > 1 and 2 * len(self._chunks[-1]) > len(self._chunks[-2]):
            self._chunks[-2:] = [Instants.concat(self._chunks[-2:])]  # few chunks, and each row is copied seldom

    def all(self) -> Instants:
        """Everything remembered."""
        return Instants.concat([NO_INSTANTS, *self._chunks])

    def prune(self, newest: npt.NDArray[np.int64], force: bool = False) -> None:
        """Forget what nobody asks for any more; `newest`: of each key."""
        if not force and sum(map(len, self._chunks)) < self._prune_at:
            return
        kept = self.all()
        kept = kept.take(kept.ts >= newest[kept.key] - self._span_ms)
        self._chunks, self._prune_at = [kept], 2 * len(kept) + PRUNE_ROWS

    def settle(
        self,
        spec: Validation,
        readings: Readings,
        order: npt.NDArray[np.intp],
        chain: npt.NDArray[np.bool_],
        asked: npt.NDArray[np.bool_],
        screen: Screen,
    ) -> Instants:
        """Judge the readings `asked` against what was accepted before them; what is accepted now, to be added.

        `order`: the readings by key, then place in the log; `chain` and `asked` are masks in that order: younger than
        all before of their channel, or within the span and to be looked up.
        """
        kept = chain
        if asked.any():
            refused = self._refused(spec, readings, order, chain | asked, asked, screen)
            kept = chain | (asked & ~refused)
        rows = np.sort(order[kept])
        return Instants(readings.key[rows], readings.ts[rows], readings.value[rows], ranks(readings)[rows])

    def _refused(
        self,
        spec: Validation,
        readings: Readings,
        order: npt.NDArray[np.intp],
        known: npt.NDArray[np.bool_],
        asked: npt.NDArray[np.bool_],
        screen: Screen,
    ) -> npt.NDArray[np.bool_]:
        hashes = _hash(readings.key, readings.ts)[order]
        wanted = np.unique(hashes[asked])
        best = self._best_of(wanted, readings.key[order[asked]])
        refused = np.zeros(len(order), bool)
        rank = ranks(readings)
        for at in np.flatnonzero(known & _is_in(hashes, wanted)).tolist():  # few, and in the order of the log
            row = int(order[at])
            instant = int(readings.key[row]), int(readings.ts[row])
            mine = int(rank[row]), float(readings.value[row])
            before = best.get(instant) if asked[at] else None
            if before is None or mine[0] > before[0]:
                best[instant] = mine
                continue
            same = mine[1] == before[1]
            action: Action = spec.duplicate.action if same else spec.conflict.action
            if action is Action.QUARANTINE:
                screen.rule[row] = Rule.DUPLICATE if same else Rule.CONFLICT
            refused[at] = True  # accepted or not, the one before stays the better one
        return refused

    def _best_of(
        self, wanted: npt.NDArray[np.uint64], keys: npt.NDArray[np.int32]
    ) -> dict[tuple[int, int], tuple[int, float]]:
        """Rank and value of the remembered instants with these hashes."""
        best: dict[tuple[int, int], tuple[int, float]] = {}
        concerned = np.zeros(int(keys.max(initial=0)) + 1, bool)
        concerned[keys] = True
        for chunk in self._chunks:
            near = np.flatnonzero(chunk.key < len(concerned))
            some = chunk.take(near[concerned[chunk.key[near]]])
            some = some.take(_is_in(_hash(some.key, some.ts), wanted))
            columns = (some.key.tolist(), some.ts.tolist(), some.rank.tolist(), some.value.tolist())
            for key, ts, rank, value in zip(*columns, strict=True):
                best[key, ts] = rank, value  # of one instant the last accepted is the best
        return best


def _hash(key: npt.NDArray[np.int32], ts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    return (key.astype(np.uint64) * _MIX) ^ ts.view(np.uint64)


def _is_in(hashes: npt.NDArray[np.uint64], wanted: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    if not len(wanted):
        return np.zeros(len(hashes), bool)
    place = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
    found: npt.NDArray[np.bool_] = wanted[place] == hashes
    return found
