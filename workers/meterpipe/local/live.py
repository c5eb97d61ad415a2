"""What a running pipeline does right now, as figures that survive restarts of its workers."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from meterpipe.local.scrape import Samples, scrape, total
from meterpipe.local.session import kind_of
from meterpipe.worker.telemetry import Metric

COUNTERS = (Metric.READINGS, Metric.WINDOWS, Metric.ROWS)


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at a pipeline. Counts are since the watching began."""

    seconds: float
    readings: int
    rate: float
    """Readings a second into the windows, since the look before."""
    windows: int
    rows: int
    lake_rows: int
    lag: Mapping[str, int]
    """Messages waiting, by kind of worker."""
    up: int
    """Workers that answer."""


@dataclass(slots=True)
class Tally:
    """Sums up a counter that starts at 0 again when its process does."""

    sum: float = 0.0
    _last: float = field(default=0.0)

    def see(self, value: float) -> None:
        """The counter stands at `value` now."""
        self.sum += value - self._last if value >= self._last else value
        self._last = value


class Live:
    """Looks at the workers of one session. `metrics`: port of /metrics by worker name."""

    def __init__(self, metrics: Mapping[str, int], clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics, self._clock = metrics, clock
        self._began = self._looked = clock()
        self._before = 0.0
        self._tallies = {(name, metric): Tally() for name in metrics for metric in COUNTERS}

    def look(self) -> Figures:
        """The figures now."""
        samples = {name: found for name, port in self._metrics.items() if (found := scrape(port))}
        for name, found in samples.items():
            for metric in COUNTERS:
                self._tallies[name, metric].see(total([found], metric))
        now = self._clock()
        readings = self._sum("aggregator", Metric.READINGS)
        rate = (readings - self._before) / max(now - self._looked, 1e-3)
        self._before, self._looked = readings, now
        return Figures(
            seconds=now - self._began,
            readings=int(readings),
            rate=max(0.0, rate),
            windows=int(self._sum("aggregator", Metric.WINDOWS)),
            rows=int(self._sum("sink", Metric.ROWS)),
            lake_rows=int(self._sum("archiver", Metric.ROWS)),
            lag=lag_by_kind(samples),
            up=len(samples),
        )

    def _sum(self, kind: str, metric: Metric) -> float:
        return sum(t.sum for (name, of), t in self._tallies.items() if of == metric and kind_of(name) == kind)


def lag_by_kind(samples: Mapping[str, Samples]) -> dict[str, int]:
    """Messages waiting, by kind of worker, as the workers themselves see it."""
    kinds = sorted({kind_of(name) for name in samples})
    return {kind: int(total([s for n, s in samples.items() if kind_of(n) == kind], Metric.LAG)) for kind in kinds}
