import io
import json
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meterpipe.core.avro_rows import AvroRows, reading_schema, varint, varints
from meterpipe.core.avro_schema import LONGEST_SCHEMA
from meterpipe.core.codecs import Decoder
from meterpipe.core.deadletters import Reason
from meterpipe.core.readings import KeyTable
from meterpipe.datasets.json_rows import JsonRows
from meterpipe.datasets.publish import FIELDS
from meterpipe.spec.models import Readings as ReadingsSpec

fastavro = pytest.importorskip("fastavro")

START = 1_704_067_200_000
OURS = json.loads(reading_schema(FIELDS))


class Memory:
    """A registry in memory."""

    def __init__(self, **schemas):
        self.schemas = {int(number[1:]): schema for number, schema in schemas.items()}
        self.asked = []

    def schema(self, number):
        self.asked.append(number)
        found = self.schemas.get(number)
        return found if found is None or isinstance(found, str) else json.dumps(found)


def framed(schema, record, number=1):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain(schema)), record)
    return b"\0" + struct.pack(">i", number) + out.getvalue()


def plain(schema):
    """Without logical types, which fastavro would convert."""
    if isinstance(schema, dict):
        return {key: plain(value) for key, value in schema.items() if key != "logicalType"}
    return [plain(one) for one in schema] if isinstance(schema, list) else schema


def decoder(schemas, **spec):
    return Decoder(ReadingsSpec.model_validate({"formats": ["json", "envelope", "avro"]} | spec), schemas)


def rows(decoded, keys):
    names, r = list(keys.ids), decoded.readings
    columns = (r.ts, r.value, r.interval_s, r.quality, r.revision)
    return [(*names[k], *row) for k, *row in zip(r.key.tolist(), *(c.tolist() for c in columns), strict=True)]


def decode(values, schemas, **spec):
    keys = KeyTable()
    decoded = decoder(schemas, **spec).decode(values, keys)
    return rows(decoded, keys), decoded.rejects


def reading(**changes):
    base = {"gateway": "m", "metricType": "E", "metricAttribute": "P", "timestamp": START, "value": 1.5}
    return base | {"interval": 0, "quality": 0, "revision": 0} | changes


def schema_with(**types):
    """Our schema, some fields of another type; None leaves the field out."""
    fields = [f if f["name"] not in types else f | {"type": types[f["name"]]} for f in OURS["fields"]]
    for field in fields:
        field.pop("default", None) if field["name"] in types else None
    return OURS | {"fields": [f for f in fields if f["type"] is not None]}


texts = st.text(min_size=1, max_size=80)
records = st.builds(
    reading,
    gateway=texts,
    metricType=texts,
    metricAttribute=texts,
    timestamp=st.integers(-62_135_596_800_000, 253_402_300_799_999),
    value=st.floats(-1e200, 1e200),
    interval=st.integers(0, 2**31 - 1),
    quality=st.integers(0, 255),
    revision=st.integers(0, 65535),
)


@given(st.lists(records, max_size=20))
def test_what_a_library_writes_is_read(batch):
    found, rejects = decode([framed(OURS, record) for record in batch], Memory(_1=OURS))
    assert rejects == []
    assert found == [tuple(record.values()) for record in batch]


@given(st.lists(records, min_size=1, max_size=20))
def test_what_we_write_a_library_reads(batch):
    names = ["meter", "metric", "attribute", "ts", "value", "interval_s", "quality", "revision"]
    types = [pa.string()] * 3 + [pa.int64(), pa.float64(), pa.int32(), pa.uint8(), pa.uint16()]
    arrays = [pa.array([r[key] for r in batch], kind) for key, kind in zip(batch[0], types, strict=True)]
    values, keys = AvroRows(7).encode(pa.record_batch(arrays, names=names))
    assert {value[:5] for value in values} == {b"\0\0\0\0\7"}
    schema = fastavro.parse_schema(plain(OURS))
    assert [fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None) for value in values] == batch
    assert keys == [record["gateway"].encode() for record in batch]


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_integers_are_written_alike_one_by_one_and_as_a_column(numbers):
    assert varints(np.array(numbers, np.int64)).to_pylist() == [varint(n) for n in numbers]


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=8), st.integers(0, 3))
def test_any_bytes_are_refused_or_read_and_disturb_no_other(bodies, kind):
    nested = {"type": "array", "items": ["null", {"type": "map", "values": "long"}, "string", "boolean"]}
    extra = [{"name": "x", "type": nested}, {"name": "y", "type": {"type": "fixed", "name": "F", "size": 3}}]
    schema = [
        OURS,
        OURS | {"fields": [extra[0], *OURS["fields"]]},
        OURS | {"fields": [*OURS["fields"], *extra]},
        schema_with(gateway=["null", "string"], value=["double", "null", "long"]),
    ][kind]
    good = reading() | ({"x": [None, {"a": 1}], "y": b"abc"} if kind in (1, 2) else {})
    marked = [framed(schema, good | {"timestamp": START + i}) for i in range(len(bodies))]
    values = [v for pair in zip(marked, (b"\0\0\0\0\1" + body for body in bodies), strict=True) for v in pair]
    keys = KeyTable()
    decoded = decoder(Memory(_1=schema)).decode(values, keys)
    found = dict(zip(decoded.readings.message.tolist(), rows(decoded, keys), strict=True))
    assert all(found[2 * i][3] == START + i for i in range(len(bodies)))
    assert sorted([*found, *(reject.message for reject in decoded.rejects)]) == list(range(len(values)))


