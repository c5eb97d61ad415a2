"""Right inputs of each decoder, from which the fuzz tests start; and hostile ones, made when asked for."""

import io
import json
import struct
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from meterpipe.core.aggregates import NONE, Aggregates, encode_columns, encode_json
from meterpipe.core.avro_rows import reading_schema
from meterpipe.core.control import encode_control
from meterpipe.core.envelope_codec import split_envelope
from meterpipe.core.readings import READING_SCHEMA, KeyTable
from meterpipe.datasets.publish import FIELDS

START = 1_704_067_200_000
SCHEMA = reading_schema(FIELDS)


def json_reading(**more: object) -> bytes:
    fields = {"gateway": "m1", "metricType": "ELECTRICITY", "metricAttribute": "ACTIVE_POWER"}
    return json.dumps(fields | {"timestamp": START, "value": 1.5} | more).encode()


JSON = [
    json_reading(),
    json_reading(timestamp="2024-01-01T00:00:00+01:00", interval=60, quality=2, revision=1, unit="kW"),
    json_reading(value="x", more={"a": [1, {"b": None}]}),
    encode_control(START),
]


def table(rows: int = 5) -> pa.Table:
    columns = [
        [f"m{row % 2}" for row in range(rows)],
        ["ELECTRICITY"] * rows,
        ["ACTIVE_POWER"] * rows,
        np.arange(rows) * 60_000 + START,
        np.arange(rows) / 4,
        np.full(rows, 60, np.int32),
        np.zeros(rows, np.uint8),
        np.zeros(rows, np.uint16),
    ]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, READING_SCHEMA, strict=True)],
                    schema=READING_SCHEMA)  # fmt: skip


def stream(rows: pa.Table, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(rows)
    return sink.getvalue().to_pybytes()


ENVELOPES = [
    split_envelope(table().to_batches()[0])[0][0],
    stream(table()),
    stream(table(), compression="zstd"),
    stream(table(), compression="lz4"),
    stream(table().select(["meter", "ts"])),
]


def framed(record: bytes, number: int = 1) -> bytes:
    return b"\0" + struct.pack(">i", number) + record


def avro(schema: object, record: object, number: int = 1) -> bytes:
    import fastavro

    def plain(part: object) -> object:
        if isinstance(part, dict):
            return {key: plain(value) for key, value in part.items() if key != "logicalType"}
        return [plain(one) for one in part] if isinstance(part, list) else part

    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain(schema)), record)
    return framed(out.getvalue(), number)


FIELDS_OF_AVRO = [
    {"name": "gateway", "type": "string"},
    {"name": "metricType", "type": ["null", "string"]},
    {"name": "metricAttribute", "type": {"type": "enum", "name": "A", "symbols": ["P", "Q"]}},
    {"name": "tags", "type": {"type": "map", "values": "string"}},
    {"name": "list", "type": {"type": "array", "items": ["null", {"type": "fixed", "name": "F", "size": 3}]}},
    {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "value", "type": ["null", "double", "long"]},
]
ODD = {"type": "record", "name": "Odd", "fields": FIELDS_OF_AVRO}
SCHEMAS = {1: SCHEMA, 2: json.dumps(ODD)}
OURS = dict(
    zip(
        [part["name"] for part in json.loads(SCHEMA)["fields"]],
        ["m1", "ELECTRICITY", "ACTIVE_POWER", START, 1.5, 60, 0, 0],
        strict=True,
    )
)
AVRO = [
    {"name": "gateway", "type": "string"},
    {"name": "metricType", "type": ["null", "string"]},
    {"name": "metricAttribute", "type": {"type": "enum", "name": "A", "symbols": ["P", "Q"]}},
    {"name": "tags", "type": {"type": "map", "values": "string"}},
    {"name": "list", "type": {"type": "array", "items": ["null", {"type": "fixed", "name": "F", "size": 3}]}},
    {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "value", "type": ["null", "double", "long"]},
]
ODD = {"type": "record", "name": "Odd", "fields": FIELDS_OF_AVRO}
SCHEMAS = {1: SCHEMA, 2: json.dumps(ODD)}
OURS = dict(
    zip(
        [part["name"] for part in json.loads(SCHEMA)["fields"]],
        ["m1", "ELECTRICITY", "ACTIVE_POWER", START, 1.5, 60, 0, 0],
        strict=True,
    )
)
AVRO = [
    {"name": "gateway", "type": "string"},
    {"name": "metricType", "type": ["null", "string"]},
    {"name": "metricAttribute", "type": {"type": "enum", "name": "A", "symbols": ["P", "Q"]}},
    {"name": "tags", "type": {"type": "map", "values": "string"}},
    {"name": "list", "type": {"type": "array", "items": ["null", {"type": "fixed", "name": "F", "size": 3}]}},
    {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "value", "type": ["null", "double", "long"]},
]
ODD = {"type": "record", "name": "Odd", "fields": FIELDS_OF_AVRO}
SCHEMAS = {1: SCHEMA, 2: json.dumps(ODD)}
OURS = dict(zip(
    [part["name"] for part in json.loads(SCHEMA)["fields"]],
    ["m1", "ELECTRICITY", "ACTIVE_POWER", START, 1.5, 60, 0, 0], strict=True))  # fmt: skip
AVRO = [
    avro(json.loads(SCHEMA), OURS),
    avro(
        ODD,
        {
            "gateway": "m1",
            "metricType": "E",
            "metricAttribute": "Q",
            "tags": {"a": "b"},
            "list": [None, b"abc"],
            "timestamp": START,
            "value": 2.5,
        },
        2,
    ),
]


