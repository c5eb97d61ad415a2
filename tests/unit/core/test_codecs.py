"""Decoding: what is a reading comes out as columns, what is not comes out as a reject with its reason."""

import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.aggregates import to_ipc
from meterpipe.core.codecs import Decoder, admit_in
from meterpipe.core.control import encode_control
from meterpipe.core.deadletters import Reason
from meterpipe.core.envelope_codec import encode_envelopes
from meterpipe.core.murmur2 import murmur2, partition_of
from meterpipe.core.readings import LARGEST, READING_SCHEMA, KeyTable, to_arrow
from meterpipe.datasets.json_rows import JsonRows
from meterpipe.spec.models import FieldNames, KeyRule, ReadingsFormat
from meterpipe.spec.models import Readings as ReadingsSpec


def reading(**changes):
    fields = {
        "gateway": "m1",
        "metricType": "ELECTRICITY",
        "metricAttribute": "ACTIVE_POWER",
        "timestamp": 0,
        "value": 1,
    }
    return json.dumps({k: v for k, v in (fields | changes).items() if v is not ...}).encode()


def decode(*values, spec=None, admit=None):
    keys = KeyTable()
    decoded = Decoder(spec).decode(list(values), keys, *([admit] if admit else []))
    return decoded, keys


def batch_of(rows):
    columns = list(zip(*rows, strict=True)) if rows else [[]] * 8
    return pa.record_batch(
        [pa.array(list(c), f.type) for c, f in zip(columns, READING_SCHEMA, strict=True)], schema=READING_SCHEMA
    )


def test_murmur2_is_javas():
    # values of org.apache.kafka.common.utils.UtilsTest.testMurmur2
    expected = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}
    for data, value in expected.items():
        assert murmur2(data) == value & 0xFFFFFFFF


def test_a_batch_of_json_becomes_columns_in_log_order():
    decoded, keys = decode(reading(value=1.5, timestamp=10), reading(gateway="m2", value=-2, timestamp=5))
    r = decoded.readings
    assert (r.ts.tolist(), r.value.tolist(), r.message.tolist()) == ([10, 5], [1.5, -2.0], [0, 1])
    assert [list(keys.ids)[k][0] for k in r.key] == ["m1", "m2"]
    assert decoded.rejects == []


def test_optional_fields_and_unknown_fields_are_taken():
    decoded, _ = decode(reading(interval=900, quality=16, revision=3), reading(colour={"deep": [1]}), reading(unit="W"))
    r = decoded.readings
    assert (r.interval_s.tolist(), r.quality.tolist(), r.revision.tolist()) == ([900, 0, 0], [16, 0, 0], [3, 0, 0])


@pytest.mark.parametrize(
    ("stamp", "ms"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("2024-03-31T02:30:00.5+02:00", 1711845000500),
        (1711845000500, 1711845000500),
    ],
)
def test_timestamps_are_epoch_milliseconds_or_rfc_3339_with_zone(stamp, ms):
    decoded, _ = decode(reading(timestamp=stamp), reading(timestamp=7))
    assert decoded.readings.ts.tolist() == [ms, 7]


def test_a_local_time_needs_a_time_zone_in_the_spec():
    refused, _ = decode(reading(timestamp="2024-07-01T12:00:00"), reading())
    assert [(r.message, r.reason) for r in refused.rejects] == [(0, Reason.NO_ZONE)]
    assert refused.readings.message.tolist() == [1]
    taken, _ = decode(reading(timestamp="2024-07-01T12:00:00"), spec=ReadingsSpec(timezone="Europe/Paris"))
    assert taken.readings.ts.tolist() == [1719828000000]


