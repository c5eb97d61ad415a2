import msgspec
import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.codecs import Decoder
from meterpipe.core.readings import LARGEST, READING_SCHEMA, KeyTable
from meterpipe.datasets.json_rows import JsonRows
from meterpipe.datasets.publish import FIELDS
from meterpipe.spec.models import FieldNames

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
READING = st.tuples(
    TEXT,
    TEXT,
    TEXT,
    st.integers(-(10**12), 10**13),
    st.floats(-LARGEST, LARGEST),
    st.sampled_from([0, 60, 2**31 - 1]),
    st.integers(0, 255),
    st.integers(0, 65535),
)


def batch_of(readings: list[tuple], encoded: bool = True) -> pa.RecordBatch:
    columns = [pa.array(c, f.type) for c, f in zip(zip(*readings, strict=True), READING_SCHEMA, strict=True)]
    columns = [c.dictionary_encode() if encoded and pa.types.is_string(c.type) else c for c in columns]
    return pa.record_batch(columns, names=READING_SCHEMA.names)


@given(st.lists(READING, min_size=1, max_size=20), st.booleans())
def test_what_is_encoded_is_decoded_to_the_very_same_readings(readings, encoded):
    values, keys = JsonRows(FIELDS).encode(batch_of(readings, encoded))
    assert keys == [r[0].encode() for r in readings]
    table = KeyTable()
    decoded = Decoder().decode(values, table)
    assert not decoded.rejects
    names, found = list(table.ids), decoded.readings
    assert [names[k] for k in found.key.tolist()] == [r[:3] for r in readings]
    assert found.ts.tolist() == [r[3] for r in readings]
    assert found.value.tolist() == [r[4] for r in readings]
    assert found.interval_s.tolist() == [r[5] for r in readings]
    assert found.quality.tolist() == [r[6] for r in readings]
    assert found.revision.tolist() == [r[7] for r in readings]


def test_fields_that_are_nought_are_left_out():
    (value,), _ = JsonRows(FIELDS).encode(batch_of([("m", "E", "P", 5, 1.5, 0, 0, 0)]))
    assert value == b'{"gateway":"m","metricType":"E","metricAttribute":"P","timestamp":5,"value":1.5}'


def test_only_the_rows_that_need_them_carry_optional_fields():
    batch = batch_of([("m", "E", "P", 5, 1.5, 60, 0, 0), ("m", "E", "P", 6, 1.5, 0, 16, 2)])
    found = [msgspec.json.decode(v) for v in JsonRows(FIELDS).encode(batch)[0]]
    assert found[0].get("interval") == 60
    assert {"quality", "revision"} & set(found[0]) == set()
    assert (found[1]["quality"], found[1]["revision"], "interval" in found[1]) == (16, 2, False)


def test_one_encoder_serves_batches_with_other_words():
    rows = JsonRows(FIELDS)
    for meter in ("a", 'b"\\', "c.d/é🙂"):
        (value,), (key,) = rows.encode(batch_of([(meter, "E", "P", 5, 1.0, 0, 0, 0)]))
        assert msgspec.json.decode(value)["gateway"] == meter
        assert key == meter.encode()


def test_the_pipeline_s_field_names_are_used():
    names = FieldNames(meter='the "meter"', value="v").model_dump()
    (value,), _ = JsonRows(names).encode(batch_of([("m", "E", "P", 5, 1.0, 0, 0, 0)]))
    assert set(msgspec.json.decode(value)) == {'the "meter"', "metricType", "metricAttribute", "timestamp", "v"}


def test_the_default_field_names_are_the_specification_s():
    assert FieldNames().model_dump() == FIELDS


def test_an_empty_batch_gives_no_messages():
    empty = pa.record_batch([pa.array([], f.type) for f in READING_SCHEMA], names=READING_SCHEMA.names)
    assert JsonRows(FIELDS).encode(empty) == ([], [])
    assert np.array(JsonRows(FIELDS).encode(empty.slice(0, 0))[0]).size == 0
