"""Results of windows as columns, and their two forms on the wire."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterpipe.core.arrow_stream import is_plain, read_stream
from meterpipe.core.columns import Columns
from meterpipe.core.messages import Payloads
from meterpipe.core.readings import KeyTable, named
from meterpipe.core.weave import weave

AGGREGATE_SCHEMA = pa.schema(
    [
        pa.field("meter", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("attribute", pa.string(), nullable=False),
        pa.field("window_start", pa.int64(), nullable=False),  # UTC milliseconds, inclusive
        pa.field("count", pa.int64(), nullable=False),
        pa.field("min", pa.float64(), nullable=False),
        pa.field("max", pa.float64(), nullable=False),
        pa.field("sum", pa.float64(), nullable=False),
        pa.field("first", pa.float64(), nullable=False),
        pa.field("last", pa.float64(), nullable=False),
    ]
)
WINDOW_KEY = b"meterpipe.window"
"""Schema metadata of a columnar message: the window's size in seconds, decimal."""
MAX_ROWS = 8192
"""Rows a columnar message holds at most: about 70 bytes a row, so below MAX_BYTES unless meters have long names."""
PIECE = 4096
"""Rows that are made into JSON at once."""
MAX_BYTES = 900_000
"""Of a columnar message of more than one row; brokers take 1 MB by default."""


@dataclass(frozen=True, slots=True)
class Aggregates(Columns):
    """n windows of one size, sorted by (start, key)."""

    key: npt.NDArray[np.int32]
    start: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    min: npt.NDArray[np.float64]
    max: npt.NDArray[np.float64]
    sum: npt.NDArray[np.float64]
    first: npt.NDArray[np.float64]
    last: npt.NDArray[np.float64]


NONE = Aggregates.of_dtypes(np.int32, np.int64, np.int64, *[np.float64] * 5)


def to_arrow(rows: Aggregates, keys: KeyTable, window: int) -> pa.RecordBatch:
    """`rows` in AGGREGATE_SCHEMA's names (strings dictionary encoded), the window's size in the metadata."""
    numbers = [pa.array(getattr(rows, f.name)) for f in fields(rows) if f.name != "key"]
    batch = pa.record_batch([*named(rows.key, keys), *numbers], names=AGGREGATE_SCHEMA.names)
    return batch.replace_schema_metadata({WINDOW_KEY: str(window)})


def encode_columns(rows: Aggregates, keys: KeyTable, window: int) -> Iterator[bytes]:
    """Arrow IPC streams of at most MAX_ROWS windows and MAX_BYTES each."""
    for at in range(0, len(rows), MAX_ROWS):
        yield from _pieces(rows.take(slice(at, at + MAX_ROWS)), keys, window)


def _pieces(rows: Aggregates, keys: KeyTable, window: int) -> list[bytes]:
    message = to_ipc(to_arrow(rows, keys, window))
    if len(message) <= MAX_BYTES or len(rows) == 1:
        return [message]
    half = len(rows) // 2
    return [*_pieces(rows.take(slice(0, half)), keys, window), *_pieces(rows.take(slice(half, None)), keys, window)]


class Result(
    msgspec.Struct, gc=False, rename={"meter": "gateway", "metric": "metricType", "attribute": "metricAttribute"}
):
    """One window as JSON. `window` in seconds, `start` in UTC ms."""

    meter: str
    metric: str
    attribute: str
    window: int
    start: int
    count: int
    min: float
    max: float
    sum: float
    avg: float
    first: float
    last: float


def encode_json(rows: Aggregates, keys: KeyTable, window: int) -> Iterator[tuple[Payloads, Payloads]]:
    """One message a window (see `Result`), and its meter, which is its key. Columns are joined as texts, not rows.

    In pieces that stay in the processor's cache while they are made and sent.
    """
    heads, meters = _heads_of(keys)
    for at in range(0, len(rows), PIECE):
        piece = rows.take(slice(at, at + PIECE))
        key = pa.array(piece.key)
        yield _texts_of(piece, heads.take(key), window), Payloads.of_arrow(meters.take(key))


_heads: WeakKeyDictionary[KeyTable, tuple[pa.Array, pa.Array]] = WeakKeyDictionary()


def _heads_of(keys: KeyTable) -> tuple[pa.Array, pa.Array]:
    """How the messages of each key begin, and its meter; index = id. Made anew only when a key has come."""
    known = _heads.get(keys)
    if known is None or len(known[0]) < len(keys):
        encode = msgspec.json.Encoder().encode
        heads = [
            b'{"gateway":%b,"metricType":%b,"metricAttribute":%b,"window":' % (encode(m), encode(t), encode(a))
            for m, t, a in keys.ids
        ]
        meters = [meter.encode() for meter, _, _ in keys.ids]
        known = _heads[keys] = pa.array(heads, pa.binary()), pa.array(meters, pa.binary())
    return known


def _texts_of(rows: Aggregates, heads: pa.Array, window: int) -> Payloads:
    texts = _Texts()
    average = rows.sum if rows.sum is rows.first else rows.sum / rows.count
    numbers = [("count", rows.count), ("min", rows.min), ("max", rows.max), ("sum", rows.sum), ("avg", average)]
    parts = [heads, b'%d,"start":' % window, texts.of(rows.start)]
    for name, column in [*numbers, ("first", rows.first), ("last", rows.last)]:
        parts += [f',"{name}":'.encode(), texts.of(column)]
    return weave([*parts, b"}"])


class _Texts:
    """Numbers as JSON texts. A column met again (a window of one reading has but one value) is not made again."""

    def __init__(self) -> None:
        self._made: dict[int, pa.Array | bytes] = {}

    def of(self, column: npt.NDArray[Any]) -> pa.Array | bytes:
        """The texts of a column; if all are the same, that one."""
        if id(column) not in self._made:
            same = bool((column == column[0]).all())
            texts = pa.array(column[:1] if same else column).cast(pa.string()).cast(pa.binary())
            self._made[id(column)] = texts[0].as_py() if same else texts
        return self._made[id(column)]


def to_ipc(batch: pa.RecordBatch) -> bytes:
    """One record batch as an Arrow IPC stream: self-contained, first byte 0xFF."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def from_ipc(message: bytes) -> tuple[int, pa.Table]:
    """Window size in seconds and the rows of one columnar message (string columns may be dictionary encoded).

    Raises ValueError (pyarrow.ArrowInvalid is one) if it is not a columnar result.
    """
    table = read_stream(message)
    size = (table.schema.metadata or {}).get(WINDOW_KEY)
    if size is None or table.schema.names != AGGREGATE_SCHEMA.names:
        raise ValueError(f"not a columnar result: fields {table.schema.names}")
    if unfit := [field.name for field in table.schema if not is_plain(field.type)]:
        raise ValueError(f"not a columnar result: {', '.join(unfit)} of no plain type")
    return int(size), table
