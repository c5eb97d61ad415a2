"""How long windows took, from the reading that completes them to their result. Pure: times are what it is told.

A window of a partition is complete once event time there has reached its end and the grace is over. Which message
brought that about is known from the readings alone: the first with a reading (or a control record) so late.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

PERCENTILES = (50, 90, 95, 99)


class EventTime:
    """When event time of one partition reached what. A step function, kept as its steps."""

    def __init__(self) -> None:
        self._reached: list[int] = []
        self._arrived: list[int] = []

    def add(self, ts: npt.NDArray[np.int64], arrived: npt.NDArray[np.int64]) -> None:
        """Readings in log order: event times and when each had arrived, UTC ms, both of shape (n,)."""
        if not len(ts):
            return
        highest = np.maximum.accumulate(ts)
        rises = np.concatenate([[0], np.flatnonzero(np.diff(highest)) + 1])
        before = self._reached[-1] if self._reached else None
        for at in rises.tolist():
            if before is None or highest[at] > before:
                self._reached.append(int(highest[at]))
                self._arrived.append(int(arrived[at]))

    def reached(self, instant: int) -> int | None:
        """When event time reached `instant`, UTC ms; None if it was there with the first reading, or is not yet."""
        at = bisect_left(self._reached, instant)
        return self._arrived[at] if 0 < at < len(self._arrived) else None


class Delays:
    """Delays in whole ms and how many windows had each: exact however many there are."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def __len__(self) -> int:
        return self._counts.total()

    def add(self, delay: int, windows: int) -> None:
        """So many windows took so long; clocks that differ a little make no delay negative."""
        self._counts[max(0, delay)] += windows

    def percentiles(self, wanted: Sequence[int] = PERCENTILES) -> dict[str, int]:
        """`{"p50": ms, …, "max": ms}`: the smallest delay that so many percent of the windows do not exceed."""
        if not self._counts:
            return {}
        delays = sorted(self._counts)
        shares = np.cumsum([self._counts[delay] for delay in delays])
        ranks = [int(np.searchsorted(shares, -(-int(shares[-1]) * p // 100))) for p in wanted]
        return {f"p{p}": delays[rank] for p, rank in zip(wanted, ranks, strict=True)} | {"max": delays[-1]}


class Count:
    """A count that only grows, and when it reached the number wanted. Times are UTC ms."""

    def __init__(self, wanted: int | None = None) -> None:
        self.wanted, self.count = wanted, 0
        self.at: int | None = None
        """When it reached the number wanted or, without one, grew last; None while unknown."""

    @property
    def done(self) -> bool:
        """Whether nothing is wanted (any more)."""
        return self.wanted is None or self.count >= self.wanted

    def add(self, more: int, at: int | None) -> None:
        """So many more, at a time that is not always known."""
        if more and (self.wanted is None or self.count < self.wanted):
            self.at = at if at is None or self.at is None else max(self.at, at)
        self.count += more