class Registry:
    """Schemas in memory."""

    def __init__(self, schemas: dict[int, str] | None = None) -> None:
        self.schemas = SCHEMAS if schemas is None else schemas

    def schema(self, number: int) -> str | None:
        return self.schemas.get(number)


def results() -> list[bytes]:
    keys = KeyTable([("m1", "ELECTRICITY", "ACTIVE_POWER"), ("m2", "WATER", "VOLUME")])
    ones = np.ones(2)
    rows = Aggregates(np.arange(2, dtype=np.int32), np.full(2, START), np.ones(2, np.int64), *[ones] * 5)
    return [*encode_columns(rows, keys, 60), *next(encode_json(rows, keys, 60))[0], *encode_columns(NONE, keys, 60)]


# hostile ones


def many_columns(count: int) -> bytes:
    """A stream that begins with a schema of so many columns, all of which are one and the same."""
    base = stream(pa.table({"ts": pa.array([], pa.int64())}))
    (size,) = struct.unpack_from("<I", base, 4)
    metadata = bytearray(base[8 : 8 + size])
    root = struct.unpack_from("<I", metadata, 0)[0]

    def place(table: int, slot: int) -> int:
        vtable = table - struct.unpack_from("<i", metadata, table)[0]
        return table + struct.unpack_from("<H", metadata, vtable + 4 + 2 * slot)[0]

    header = place(root, 2)
    schema = header + struct.unpack_from("<I", metadata, header)[0]
    fields = place(schema, 1)
    vector = fields + struct.unpack_from("<I", metadata, fields)[0]
    one = vector + 4 + struct.unpack_from("<I", metadata, vector + 4)[0]
    metadata += bytes(-len(metadata) % 4)
    start = len(metadata)
    struct.pack_into("<I", metadata, fields, start - fields)
    places = start + 4 + 4 * np.arange(count, dtype=np.int64)
    offsets = ((one - places) % 2**32).astype("<u4")  # backwards: a verifier refuses it, or so it should
    metadata += struct.pack("<I", count) + offsets.tobytes()
    metadata += bytes(-len(metadata) % 8)
    return struct.pack("<II", 0xFFFFFFFF, len(metadata)) + bytes(metadata)


def honest_columns(count: int) -> bytes:
    """A stream with so many columns."""
    return stream(pa.table([pa.array([], pa.int8())] * count, names=[str(n) for n in range(count)]))


def unpacking_to(size: int) -> bytes:
    """An envelope with a column that is small compressed."""
    rows = table(1)
    text = pa.array(["\0" * size], pa.large_string())
    return stream(rows.append_column("note", text), compression="zstd")


def growing_dictionaries(words: int, batches: int) -> bytes:
    """A large dictionary that each batch adds a word to."""
    kind = pa.dictionary(pa.int32(), pa.string())
    known = [f"meter-{number:09}" for number in range(words)]
    schema = READING_SCHEMA.set(0, pa.field("meter", kind))
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        for number in range(batches):
            dictionary = pa.array([*known, *(f"more-{n}" for n in range(number))])
            meters = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), dictionary)
            one = table(1).to_batches()[0]
            writer.write_batch(pa.record_batch([meters, *one.columns[1:]], schema=schema))
    return sink.getvalue().to_pybytes()


def repeated_view(size: int, rows: int) -> bytes:
    """A long text that each row points to."""
    place = np.array([(size, 0x78787878, 0, 0)] * rows, "<i4")  # length, first bytes, buffer, offset
    meters = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array(["m"]))
    buffers = [None, pa.py_buffer(place.tobytes()), pa.py_buffer(b"x" * size)]
    views = pa.Array.from_buffers(pa.string_view(), rows, buffers)
    numbers = {"ts": np.full(rows, START), "value": np.zeros(rows)}
    columns = {"meter": views, "metric": meters, "attribute": meters} | {k: pa.array(v) for k, v in numbers.items()}
    return stream(pa.table(columns))


def run_ends(size: int, rows: int) -> bytes:
    """The same by a run."""
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([rows], pa.int32()), pa.array(["x" * size]))
    meters = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array(["m"]))
    numbers = {"ts": np.full(rows, START), "value": np.zeros(rows)}
    columns = {"meter": runs, "metric": meters, "attribute": meters} | {k: pa.array(v) for k, v in numbers.items()}
    return stream(pa.table(columns))


def nothings(rows: int) -> bytes:
    """So many rows that take no byte."""
    return stream(pa.table({name: pa.nulls(rows) for name in READING_SCHEMA.names}))


def booleans(rows: int) -> bytes:
    """So many rows that take a bit."""
    runs = pa.array(np.zeros(rows, bool))
    meters = pa.nulls(rows)
    return stream(pa.table({name: meters if name in ("meter", "metric", "attribute") else runs
                            for name in READING_SCHEMA.names}))  # fmt: skip


HOSTILE_ENVELOPES: dict[str, Callable[[], bytes]] = {
    "1 M columns that are one": lambda: many_columns(1_000_000),
    "50 000 columns": lambda: honest_columns(50_000),
    "a compressed column of 256 MB": lambda: unpacking_to(2**28),
    "a dictionary that grows 100 times": lambda: growing_dictionaries(20_000, 100),
    "a text of 1 MB in 100 000 views": lambda: repeated_view(2**20, 100_000),
    "a text of 1 MB in a run of 1 M": lambda: run_ends(2**20, 1_000_000),
    "a billion rows of nothing": lambda: nothings(10**9),
    "30 M rows of a bit": lambda: booleans(30_000_000),
}
