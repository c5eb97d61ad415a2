"""FLATLINE, SPIKE and REVERSE_FLOW: readings against those just before them. Pure."""

import numpy as np

from meterpipe.core.alarms.channels import Channels
from meterpipe.core.alarms.events import AlarmKind
from meterpipe.core.alarms.latch import changes_of, latch
from meterpipe.core.alarms.memory import Changes, Floats, Ints, Mask, Memory
from meterpipe.core.validation.series import BEFORE, NEVER, Chain, flat_runs, previous_values
from meterpipe.spec.alarms import Alarms, SpikeAlarm


def judge_shapes(spec: Alarms, memory: Memory, channels: Channels, chain: Chain, message: Ints) -> list[Changes]:
    """Judge a chain, and remember its last values. `message`: of each of its rows."""
    if not (spec.flatline.enabled or spec.spike.enabled or spec.reverse_flow.enabled):
        return []
    series, key, last = memory.series, chain.key, np.append(chain.head[1:], True)
    previous, known = previous_values(series, chain)
    flat = flat_runs(series, chain, previous[0], known)
    judged: list[tuple[AlarmKind, Mask, Mask]] = []
    if spec.flatline.enabled:
        judged.append((AlarmKind.FLATLINE, flat >= spec.flatline.readings, flat <= 1))
    if spec.spike.enabled:
        spike = (known >= BEFORE) & _is_spike(spec.spike, chain.value, previous)
        judged.append((AlarmKind.SPIKE, spike, ~spike))
    if spec.reverse_flow.enabled:
        falls = (known > 0) & (chain.value < previous[0])
        back = np.where(channels.register[key], falls, chain.value < 0)
        judged.append((AlarmKind.REVERSE_FLOW, back, ~back))
    ends = key[last]
    series.values[ends] = np.column_stack([chain.value[last], *(column[last] for column in previous[:-1])])
    series.count[ends] = np.minimum(known[last] + 1, BEFORE)
    series.flat[ends] = flat[last]
    return [_latched(memory, channels, chain, message, *rule) for rule in judged]


def _is_spike(rule: SpikeAlarm, value: Floats, previous: list[Floats]) -> Mask:
    peak = np.abs(previous[0])
    for column in previous[1:]:
        peak = np.maximum(peak, np.abs(column))
    size = np.abs(value)
    spike: Mask = (size > rule.factor * peak) & (size > rule.floor)
    return spike


def _latched(
    memory: Memory, channels: Channels, chain: Chain, message: Ints, kind: AlarmKind, on: Mask, off: Mask
) -> Changes:
    since = memory.since(kind)
    on = on & channels.of(kind)[chain.key]
    busy = since > NEVER  # the others need not be looked at
    busy[chain.key[on]] = True
    rows = np.flatnonzero(busy[chain.key] & (on | off))
    key, ts = chain.key[rows], chain.ts[rows]
    at, raises, raised_at = latch(key, ts, on[rows], off[rows], since)
    return changes_of(kind, key[at], ts[at], raises, raised_at, value=chain.value[rows[at]], message=message[rows[at]])
