"""How fast readings are sent: at a rate, in step with their own time, or as fast as they can be taken."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SHORTEST_S = 0.001  # no wait is shorter: a clock need not tell less apart
SLICE_S = 0.05
"""A paced stream is sent in slices of this many seconds."""


@dataclass(frozen=True, slots=True)
class Pace:
    """`rate`: readings a second. `speedup`: seconds of event time a second. None: no bound. The slower one wins."""

    rate: float | None = None
    speedup: float | None = None

    def __post_init__(self) -> None:
        for name in ("rate", "speedup"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")

    @property
    def unbounded(self) -> bool:
        """Whether nothing has to wait."""
        return self.rate is None and self.speedup is None

    def due(self, sent: int, ts: npt.NDArray[np.int64], first_ts: int) -> npt.NDArray[np.float64]:
        """When each of the next readings may go, in seconds since the first of all; ascending.

        `sent` readings went before them; `first_ts` is the event time (ms) of the first of all.
        """
        due = np.zeros(len(ts), np.float64)
        if self.rate is not None:
            due = np.maximum(due, (sent + np.arange(len(ts))) / self.rate)
        if self.speedup is not None:
            due = np.maximum(due, (ts - first_ts) / 1000 / self.speedup)
        return np.maximum.accumulate(due) if len(due) else due
