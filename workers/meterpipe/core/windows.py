"""Open windows of one partition. Pure: no clock, no Kafka; time is what it is told.

Readings of open *smallest* windows are kept as they came and reduced when the window closes; each larger window is the
sum of its closed smaller ones. So duplicates and revisions are settled in one place, and four window sizes cost little
more than one.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from meterpipe.core.aggregates import NONE, Aggregates
from meterpipe.core.readings import NO_SAMPLES, Samples
from meterpipe.core.reduce import merge_rows, reduce_samples
from meterpipe.spec.models import Aggregator, Duplicates

NEVER = np.iinfo(np.int64).min // 2
"""The watermark before the first reading."""
COMPACT_ROWS = 65_536
"""Rows a window size may hold before partial results are merged; bounds memory to about twice the merged rows."""
MAX_CHUNKS = 64
"""Batches of open samples that are kept apart; more are joined, so that closing looks at few."""


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    """How readings become windows. Milliseconds."""

    sizes_ms: tuple[int, ...]
    grace_ms: int
    drop_duplicates: bool

    @classmethod
    def of(cls, spec: Aggregator) -> "WindowPolicy":
        """The policy a pipeline's spec asks for."""
        return cls(
            sizes_ms=tuple(size * 1000 for size in spec.windows),
            grace_ms=spec.grace * 1000,
            drop_duplicates=spec.duplicates is Duplicates.DROP,
        )

    def parent(self, level: int) -> int:
        """The level whose closed windows make up those of `level`: the largest that divides it."""
        return max(i for i in range(level) if self.sizes_ms[level] % self.sizes_ms[i] == 0)


@dataclass(frozen=True, slots=True)
class Closed:
    """What closing gave: (window size in s, rows) a size, and the readings that were settled."""

    results: list[tuple[int, Aggregates]]
    counted: int = 0
    duplicates: int = 0
    superseded: int = 0


@dataclass(frozen=True, slots=True)
class Open:
    """All that is open. Lists have an item a window size."""

    samples: Samples  # readings whose smallest window is open, in log order
    rows: list[Aggregates]  # closed smaller windows, merged
    kept: list[Aggregates]  # what results hold beside, from before the sizes changed; no larger window is to get it
    begins: list[int]  # windows that start earlier lack readings and do not come out
    floor: int  # readings before it are late: under an earlier policy their windows have closed

    def rekeyed(self, ids: npt.NDArray[np.int32]) -> "Open":
        """The same with key k as ids[k]."""

        def rekey(parts: list[Aggregates]) -> list[Aggregates]:
            return [replace(part, key=ids[part.key]) for part in parts]

        samples = replace(self.samples, key=ids[self.samples.key])
        return replace(self, samples=samples, rows=rekey(self.rows), kept=rekey(self.kept))