def test_a_message_cut_short_or_with_more_behind_is_told_so():
    whole = framed(OURS, reading())
    found, rejects = decode([whole[:-1], whole, whole + b"x", b"\0\0\0\0"], Memory(_1=OURS))
    assert len(found) == 1
    assert [(r.message, r.reason) for r in rejects] == [(i, Reason.MALFORMED) for i in (0, 2, 3)]
    assert ["cut short" in rejects[0].detail, "more than the record" in rejects[1].detail] == [True, True]


def test_a_field_that_was_added_is_its_default_in_older_messages():
    old = schema_with(interval=None, quality=None)
    record = {key: value for key, value in reading(revision=3).items() if key not in ("interval", "quality")}
    message = framed(old, record)
    assert decode([message], Memory(_1=old))[0] == [("m", "E", "P", START, 1.5, 0, 0, 3)]
    fields = [f | ({"default": 900} if f["name"] == "interval" else {}) for f in OURS["fields"]]
    registry = Memory(_1=old, _2=OURS | {"fields": fields})
    assert decode([message], registry, registry={"readerSchema": 2})[0] == [("m", "E", "P", START, 1.5, 900, 0, 3)]


def test_a_field_that_was_renamed_is_found_by_its_alias_old_and_new():
    new = OURS | {"fields": [f | {"name": "meterId", "aliases": ["gateway"]} if f["name"] == "gateway" else f
                             for f in OURS["fields"]]}  # fmt: skip
    renamed = {("meterId" if key == "gateway" else key): value for key, value in reading().items()}
    messages = [framed(OURS, reading(gateway="old"), 1), framed(new, renamed | {"meterId": "new"}, 2)]
    registry = Memory(_1=OURS, _2=new)
    by_writer, rejects = decode(messages, registry)
    assert ([row[0] for row in by_writer], rejects) == (["old", "new"], [])
    spec = {"fields": {"meter": "meterId"}, "registry": {"readerSchema": 2}}
    assert [row[0] for row in decode(messages, registry, **spec)[0]] == ["old", "new"]
    found, rejects = decode(messages, registry, fields={"meter": "meterId"})
    assert [row[0] for row in found] == ["new"]
    assert rejects[0].reason is Reason.MISSING_FIELD
    assert "no field 'meterId'" in rejects[0].detail


def test_numbers_of_every_kind_and_other_fields_are_read():
    other = {"type": "record", "name": "Other", "fields": [{"name": "a", "type": ["null", "bytes"]}]}
    schema = schema_with(
        gateway={"type": "enum", "name": "G", "symbols": ["a", "m"]},
        timestamp={"type": "long", "logicalType": "timestamp-micros"},
        value=["null", "float", "int"],
        quality=["null", "long"],
    )
    schema = schema | {"fields": [{"name": "other", "type": other}, *schema["fields"]]}
    base = reading(timestamp=START * 1000 + 999, quality=4) | {"other": {"a": b"12"}}
    found, rejects = decode([framed(schema, base | {"value": v}) for v in (0.5, 3, None)], Memory(_1=schema))
    assert found == [("m", "E", "P", START, value, 0, 4, 0) for value in (0.5, 3.0)]
    assert [(r.message, r.reason, r.detail) for r in rejects] == [(2, Reason.MISSING_FIELD, "value is null")]


