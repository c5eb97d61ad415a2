import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meterpipe.core.codecs import Decoder, admit_in
from meterpipe.core.ingest.formats import JsonBody
from meterpipe.core.ingest.messages import ENVELOPE_ROWS, Router
from meterpipe.core.readings import KeyTable
from meterpipe.spec.models import KeyRule, Readings

from tests.unit.ingest.bodies import NOW, as_json, reading

words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)
rows = st.lists(
    st.builds(
        reading,
        st.integers(0, 1000),
        gateway=words,
        metricAttribute=words,
        value=st.floats(-1e200, 1e200),
        interval=st.integers(0, 86400),
        quality=st.integers(0, 255),
        revision=st.integers(0, 65535),
    ),
    max_size=30,
)


def all_of(spec: Readings, partitions: int, messages) -> list[tuple[object, ...]]:
    """What the aggregator would take from these messages, partition by partition; nothing may be refused."""
    found = []
    for partition in range(partitions):
        keys = KeyTable()
        values = [m.value for m in messages if m.partition == partition]
        decoded = Decoder(spec).decode(values, keys, admit_in(partition, partitions, spec.key))
        assert decoded.rejects == []
        names, r = list(keys.ids), decoded.readings
        columns = (r.ts, r.value, r.interval_s, r.quality, r.revision)
        found += [(names[k], *rest) for k, *rest in zip(r.key.tolist(), *(c.tolist() for c in columns), strict=True)]
    return found


def wanted(bodies) -> list[tuple[object, ...]]:
    return [
        ((r["gateway"], r["metricType"], r["metricAttribute"]), r["timestamp"], r["value"], r["interval"], r["quality"],
         r["revision"])
        for readings in bodies
        for r in readings
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, max_size=4), st.sampled_from([["json"], ["envelope"], ["json", "envelope"]]), st.integers(1, 5))
@pytest.mark.parametrize("rule", [KeyRule.METER, KeyRule.CHANNEL])
def test_every_reading_is_in_its_partition_once_and_unchanged(rule, bodies, formats, partitions):
    spec = Readings.model_validate({"formats": formats, "key": rule})
    parts = [JsonBody(spec).parse(as_json(*readings), {}).rows for readings in bodies]
    messages = Router(spec, partitions).messages(parts)
    assert sorted(all_of(spec, partitions, messages)) == sorted(wanted(bodies))
    assert sum(m.readings for m in messages) == sum(map(len, bodies))


def test_readings_of_one_meter_keep_their_order():
    spec = Readings()
    bodies = [[reading(0, timestamp=NOW + i * 10 + j, value=1.0, gateway="a") for j in range(9)] for i in range(30)]
    parts = [JsonBody(spec).parse(as_json(*b), {}).rows for b in bodies]
    found = all_of(spec, 3, Router(spec, 3).messages(parts))
    assert [row[1] for row in found] == sorted(row[1] for row in found)


def test_large_parts_share_a_message_and_small_ones_do_not():
    router = Router(Readings(), 1)
    many = JsonBody(Readings()).parse(as_json(*map(reading, range(ENVELOPE_ROWS))), {}).rows
    few = JsonBody(Readings()).parse(as_json(*map(reading, range(3))), {}).rows
    assert [m.readings for m in router.messages([many])] == [ENVELOPE_ROWS]
    assert [m.readings for m in router.messages([few])] == [1, 1, 1]
    assert [m.key for m in router.messages([few])] == [b"house-0", b"house-1", b"house-2"]


def test_no_rows_make_no_messages():
    assert Router(Readings(), 4).messages([]) == []
    assert np.array(Router(Readings(), 4).messages([JsonBody(Readings()).parse(b"[]", {}).rows])).size == 0
