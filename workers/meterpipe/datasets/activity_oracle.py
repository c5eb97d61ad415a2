"""What is known of meters' activity, told again from the log of readings, one by one, without the worker's code."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


class Reading(NamedTuple):
    """One reading of a partition's log."""

    partition: int
    meter: str
    metric: str
    attribute: str
    ts: int
    value: float


@dataclass(slots=True)
class ActivityOracle:
    """Takes readings in the order of each partition's log. Milliseconds."""

    window_ms: int
    grace_ms: int
    channels: dict[tuple[str, str, str], tuple[int, float]] = field(default_factory=dict)
    uplinks: dict[tuple[str, int], int] = field(default_factory=dict)
    late: int = 0
    _reached: dict[int, int] = field(default_factory=dict)

    def take_all(self, readings: Iterable[Reading]) -> None:
        """Take readings."""
        for one in readings:
            channel = one.meter, one.metric, one.attribute
            if channel not in self.channels or self.channels[channel][0] <= one.ts:
                self.channels[channel] = one.ts, one.value
            start = one.ts // self.window_ms * self.window_ms
            watermark = self._reached.get(one.partition, -(2**62)) - self.grace_ms
            if start + self.window_ms <= watermark:
                self.late += 1
            else:
                self.uplinks[one.meter, start] = self.uplinks.get((one.meter, start), 0) + 1
            self._reached[one.partition] = max(self._reached.get(one.partition, -(2**62)), one.ts)

    @property
    def heard(self) -> dict[str, int]:
        """Newest instant by meter."""
        newest: dict[str, int] = {}
        for (meter, _, _), (ts, _) in self.channels.items():
            newest[meter] = max(newest.get(meter, ts), ts)
        return newest
