"""Arrow IPC streams from anyone: read within bounds. A few bytes can claim many columns, rows or unpacked bytes.

Arrow checks what it reads, but allocates what a message claims. So the messages' metadata (flatbuffers: Message.fbs and
Schema.fbs of Apache Arrow) are looked at first: that costs microseconds a message. Whatever is odd in them is left to
Arrow, which refuses it: here nothing is allocated.
"""

import struct
from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one stream may claim. Messages have 8 MB by default, and a reading takes at least some 20 bytes of them."""

    columns: int = 64
    rows: int = 1_000_000
    unpacked: int = 128 * 1024 * 1024
    """Bytes of all buffers that are compressed inside the stream."""
    dictionaries: int = 64
    """Messages with a dictionary: each change of one is a copy of it."""


OF_A_MESSAGE = Bounds()
_CONTINUATION = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
# slots of the tables' fields
_TYPE, _HEADER, _BODY = 1, 2, 3
_FIELDS = 1
_DATA = 1
_ROWS, _BUFFERS, _COMPRESSION = 0, 2, 3
_U32, _I32, _U16, _I64 = (struct.Struct(code).unpack_from for code in ("<I", "<i", "<H", "<q"))
_LAYOUT = np.dtype([("offset", "<i8"), ("length", "<i8")])


def read_stream(message: bytes) -> pa.Table:
    """The rows of a stream. Its plain columns are valid through and through; no other one may be looked into.

    Raises ValueError (pyarrow.ArrowInvalid is one), pyarrow.ArrowException or OSError if it is none, or beyond a bound.
    """
    check_claims(message)
    table = pa.ipc.open_stream(message).read_all()
    table.validate()
    # Arrow trusts offsets and codes otherwise: a crafted message must not crash us. To look through all rows of another
    # column can cost more than the message has bytes.
    plain_columns(table).validate(full=True)
    return table


def plain_columns(table: pa.Table) -> pa.Table:
    """Those whose values may be read."""
    return table.select([place for place, field in enumerate(table.schema) if is_plain(field.type)])


def is_plain(kind: pa.DataType) -> bool:
    """Whether each row has a value of its own. In views and run-ends one text can stand for all rows, and be copied."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return not (kind.num_fields or pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def check_claims(message: bytes, bounds: Bounds = OF_A_MESSAGE) -> None:
    """Raise ValueError for a stream whose metadata claim too much."""
    try:
        _check(message, bounds)
    except (struct.error, IndexError) as error:
        raise ValueError(f"not an Arrow stream: {error}") from error


def _check(message: bytes, bounds: Bounds) -> None:
    at, end, rows, unpacked, dictionaries = 0, len(message), 0, 0, 0
    while at + 4 <= end:
        (size,) = _U32(message, at)
        at += 4
        if size == _CONTINUATION:
            if at + 4 > end:
                return
            (size,) = _U32(message, at)
            at += 4
        if not size:  # the end of the stream
            return
        root = at + _U32(message, at)[0]
        table = _field(message, root, _HEADER)
        kind_at, body_at = _field(message, root, _TYPE), _field(message, root, _BODY)
        kind = message[kind_at] if kind_at else 0
        header = table + _U32(message, table)[0] if table else 0
        at += size
        if kind == _SCHEMA and (fields := _field(message, header, _FIELDS)):
            (columns,) = _U32(message, fields + _U32(message, fields)[0])
            if columns > bounds.columns:
                raise ValueError(f"{columns} columns, at most {bounds.columns} are taken")
        elif kind in (_DICTIONARY, _BATCH):
            if kind == _DICTIONARY:
                dictionaries += 1
                if dictionaries > bounds.dictionaries:
                    raise ValueError(f"more than {bounds.dictionaries} dictionaries")
                data = _field(message, header, _DATA)
                header = data + _U32(message, data)[0]
            rows_at = _field(message, header, _ROWS)
            (count,) = _I64(message, rows_at) if rows_at else (0,)
            rows += count if kind == _BATCH else 0
            if max(rows, count) > bounds.rows:
                raise ValueError(f"{max(rows, count)} rows, at most {bounds.rows} are taken at once")
            if _field(message, header, _COMPRESSION):
                if not bounds.unpacked:
                    raise ValueError(
                        "the stream is compressed inside; compress it as a whole instead (Content-Encoding)"
                    )
                unpacked += _unpacked(message, header, at)
                if unpacked > bounds.unpacked:
                    raise ValueError(f"the stream unpacks to more than {bounds.unpacked} bytes")
        length = _I64(message, body_at)[0] if body_at else 0
        if length < 0:
            return
        at += length


def _field(message: bytes, table: int, slot: int) -> int:
    """Where a field of a table is; 0 if it is left out."""
    vtable = table - _I32(message, table)[0]
    place = 4 + 2 * slot
    if place >= _U16(message, vtable)[0]:
        return 0
    (offset,) = _U16(message, vtable + place)
    return table + offset if offset else 0


def _unpacked(message: bytes, batch: int, body: int) -> int:
    """Bytes that the compressed buffers of a batch claim: each begins with its length."""
    field = _field(message, batch, _BUFFERS)
    if not field:
        return 0
    vector = field + _U32(message, field)[0]
    (count,) = _U32(message, vector)
    if count > len(message) // _LAYOUT.itemsize:
        raise ValueError("not an Arrow stream: more buffers than bytes")
    total = 0
    for offset, length in np.frombuffer(message, _LAYOUT, count, vector + 4).tolist():
        if length >= 8 and 0 <= offset <= len(message) - body - 8:
            total += max(0, _I64(message, body + offset)[0])
    return total