@pytest.mark.parametrize(
    ("schema", "reason", "detail"),
    [
        (schema_with(timestamp="string"), Reason.WRONG_TYPE, "'timestamp', the timestamp, must be int or long"),
        (schema_with(value=None), Reason.MISSING_FIELD, "no field 'value'"),
        ("{", Reason.UNKNOWN_SCHEMA, "no Avro schema"),
        ('"string"', Reason.WRONG_TYPE, "no record"),
        (None, Reason.UNKNOWN_SCHEMA, "has no schema 1"),
    ],
)
def test_a_schema_that_cannot_serve_is_named(schema, reason, detail):
    _, [reject] = decode([framed(OURS, reading())], Memory(_1=schema))
    assert reject.reason is reason
    assert detail in reject.detail
    assert "schema 1" in reject.detail


def test_a_schema_that_holds_itself_or_explodes_ends():
    itself = {"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}
    schema = OURS | {"fields": [*OURS["fields"], {"name": "list", "type": itself}]}
    deep = None
    for _ in range(20):
        deep = {"next": deep}
    found, rejects = decode([framed(schema, reading() | {"list": deep})], Memory(_1=schema))
    assert (len(found), rejects) == (1, [])
    bomb = "int"
    for level in range(30):
        parts = [{"name": n, "type": bomb if n == "a" else f"R{level - 1}" if level else "int"} for n in "ab"]
        bomb = {"type": "record", "name": f"R{level}", "fields": parts}
    schema = OURS | {"fields": [*OURS["fields"], {"name": "bomb", "type": bomb}]}
    _, [reject] = decode([framed(OURS, reading())], Memory(_1=schema))
    assert "more than 10000 types" in reject.detail


def test_a_schema_that_cannot_serve_is_refused_once_and_one_that_is_unknown_is_asked_for_again():
    schemas = Memory(_1=schema_with(value="string"))
    decoding, messages = decoder(schemas), [framed(OURS, reading(), number) for number in (1, 2)]
    first, again = (decoding.decode(messages, KeyTable()).rejects for _ in range(2))
    assert first == again
    assert [r.reason for r in first] == [Reason.WRONG_TYPE, Reason.UNKNOWN_SCHEMA]
    assert schemas.asked == [1, 2, 2]
    schemas.schemas[2] = OURS
    assert len(decoding.decode(messages, KeyTable()).readings) == 1


def test_a_schema_of_megabytes_is_not_parsed():
    schema = OURS | {"doc": "x" * LONGEST_SCHEMA}
    _, [reject] = decode([framed(OURS, reading())], Memory(_1=schema))
    assert reject.reason is Reason.UNKNOWN_SCHEMA
    assert f"at most {LONGEST_SCHEMA} are read" in reject.detail


def test_out_of_range_values_are_refused_by_themselves():
    bad = [reading(value=float("inf")), reading(quality=256), reading(interval=-1), reading(timestamp=2**60)]
    found, rejects = decode([framed(OURS, record) for record in [reading(), *bad]], Memory(_1=OURS))
    assert len(found) == 1
    assert [(r.message, r.reason) for r in rejects] == [(i, Reason.OUT_OF_RANGE) for i in range(1, 5)]


def test_local_timestamps_need_a_zone():
    schema = schema_with(timestamp={"type": "long", "logicalType": "local-timestamp-millis"})
    message = framed(schema, reading())
    _, [reject] = decode([message], Memory(_1=schema))
    assert reject.reason is Reason.NO_ZONE
    assert decode([message], Memory(_1=schema), timezone="Europe/Paris")[0][0][3] == START - 3_600_000


def test_formats_mixed_in_a_batch_come_out_in_the_order_of_the_log():
    batch = pa.record_batch(
        [pa.array([v]) for v in ("j", "E", "P", START, 2.0)], names=["meter", "metric", "attribute", "ts", "value"]
    )
    lines, _ = JsonRows(FIELDS).encode(batch)
    values = [framed(OURS, reading()), lines[0], framed(OURS, reading(gateway="n"), 2), None, framed(OURS, reading())]
    registry = Memory(_1=OURS, _2=OURS)
    keys = KeyTable()
    one = decoder(registry)
    decoded = one.decode(values, keys)
    assert [row[0] for row in rows(decoded, keys)] == ["m", "j", "n", "m"]
    assert decoded.readings.message.tolist() == [0, 1, 2, 4]
    one.decode(values, keys)
    assert registry.asked == [1, 2]


def test_a_pipeline_that_takes_no_avro_refuses_it():
    [reject] = Decoder().decode([framed(OURS, reading())], KeyTable()).rejects
    assert reject.reason is Reason.UNKNOWN_FORMAT
    with pytest.raises(ValueError, match="no schema registry"):
        Decoder(ReadingsSpec(formats=("avro",)))