BROKEN = {
    b"": Reason.EMPTY,
    None: Reason.EMPTY,
    b'{"gateway":"m1","met': Reason.MALFORMED,
    b"hello": Reason.MALFORMED,
    b"[1,2]": Reason.MALFORMED,
    b'"text"': Reason.MALFORMED,
    reading() + reading(): Reason.MALFORMED,
    reading(value=...): Reason.MISSING_FIELD,
    reading(gateway=""): Reason.MISSING_FIELD,
    reading(value="1.5"): Reason.WRONG_TYPE,
    reading(value=True): Reason.WRONG_TYPE,
    reading(timestamp="yesterday"): Reason.WRONG_TYPE,
    reading(value=float("nan")): Reason.MALFORMED,
    reading(value=float("inf")): Reason.MALFORMED,
    reading().replace(b'"value": 1', b'"value": 1e999'): Reason.OUT_OF_RANGE,
    reading(value=1e201): Reason.OUT_OF_RANGE,
    reading(timestamp="0001-01-01T00:00:00+14:00"): Reason.OUT_OF_RANGE,
    reading(timestamp="9999-12-31T23:59:59-12:00"): Reason.OUT_OF_RANGE,
    reading(quality=300): Reason.OUT_OF_RANGE,
    reading(timestamp=10**18): Reason.OUT_OF_RANGE,
    b"\x00\x00\x00\x00\x01abc": Reason.UNKNOWN_FORMAT,
    b"\xff\xff\xff\xff\x10\x00": Reason.MALFORMED,
    b"\xfe\x80": Reason.MALFORMED,
    b'{"gateway":"\xff"}': Reason.MALFORMED,
    b"[" * 100_000: Reason.MALFORMED,
    b'{"a":' * 100_000: Reason.MALFORMED,
}


@pytest.mark.parametrize(("broken", "reason"), BROKEN.items(), ids=lambda v: str(v)[:40])
def test_a_broken_message_is_refused_with_its_reason_and_its_neighbours_are_taken(broken, reason):
    decoded, _ = decode(reading(value=1), broken, reading(value=2))
    assert decoded.readings.value.tolist() == [1.0, 2.0]
    assert [(r.message, r.reason) for r in decoded.rejects] == [(1, reason)]
    assert decoded.rejects[0].detail


def test_pieces_of_json_that_fit_together_are_not_a_reading():
    whole = reading()
    halves = (b'{"gateway":"m1","x":', b'{"y":1},' + whole[1:])
    decoded, _ = decode(*halves, whole + whole, whole)
    assert decoded.readings.message.tolist() == [3]
    assert [r.message for r in decoded.rejects] == [0, 1, 2]


def test_a_message_may_span_lines():
    decoded, _ = decode(json.dumps(json.loads(reading()), indent=2).encode(), reading())
    assert len(decoded.readings) == 2


def test_a_key_in_the_wrong_partition_is_refused_every_time():
    home = partition_of(b"m1", 4)
    right, _ = decode(reading(), reading(), admit=admit_in(home, 4, KeyRule.METER))
    wrong, _ = decode(reading(), reading(), admit=admit_in((home + 1) % 4, 4, KeyRule.METER))
    trusted, _ = decode(reading(), admit=admit_in((home + 1) % 4, 4, KeyRule.TRUSTED))
    assert (len(right.readings), len(trusted.readings)) == (2, 1)
    assert [r.reason for r in wrong.rejects] == [Reason.WRONG_PARTITION] * 2


def test_other_field_names_are_read():
    spec = ReadingsSpec(fields=FieldNames(meter="id", value="v"))
    value = reading(id="m9", v=3, gateway=..., value=...)
    decoded, keys = decode(value, spec=spec)
    assert (next(iter(keys.ids))[0], decoded.readings.value.tolist()) == ("m9", [3.0])


def test_control_records_are_told_from_readings():
    decoded, _ = decode(reading(), encode_control(86_400_000), reading())
    assert decoded.controls == [(1, 86_400_000)]
    assert decoded.rejects == []
    assert decoded.readings.message.tolist() == [0, 2]


names = st.text(min_size=1, max_size=8)
rows = st.lists(
    st.tuples(
        names,
        st.sampled_from(["ELECTRICITY", "WATER"]),
        st.sampled_from(["ACTIVE_POWER", "VOLTAGE"]),
        st.integers(0, 2**41),
        st.floats(-LARGEST, LARGEST),
        st.integers(0, 86400),
        st.integers(0, 255),
        st.integers(0, 65535),
    ),
    max_size=30,
)


def rows_of(decoded, keys):
    table = to_arrow(decoded.readings, keys)
    return list(zip(*(table.column(n).to_pylist() for n in READING_SCHEMA.names), strict=True))


@given(rows)
def test_json_gives_back_what_was_encoded(rows):
    messages = JsonRows(FieldNames().model_dump()).encode(batch_of(rows))[0]
    decoded, keys = decode(*messages)
    assert rows_of(decoded, keys) == rows


@given(rows, st.integers(1, 5), st.sampled_from([3000, 900_000]))
def test_envelopes_give_back_what_was_encoded_each_in_its_partition(rows, partitions, max_bytes):
    batch, seen = batch_of(rows), []
    for partition, message, count in encode_envelopes(batch, partitions, max_bytes):
        decoded, keys = decode(message, admit=admit_in(partition, partitions, KeyRule.METER))
        got = rows_of(decoded, keys)
        assert len(got) == count
        assert len(message) <= max_bytes
        seen += got
    expected = sorted(rows, key=lambda r: partition_of(r[0].encode(), partitions))
    assert seen == expected


