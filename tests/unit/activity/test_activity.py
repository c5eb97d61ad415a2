"""Activity in columns: the same as reading by reading, whatever the batches."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.activity import NOTHING, ActivityPartition, Heard, by_meter, heard_of, newest, uplinks_of
from meterpipe.core.codecs import Decoder
from meterpipe.core.control import encode_control
from meterpipe.core.windows import WindowPolicy
from meterpipe.datasets.activity_oracle import ActivityOracle, Reading
from meterpipe.spec.load import load_model
from meterpipe.spec.models import MeterPipeline
from meterpipe.spec.problems import SpecError

POLICY = WindowPolicy((300_000,), 180_000, drop_duplicates=False)
FOREVER = np.full(10_000, 2**60)
END = 10_000_000_000_000

READINGS = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from("xy"), st.integers(0, 60).map(lambda n: n * 60_000), st.integers(0, 9)
    ),
    max_size=60,
)


def message(meter, attribute, ts, value):
    fields = {"gateway": meter, "metricType": "E", "metricAttribute": attribute, "timestamp": ts, "value": value}
    return json.dumps(fields).encode()


def worked(batches):
    """What the partition makes of batches: newest readings by meter and channel, counts, and how many were late."""
    partition = ActivityPartition(POLICY, Decoder(), 10**15)
    heard, counts, offset = [NOTHING], {}, 0
    for batch in [*batches, None]:
        values = [encode_control(END)] if batch is None else [message(*one) for one in batch]
        if values:
            offsets = np.arange(offset, offset + len(values))
            offset += len(values)
            partition.take(values, FOREVER, offset)
            heard.append(newest(heard_of(partition.heard, offsets)))
        for size, rows in partition.close().results:
            for one in uplinks_of(rows, partition.keys, size):
                assert (one.meter, one.start) not in counts
                counts[one.meter, one.start] = one.count
    meters = by_meter(newest(Heard.concat(heard)), partition.keys)
    channels = {(m.meter, "E", a): (ts, v) for m in meters for _, a, ts, v, _ in m.channels}
    return {m.meter: m.ts for m in meters}, channels, counts, partition.balance.late


@given(READINGS, st.lists(st.integers(0, 60), max_size=6))
def test_what_is_known_is_that_of_a_plain_loop_whatever_the_batches(readings, cuts):
    edges = [0, *sorted(min(cut, len(readings)) for cut in cuts), len(readings)]
    batches = [readings[a:b] for a, b in itertools.pairwise(edges)]
    oracle = ActivityOracle(300_000, 180_000)
    oracle.take_all(Reading(0, meter, "E", attribute, ts, float(value)) for meter, attribute, ts, value in readings)
    assert worked(batches) == (oracle.heard, oracle.channels, oracle.uplinks, oracle.late)


def test_a_reading_that_comes_too_late_to_be_counted_was_heard_all_the_same():
    heard, _, counts, late = worked([[("a", "x", 3_600_000, 1)], [("b", "x", 0, 2)]])
    assert heard == {"a": 3_600_000, "b": 0}
    assert (counts, late) == ({("a", 3_600_000): 1}, 1)


def test_of_equal_instants_the_last_in_the_log_counts():
    _, channels, counts, _ = worked([[("a", "x", 0, 1), ("a", "x", 0, 2)], [("a", "x", 0, 3)]])
    assert channels == {("a", "E", "x"): (0, 3.0)}
    assert counts == {("a", 0): 3}


@pytest.mark.parametrize(
    ("spec", "path", "reason"),
    [
        ({"activity": {"uplinks": {"window": 7000}}}, "spec.activity.uplinks.window", "must divide a day"),
        (
            {"activity": {"enabled": True}, "readings": {"key": "channel"}},
            "spec.activity.enabled",
            "all readings of a meter in one partition",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_its_path(spec, path, reason):
    document = {
        "apiVersion": "meterpipe.io/v1alpha1",
        "kind": "MeterPipeline",
        "metadata": {"name": "city"},
        "spec": spec,
    }
    with pytest.raises(SpecError) as refused:
        load_model(json.dumps(document), MeterPipeline)
    assert path in str(refused.value)
    assert reason in str(refused.value)
