"""One partition of the alarms: messages in, alarms raised and cleared out. Pure: event time is all the time there is.

A channel's *chain* are its readings each younger than all before, in the order of the log; only these are judged, so
that what comes out of order raises and clears nothing. The watermark is that of the log: the newest event time before
a reading, of readings and control records, less the grace. Where the log is cut into batches changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from meterpipe.core.alarms.bounds import judge_bounds
from meterpipe.core.alarms.channels import Channels
from meterpipe.core.alarms.events import AlarmKind
from meterpipe.core.alarms.latch import changes_of
from meterpipe.core.alarms.memory import KINDS, NO_CHANGES, Changes, Ints, Memory
from meterpipe.core.alarms.nights import NightClock, judge_nights
from meterpipe.core.alarms.shapes import judge_shapes
from meterpipe.core.alarms.silence import fall_silent, hear
from meterpipe.core.alarms.thresholds import Limits, ThresholdTable
from meterpipe.core.codecs import Admit, Decoder, admit_any
from meterpipe.core.partition import screen_ahead
from meterpipe.core.readings import KeyTable, Readings
from meterpipe.core.validation.series import NEVER, Chain, chain_of, running_newest
from meterpipe.spec.alarms import Alarms


@dataclass(frozen=True, slots=True)
class Taken:
    """What some messages made: changes, how many readings they held, and how many could not be taken."""

    changes: Changes
    readings: int
    skipped: int


class Stage:
    """The rules of one partition, and what they have to remember."""

    def __init__(
        self, spec: Alarms, grace_ms: int, decoder: Decoder, max_ahead_ms: int, admit: Admit = admit_any
    ) -> None:
        self.keys, self.memory = KeyTable(), Memory()
        self.limits = Limits(ThresholdTable(spec.thresholds.hysteresis, spec.thresholds.min_duration))
        self.reached = NEVER
        """The newest event time."""
        self.touched: list[npt.NDArray[np.int32]] = []  # keys whose state has changed
        self._spec, self._grace_ms = spec, grace_ms
        self._channels = Channels(spec, self.keys)
        self._night_clock = NightClock(spec.night_leak.timezone)
        self._decoder, self._max_ahead_ms, self._admit = decoder, max_ahead_ms, admit

    @property
    def watermark(self) -> int:
        """The event time that is over, UTC ms."""
        return self.reached - self._grace_ms

    def grow(self) -> None:
        """Take in the keys that are new."""
        self._channels.learn()
        self.memory.grow(len(self.keys))
        self.limits.learn(self.keys.ids)

    def take(self, values: Sequence[bytes | None], arrived: npt.NDArray[np.int64]) -> Taken:
        """Take messages in log order. What cannot be read is for others to report."""
        decoded = self._decoder.decode(values, self.keys, self._admit)
        readings, ahead = screen_ahead(decoded.readings, arrived, self._max_ahead_ms)
        self.grow()
        passed = self._pass(readings, decoded.controls)
        changes = self._judge(readings, passed)
        return Taken(changes, len(readings), sum(reject.count for reject in decoded.rejects + ahead))

    def advance(self, watermark: int) -> Changes:
        """Let event time pass without a reading."""
        self.grow()
        self.reached = max(self.reached, watermark + self._grace_ms)
        return self._pass_time(_NO_CHAIN, _NO_INTS)

    def _pass(self, readings: Readings, controls: list[tuple[int, int]]) -> Ints:
        """Move the event time; the watermark just before each reading."""
        reach = np.append(self.reached, readings.ts)
        for message, event_time in controls:
            at = int(np.searchsorted(readings.message, message))
            reach[at] = max(reach[at], event_time)
        reach = np.maximum.accumulate(reach)
        self.reached = int(reach[-1])
        passed: Ints = reach[:-1] - self._grace_ms
        return passed

    def _judge(self, readings: Readings, passed: Ints) -> Changes:
        memory, channels, spec = self.memory, self._channels, self._spec
        chain = self._chain(readings)
        message = readings.message[chain.row].astype(np.int64)
        found: list[Changes] = [NO_CHANGES]
        if len(chain.row):
            found += self._retire(chain, message)
            if spec.thresholds.enabled:
                found += judge_bounds(memory, self.limits, channels.of(AlarmKind.OVER), chain, message)
            found += judge_shapes(spec, memory, channels, chain, message)
            if spec.silence.enabled:
                interval, watched = readings.interval_s[chain.row], channels.of(AlarmKind.SILENCE)
                found.append(hear(spec.silence, memory, watched, chain, interval, passed[chain.row], message))
            last = np.append(chain.head[1:], True)
            memory.series.newest[chain.key[last]] = chain.ts[last]
            self.touched.append(chain.key[last])
        found.append(self._pass_time(chain, passed[chain.row]))
        return Changes.concat(found)

    def _chain(self, readings: Readings) -> Chain:
        newest = self.memory.series.newest
        if not len(readings):
            return _NO_CHAIN
        order = np.argsort(readings.key, kind="stable")
        key, ts = readings.key[order], readings.ts[order]
        young = ts > running_newest(key, ts, np.ones(len(ts), bool), newest)
        if young.all():
            return chain_of(order, key, ts, readings.value[order], newest)
        rows = order[young]
        return chain_of(rows, key[young], ts[young], readings.value[rows], newest)

    def _pass_time(self, chain: Chain, passed: Ints) -> Changes:
        """What the passing of event time makes: nights end, channels fall silent."""
        memory, spec, found = self.memory, self._spec, [NO_CHANGES]
        if spec.night_leak.enabled:
            watched = self._channels.of(AlarmKind.NIGHT_LEAK)
            changes, touched = judge_nights(
                spec.night_leak, self._night_clock, memory, watched, chain, passed, self.watermark
            )
            found.append(changes)
            self.touched.append(touched)
        if spec.silence.enabled:
            silent = fall_silent(memory, self.watermark)
            found.append(silent)
            self.touched.append(silent.key)
        return Changes.concat(found)

    def _retire(self, chain: Chain, message: Ints) -> list[Changes]:
        """Clear what is open of rules that watch the channel no more, with its next reading."""
        memory = self.memory
        stale = (memory.raised > NEVER) & ~self._channels.watched
        if not stale.any():
            return []
        found, first = [], np.flatnonzero(chain.head)
        for number in np.flatnonzero(stale.any(axis=0)).tolist():
            rows = first[stale[chain.key[first], number]]
            key = chain.key[rows]
            since = memory.since(KINDS[number])
            found.append(
                changes_of(
                    KINDS[number], key, chain.ts[rows], np.zeros(len(rows), bool), since[key],
                    value=chain.value[rows], message=message[rows],
                )
            )  # fmt: skip
            since[key] = NEVER
        return found


_NO_INTS = np.empty(0, np.int64)
_NO_KEYS = np.empty(0, np.int32)
_NO_MASK = np.empty(0, bool)
_NO_CHAIN = Chain(np.empty(0, np.intp), _NO_KEYS, _NO_INTS, np.empty(0), _NO_MASK, _NO_INTS, _NO_INTS)