@given(rows, st.data())
def test_formats_may_be_mixed_in_any_order(rows, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    messages = []
    for start, end in pairwise([0, *cuts, len(rows)]):
        part = batch_of(rows[start:end])
        if data.draw(st.booleans()):
            messages += JsonRows(FieldNames().model_dump()).encode(part)[0]
        else:
            messages += [m for _, m, _ in encode_envelopes(part, 1)]
    decoded, keys = decode(*messages)
    assert rows_of(decoded, keys) == rows


def test_bad_rows_of_an_envelope_are_named_and_the_good_ones_taken():
    batch = batch_of([("m1", "E", "P", i, v, 0, 0, 0) for i, v in enumerate([1.0, np.nan, 3.0, np.inf])])
    [(_, message, _)] = encode_envelopes(batch, 1)
    decoded, _ = decode(message)
    assert decoded.readings.value.tolist() == [1.0, 3.0]
    assert [(r.reason, r.rows, r.count) for r in decoded.rejects] == [(Reason.OUT_OF_RANGE, (1, 3), 2)]


@given(st.binary(max_size=60), st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_envelope_is_refused_or_read_but_never_crashes(noise, at, byte):
    batch = batch_of([("m1", "E", "P", i, float(i), 0, 0, 0) for i in range(4)])
    [(_, message, _)] = encode_envelopes(batch, 1)
    damaged = bytearray(message)
    damaged[at % len(damaged)] = byte
    for value in (bytes(damaged), b"\xff" + noise, message[: at % len(message)]):
        decoded, _ = decode(value)
        assert len(decoded.readings) + len(decoded.rejects) >= 0


def test_one_broken_message_in_a_large_batch_costs_its_neighbours_nothing_and_keeps_their_order():
    values = [reading(value=i) for i in range(2000)]
    values[700] = b"{"
    values[1500] = reading(value=1500, quality=3)
    decoded, _ = decode(*values)
    assert decoded.readings.value.tolist() == [i for i in range(2000) if i != 700]
    assert decoded.readings.quality[decoded.readings.message == 1500].tolist() == [3]
    assert [r.message for r in decoded.rejects] == [700]


def test_control_records_are_understood_whatever_the_formats():
    spec = ReadingsSpec(formats=(ReadingsFormat.ENVELOPE,))
    decoded, _ = decode(encode_control(5), reading(), spec=spec)
    assert decoded.controls == [(0, 5)]
    assert [(r.message, r.reason) for r in decoded.rejects] == [(1, Reason.UNKNOWN_FORMAT)]


def envelope_with(**columns):
    batch = batch_of([("m1", "E", "P", i, float(i), 0, 0, 0) for i in range(3)])
    for name, column in columns.items():
        batch = batch.set_column(batch.schema.get_field_index(name), name, column)
    return to_ipc(batch)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"ts": pa.array([0, 1, 2**62], pa.timestamp("s"))}, Reason.WRONG_TYPE),
        ({"ts": pa.array([0, 1, 2**62])}, Reason.OUT_OF_RANGE),
        ({"value": pa.array([0, 1, 1e201])}, Reason.OUT_OF_RANGE),
        ({"value": pa.array(["a", "b", "c"])}, Reason.WRONG_TYPE),
        ({"value": pa.array([0, 1, None])}, Reason.MISSING_FIELD),
        ({"interval_s": pa.array([0, 1, -1], pa.int32())}, Reason.OUT_OF_RANGE),
        ({"meter": pa.array([1, 2, 3])}, None),
    ],
)
def test_columns_of_an_envelope_are_taken_in_their_type_or_refused(columns, reason):
    decoded, _ = decode(envelope_with(**columns))
    assert [r.reason for r in decoded.rejects] == ([reason] if reason else [])
    assert len(decoded.readings) == {Reason.WRONG_TYPE: 0, None: 3}.get(reason, 2)


def test_an_envelope_with_a_column_twice_is_refused():
    batch = batch_of([("m1", "E", "P", 0, 1.0, 0, 0, 0)])
    decoded, _ = decode(to_ipc(batch.append_column("value", batch.column("value"))))
    assert [r.reason for r in decoded.rejects] == [Reason.MALFORMED]
