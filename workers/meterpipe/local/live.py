"""What a running pipeline does right now, as figures that survive restarts of its workers."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from meterpipe.local.scrape import scrape, total
from meterpipe.local.session import kind_of
from meterpipe.worker.telemetry import Metric

COUNTERS = (Metric.READINGS, Metric.WINDOWS, Metric.ROWS)
KINDS = ("validation", "aggregator", "sink", "archiver")
RATE_OVER = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at a pipeline. Counts are since the watching began."""

    seconds: float
    readings: int
    rate: float
    """Readings a second into the windows, over the last seconds."""
    windows: int
    rows: int
    lake_rows: int
    lag: Mapping[str, int]
    """Messages waiting, by kind of worker; transaction markers count too."""


@dataclass(slots=True)
class Tally:
    """Sums up a counter that starts at 0 again when its process does."""

    sum: float = 0.0
    _last: float = field(default=0.0)

    def see(self, value: float) -> None:
        """The counter stands at `value` now."""
        self.sum += value - self._last if value >= self._last else value
        self._last = value


class Rate:
    """How fast a count grows, over the last RATE_OVER seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def see(self, now: float, count: float) -> float:
        """The count is `count` now; its growth a second."""
        self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[1][0] >= RATE_OVER:
            self._seen.popleft()
        since, before = self._seen[0]
        return max(0.0, (count - before) / (now - since)) if now > since else 0.0


class Live:
    """Looks at the workers of one session. `metrics`: port of /metrics by worker name. `lag`: of a kind of worker."""

    def __init__(
        self,
        metrics: Mapping[str, int],
        lag: Callable[[str], int | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics, self._lag, self._clock = metrics, lag, clock
        self._began = clock()
        self._rate = Rate()
        self._tallies = {(name, metric): Tally() for name in metrics for metric in COUNTERS}
        self._kinds = [kind for kind in KINDS if kind in set(map(kind_of, metrics))]

    def look(self) -> Figures:
        """The figures now. A worker that does not answer keeps its last ones."""
        for name, port in self._metrics.items():
            if samples := scrape(port):
                for metric in COUNTERS:
                    self._tallies[name, metric].see(total([samples], metric))
        now, readings = self._clock(), self._sum("aggregator", Metric.READINGS)
        return Figures(
            seconds=now - self._began,
            readings=int(readings),
            rate=self._rate.see(now, readings),
            windows=int(self._sum("aggregator", Metric.WINDOWS)),
            rows=int(self._sum("sink", Metric.ROWS)),
            lake_rows=int(self._sum("archiver", Metric.ROWS)),
            lag={kind: count for kind in self._kinds if (count := self._lag(kind)) is not None},
        )

    def _sum(self, kind: str, metric: Metric) -> float:
        return sum(t.sum for (name, of), t in self._tallies.items() if of == metric and kind_of(name) == kind)
