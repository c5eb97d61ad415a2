"""A stage of alarms fed by hand: readings in, events out as the oracle writes them."""

import json
from itertools import pairwise

import numpy as np
from meterpipe.core.alarms.memory import KINDS
from meterpipe.core.alarms.stage import Stage
from meterpipe.core.alarms.state import AlarmPartition
from meterpipe.core.alarms.thresholds import Threshold
from meterpipe.core.codecs import Decoder
from meterpipe.core.control import encode_control
from meterpipe.datasets.alarms_oracle import Bound, Expected, Oracle, Reading
from meterpipe.spec.alarms import Alarms

START = 1_704_067_200_000  # midnight UTC
MINUTE, HOUR = 60_000, 3_600_000
ANY = ("*", "*", "*")
FOREVER = np.full(100_000, 2**62)
NAMES = ("gateway", "metricType", "metricAttribute", "timestamp", "value", "interval")


def message(item):
    """A reading, or the event time of a control record."""
    if isinstance(item, int):
        return encode_control(item)
    return json.dumps(dict(zip(NAMES, item[:6], strict=True))).encode()


def spec_of(**changes):
    return Alarms.model_validate({"enabled": True} | changes)


def partition_of(spec, thresholds=None, grace_s=0):
    partition = AlarmPartition(Stage(spec, grace_s * 1000, Decoder(), 2**40), "t")
    put(partition, thresholds or {})
    return partition


def put(partition, thresholds):
    """Thresholds as the oracle writes them, None takes one away."""
    changes = [(key, None if b is None else threshold_of(b), b.offset if b else 0) for key, b in thresholds.items()]
    partition.stage.limits.put(changes, partition.stage.keys.ids)


def threshold_of(bound):
    return Threshold(bound.lower, bound.upper, bound.hysteresis, bound.min_duration)


def take(partition, items):
    """Take items as messages with offsets that go on; the events as the oracle writes them."""
    first = partition.next_offset
    taken = partition.take([message(item) for item in items], FOREVER, first + len(items))
    return events_of(partition, taken.changes, first)


def events_of(partition, changes, first=0):
    rows = zip(*(getattr(changes, name).tolist() for name in changes.__slots__), strict=True)
    names = list(partition.stage.keys.ids)
    found = []
    for key, kind, raised, at, raised_at, value, limit, threshold, index in rows:
        found.append(
            Expected(
                "raised" if raised else "cleared",
                KINDS[kind].value,
                *names[key],
                at,
                raised_at,
                None if np.isnan(value) else value,
                limit if np.isfinite(limit) else None,
                threshold if threshold >= 0 else None,
                first + index if index >= 0 else None,
            )
        )
    return found


def run(spec, items, thresholds=None, cuts=(), grace_s=0):
    """All events, the log cut into batches at `cuts`."""
    partition, found = partition_of(spec, thresholds, grace_s), []
    for first, end in pairwise([0, *sorted(cuts), len(items)]):
        found += take(partition, items[first:end])
    return found


def expected(spec, items, thresholds=None, grace_s=0):
    oracle = Oracle(spec, grace_s, thresholds)
    for offset, item in enumerate(items):
        if isinstance(item, int):
            oracle.reach(item)
        else:
            oracle.take(item._replace(offset=offset))
    return oracle.events


def by_alarm(events):
    """In order, of each channel and kind."""
    found = {}
    for event in events:
        found.setdefault((event.kind, *event[2:5]), []).append(event)
    return found


def power(ts, value, meter="m", attribute="ACTIVE_POWER", metric="ELECTRICITY", interval_s=0):
    return Reading(meter, metric, attribute, START + ts, value, interval_s)


def told(events):
    """Kind, state, time since START, in short."""
    return [(event.kind, event.state, event.at - START) for event in events]


def over(upper, **more):
    return {ANY: Bound(upper=upper, **more)}
