"""Which alarms a log of readings must raise and clear: the rules told again, a reading at a time, without their code.

Slow and plain on purpose. Tests compare the worker with this. One oracle is one partition; thresholds do not change.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import NamedTuple
from zoneinfo import ZoneInfo

from meterpipe.spec.alarms import Alarms, Rule

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Channel = tuple[str, str, str]


class Reading(NamedTuple):
    """One reading; `offset` is that of its message."""

    meter: str
    metric: str
    attribute: str
    ts: int
    value: float
    interval_s: int = 0
    offset: int = 0


class Bound(NamedTuple):
    """A threshold, as a record."""

    lower: float | None = None
    upper: float | None = None
    hysteresis: float = 0
    min_duration: float = 0
    offset: int = 0


class Expected(NamedTuple):
    """An alarm raised or cleared; instants in UTC ms."""

    state: str
    kind: str
    meter: str
    metric: str
    attribute: str
    at: int
    raised_at: int
    value: float | None
    limit: float | None
    threshold: int | None
    reading: int | None


@dataclass(slots=True)
class _Memory:
    """All that is known of a channel: its chain, and what is open."""

    chain: list[Reading] = field(default_factory=list)
    open: dict[str, int] = field(default_factory=dict)
    outside: dict[str, int | None] = field(default_factory=dict)
    due: int | None = None
    nights: dict[int, list[float]] = field(default_factory=dict)
    """Values by the end of the night."""
    pauses: int = 0


class Oracle:
    """Takes readings and event times in the order of the log."""

    def __init__(self, spec: Alarms, grace_s: int, thresholds: Mapping[Channel, Bound] | None = None) -> None:
        """`thresholds`: by meter, metric, attribute, "*" for any."""
        self._spec, self._grace, self._thresholds = spec, grace_s * 1000, dict(thresholds or {})
        self._counting: dict[Channel, Bound | None] = {}
        """The threshold that counts for each channel."""
        self._channels: dict[Channel, _Memory] = {}
        self._newest: int | None = None
        self._due: list[tuple[int, Channel]] = []
        """When time alone may change something."""
        self._zone = ZoneInfo(spec.night_leak.timezone)
        self.events: list[Expected] = []

    def take_all(self, readings: Iterable[Reading]) -> "Oracle":
        """Take readings in order."""
        for reading in readings:
            self.take(reading)
        return self

    def reach(self, event_time: int) -> None:
        """A control record: event time has come this far."""
        if self._newest is None or event_time > self._newest:
            self._newest = event_time
        self._time_passes(self._newest - self._grace)

    def take(self, reading: Reading) -> None:
        """The next reading of the log."""
        channel = reading[:3]
        memory = self._channels.setdefault(channel, _Memory())
        if not memory.chain or reading.ts > memory.chain[-1].ts:
            self._judge(channel, memory, reading)
            memory.chain.append(reading)
        self.reach(reading.ts)

    def _judge(self, channel: Channel, memory: _Memory, reading: Reading) -> None:
        spec = self._spec
        self._bounds(channel, memory, reading)
        before = [one.value for one in memory.chain[-3:]]
        value = reading.value
        if _watches(spec.flatline, channel):
            last = [one.value for one in memory.chain[-(spec.flatline.readings - 1) :]] + [value]
            flat = len(last) == spec.flatline.readings and set(last) == {value} and value != 0
            if flat:
                self._raise("FLATLINE", channel, memory, reading)
            elif value == 0 or (before and value != before[-1]):
                self._clear("FLATLINE", channel, memory, reading)
        if _watches(spec.spike, channel):
            high = max(map(abs, before), default=0) * spec.spike.factor
            spike = len(before) == 3 and abs(value) > high and abs(value) > spec.spike.floor
            (self._raise if spike else self._clear)("SPIKE", channel, memory, reading)
        rule = spec.reverse_flow
        register = channel[2] in rule.registers and channel[1] in (rule.metrics or (channel[1],)) and rule.enabled
        if register or _watches(rule, channel):
            back = bool(before) and value < before[-1] if register else value < 0
            (self._raise if back else self._clear)("REVERSE_FLOW", channel, memory, reading)
        if _watches(spec.silence, channel):
            self._clear("SILENCE", channel, memory, reading)
            step = spec.silence.interval or reading.interval_s
            memory.due = reading.ts + round(step * spec.silence.intervals * 1000) if step > 0 else None
            if memory.due is not None:
                heappush(self._due, (memory.due, channel))
        if _watches(spec.night_leak, channel):
            self._night(channel, memory, reading)

    def _bounds(self, channel: Channel, memory: _Memory, reading: Reading) -> None:
        if not _watches(self._spec.thresholds, channel):
            return
        if channel not in self._counting:
            fitting = [k for k in self._thresholds if all(a in ("*", b) for a, b in zip(k, channel, strict=True))]
            best = max(fitting, key=lambda k: tuple(word != "*" for word in k), default=None)
            self._counting[channel] = None if best is None else self._thresholds[best]
        bound = self._counting[channel]
        if bound is None:
            return
        value, slack = reading.value, bound.hysteresis
        if bound.upper is None:
            over, fine = False, True
        else:
            over, fine = value > bound.upper, value <= bound.upper - slack
        self._side("OVER", over, fine, bound.upper, bound, channel, memory, reading)
        if bound.lower is None:
            under, fine = False, True
        else:
            under, fine = value < bound.lower, value >= bound.lower + slack
        self._side("UNDER", under, fine, bound.lower, bound, channel, memory, reading)

    def _side(
        self,
        kind: str,
        outside: bool,
        fine: bool,
        limit: float | None,
        bound: Bound,
        channel: Channel,
        memory: _Memory,
        reading: Reading,
    ) -> None:
        if not outside:
            memory.outside[kind] = None
            if fine:
                self._clear(kind, channel, memory, reading, limit, bound.offset)
            return
        first = memory.outside.get(kind)
        if first is None:
            first = memory.outside[kind] = reading.ts
        if reading.ts - first >= bound.min_duration * 1000:
            self._raise(kind, channel, memory, reading, limit, bound.offset)

    def _night(self, channel: Channel, memory: _Memory, reading: Reading) -> None:
        local = (EPOCH + timedelta(milliseconds=reading.ts)).astimezone(self._zone)
        end = _ms(local.replace(hour=6, minute=0, second=0, microsecond=0, fold=0))
        self._end_nights(channel, memory, reading.ts)
        if local.hour < 6 and (self._newest is None or end > self._newest - self._grace):
            memory.nights.setdefault(end, []).append(reading.value)
            heappush(self._due, (end, channel))

    def _time_passes(self, watermark: int) -> None:
        while self._due and self._due[0][0] <= watermark:
            _, channel = heappop(self._due)
            memory = self._channels[channel]
            due = memory.due
            if due is not None and due <= watermark and "SILENCE" not in memory.open:
                memory.open["SILENCE"] = due
                self._tell("raised", "SILENCE", channel, due, due)
            self._end_nights(channel, memory, watermark)

    def _end_nights(self, channel: Channel, memory: _Memory, now: int) -> None:
        for end in sorted(memory.nights):
            if end <= now:
                self._end_night(channel, memory, end, memory.nights.pop(end))

    def _end_night(self, channel: Channel, memory: _Memory, end: int, values: list[float]) -> None:
        rule, low = self._spec.night_leak, min(values)
        if len(values) < rule.min_readings:
            return
        if low > rule.limit:
            memory.pauses = 0
            if "NIGHT_LEAK" not in memory.open:
                memory.open["NIGHT_LEAK"] = end
                self._tell("raised", "NIGHT_LEAK", channel, end, end, low, rule.limit)
            return
        memory.pauses += 1
        if memory.pauses >= 2 and "NIGHT_LEAK" in memory.open:
            self._tell("cleared", "NIGHT_LEAK", channel, end, memory.open.pop("NIGHT_LEAK"), low, rule.limit)

    def _raise(
        self,
        kind: str,
        channel: Channel,
        memory: _Memory,
        reading: Reading,
        limit: float | None = None,
        used: int | None = None,
    ) -> None:
        if kind not in memory.open:
            memory.open[kind] = reading.ts
            self._tell("raised", kind, channel, reading.ts, reading.ts, reading.value, limit, used, reading.offset)

    def _clear(
        self,
        kind: str,
        channel: Channel,
        memory: _Memory,
        reading: Reading,
        limit: float | None = None,
        used: int | None = None,
    ) -> None:
        if kind in memory.open:
            since = memory.open.pop(kind)
            self._tell("cleared", kind, channel, reading.ts, since, reading.value, limit, used, reading.offset)

    def _tell(
        self,
        state: str,
        kind: str,
        channel: Channel,
        at: int,
        since: int,
        value: float | None = None,
        limit: float | None = None,
        used: int | None = None,
        offset: int | None = None,
    ) -> None:
        self.events.append(Expected(state, kind, *channel, at, since, value, limit, used, offset))


def _watches(rule: Rule, channel: Channel) -> bool:
    return (
        rule.enabled
        and (not rule.metrics or channel[1] in rule.metrics)
        and (not rule.attributes or channel[2] in rule.attributes)
    )


def _ms(local: datetime) -> int:
    return (local.astimezone(UTC) - EPOCH) // timedelta(milliseconds=1)