class Windows:
    """Open windows of one partition.

    A window [start, end) closes when the watermark has reached its end, and its result comes out once. Lateness is
    decided when a reading is added, once, at the smallest window, by the watermark as it was just before that reading:
    so neither batching nor the moment of closing can change a result (but the last bits of a sum over smaller windows,
    which depend on the order of addition).
    """

    def __init__(self, policy: WindowPolicy, watermark: int = NEVER) -> None:
        self.policy = policy
        self.watermark = watermark
        self.flushed: list[tuple[int, Aggregates]] = []  # what comes out with the next closing, whatever closes
        self._open: list[tuple[int, int, Samples]] = []
        self._kept = [NONE] * len(policy.sizes_ms)
        self._begins, self._floor = [NEVER] * len(policy.sizes_ms), NEVER
        self._rows: list[list[Aggregates]] = [[] for _ in policy.sizes_ms]
        self._compacted = [0] * len(policy.sizes_ms)
        self._children = [
            [c for c in range(1, len(policy.sizes_ms)) if policy.parent(c) == level]
            for level in range(len(policy.sizes_ms))
        ]

    @property
    def open_readings(self) -> int:
        """Readings that wait for their smallest window to close."""
        return sum(len(chunk) for _, _, chunk in self._open)

    def add(self, samples: Samples) -> npt.NDArray[np.bool_] | None:
        """Take samples in log order; gives back the mask of the late ones (which were not taken), None if none is."""
        if not len(samples):
            return None
        size, grace = self.policy.sizes_ms[0], self.policy.grace_ms
        ts = samples.ts
        newest = np.maximum.accumulate(ts)
        seen = np.empty_like(newest)  # the watermark just before each reading
        seen[0] = self.watermark
        np.maximum(newest[:-1] - grace, self.watermark, out=seen[1:])
        late = ts - ts % size + size <= seen
        if self._floor != NEVER:
            late |= ts < self._floor
        self.watermark = max(self.watermark, int(newest[-1]) - grace)
        if not late.any():
            self.hold(samples)
            return None
        self.hold(samples.take(~late))
        return late

    def advance(self, watermark: int) -> None:
        """Raise the watermark (idle partition, control record, restore); it never falls."""
        self.watermark = max(self.watermark, watermark)

    def close(self) -> Closed:
        """Results of all windows that end at or before the watermark."""
        reduced = reduce_samples(self._take_closing(), self.policy.sizes_ms[0], self.policy.drop_duplicates)
        results, self.flushed = self.flushed, []
        for level, size in enumerate(self.policy.sizes_ms):
            rows = reduced.rows if level == 0 else self._close_level(level)
            if len(rows):
                for child in self._children[level]:
                    self._rows[child].append(rows)
            if self._floor != NEVER:
                rows = self._after_change(level, rows)
            if len(rows):
                results.append((size // 1000, rows))
        if self._floor != NEVER and self._is_settled():
            self._floor = NEVER
        return Closed(results, reduced.counted, reduced.duplicates, reduced.superseded)

    def boundary(self, level: int) -> int:
        """Windows of the level that start before it are closed."""
        size = self.policy.sizes_ms[level]
        return self.watermark - self.watermark % size

    def hold(self, samples: Samples) -> None:
        """Keep samples known to be in time (they were judged before)."""
        if len(samples):
            self._open.append((int(samples.ts.min()), int(samples.ts.max()), samples))

    def _take_closing(self) -> Samples:
        boundary = self.boundary(0)
        held, self._open = self._open, []
        closing, remaining = [NO_SAMPLES], []
        for chunk in held:
            first, last, samples = chunk
            if first >= boundary:
                remaining.append(chunk)
            elif last < boundary:
                closing.append(samples)
            else:
                mask = samples.ts < boundary
                closing.append(samples.take(mask))
                rest = samples.take(~mask)
                remaining.append((int(rest.ts.min()), last, rest))
        self._open = remaining
        if len(remaining) > MAX_CHUNKS:
            self._join_open()
        return Samples.concat(closing)

    def _join_open(self) -> None:
        chunks, self._open = self._open, []
        self.hold(Samples.concat([NO_SAMPLES, *(samples for _, _, samples in chunks)]))

    def _close_level(self, level: int) -> Aggregates:
        boundary, size = self.boundary(level), self.policy.sizes_ms[level]
        step = self.policy.sizes_ms[0]
        closing, remaining = [], []
        for chunk in self._rows[level]:  # each is sorted by start
            cut = int(np.searchsorted(chunk.start, boundary))
            if cut:
                closing.append(chunk.take(slice(0, cut)))
            if cut < len(chunk):
                remaining.append(chunk.take(slice(cut, None)))
        held = sum(len(chunk) for chunk in remaining)
        if held > 2 * self._compacted[level] + COMPACT_ROWS:
            remaining = [merge_rows(Aggregates.concat(remaining), size, step)]
            held = self._compacted[level] = len(remaining[0])
        self._rows[level] = remaining
        self._compacted[level] = min(self._compacted[level], held)
        return merge_rows(Aggregates.concat([NONE, *closing]), size, step)

    def _after_change(self, level: int, rows: Aggregates) -> Aggregates:
        """The results of `level` when the sizes have changed and windows from before are still open."""
        boundary, size, kept = self.boundary(level), self.policy.sizes_ms[level], self._kept[level]
        if len(kept):
            cut = int(np.searchsorted(kept.start, boundary))
            rows = merge_rows(Aggregates.concat([kept.take(slice(0, cut)), rows]), size, size)
            self._kept[level] = kept.take(slice(cut, None))
        return rows.take(rows.start >= self._begins[level])

    def _is_settled(self) -> bool:
        """Whether the last change of sizes has no effect any more."""
        begun = all(self.boundary(level) >= begin for level, begin in enumerate(self._begins))
        return begun and self.boundary(0) >= self._floor and not any(map(len, self._kept))

    def state(self) -> Open:
        """All that is open, merged to be as small as can be."""
        self._join_open()
        sizes = self.policy.sizes_ms
        for level in range(1, len(sizes)):
            if len(self._rows[level]) > 1:
                self._rows[level] = [merge_rows(Aggregates.concat(self._rows[level]), sizes[level], sizes[0])]
                self._compacted[level] = len(self._rows[level][0])
        samples = self._open[0][2] if self._open else NO_SAMPLES
        rows = [rows[0] if rows else NONE for rows in self._rows]
        return Open(samples, rows, list(self._kept), list(self._begins), self._floor)

    def load(self, state: Open) -> None:
        """Put back what `state` gave."""
        self._open = []
        self.hold(state.samples)
        self._rows = [[level] if len(level) else [] for level in state.rows]
        self._compacted = [len(level) for level in state.rows]
        self._kept, self._begins, self._floor = list(state.kept), list(state.begins), state.floor
