"""Looks at an Arrow stream before it is decoded: few bytes can claim many rows, columns or unpacked bytes.

Reads the flatbuffers of the messages' metadata, which pyarrow has verified but does not show: Schema.fields,
RecordBatch.length and RecordBatch.compression (format/Message.fbs and Schema.fbs of Apache Arrow).
"""

import struct

import pyarrow as pa

from meterpipe.core.ingest.rows import MAX_READINGS, PARTS

MAX_COLUMNS = 64
_NUMBERS = ("ts", "value", "interval_s", "quality", "revision")
# slots of the tables' fields
_HEADER, _FIELDS, _LENGTH, _COMPRESSION, _DICTIONARY_DATA = 2, 1, 0, 3, 1


class _Table:
    """A flatbuffers table at a position of a buffer."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._vtable = at - struct.unpack_from("<i", data, at)[0]
        self._slots = (struct.unpack_from("<H", data, self._vtable)[0] - 4) // 2

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def _place(self, slot: int) -> int | None:
        offset = struct.unpack_from("<H", self._data, self._vtable + 4 + 2 * slot)[0] if slot < self._slots else 0
        return self._at + offset if offset else None

    def has(self, slot: int) -> bool:
        return self._place(slot) is not None

    def int64(self, slot: int) -> int:
        place = self._place(slot)
        return 0 if place is None else int(struct.unpack_from("<q", self._data, place)[0])

    def _pointed(self, slot: int) -> int | None:
        place = self._place(slot)
        return None if place is None else place + int(struct.unpack_from("<I", self._data, place)[0])

    def table(self, slot: int) -> "_Table":
        place = self._pointed(slot)
        if place is None:
            raise ValueError("not an Arrow stream: a message has no header")
        return _Table(self._data, place)

    def vector_length(self, slot: int) -> int:
        place = self._pointed(slot)
        return 0 if place is None else int(struct.unpack_from("<I", self._data, place)[0])


def check_stream(body: bytes) -> None:
    """Raise ValueError for a stream that is none, or that decoding could cost more than its size warrants."""
    try:
        rows, reader = 0, pa.ipc.MessageReader.open_stream(body)
        while (message := _next(reader)) is not None:
            header = _Table.root(message.metadata.to_pybytes()).table(_HEADER)
            if message.type == "schema":
                if (columns := header.vector_length(_FIELDS)) > MAX_COLUMNS:
                    raise ValueError(f"{columns} columns, at most {MAX_COLUMNS} are taken")
                continue
            batch = header.table(_DICTIONARY_DATA) if message.type == "dictionary" else header
            if batch.has(_COMPRESSION):
                raise ValueError("the stream is compressed inside; compress the whole body instead (Content-Encoding)")
            rows += batch.int64(_LENGTH) if message.type != "dictionary" else 0
            if max(rows, batch.int64(_LENGTH)) > MAX_READINGS:
                raise ValueError(f"more than {MAX_READINGS} rows; send them in several requests")
        _check_types(pa.ipc.open_stream(body).schema)
    except (pa.ArrowException, OSError, struct.error, EOFError) as error:
        raise ValueError(f"not an Arrow stream: {error}") from error


def _next(reader: pa.ipc.MessageReader) -> pa.ipc.Message | None:
    try:
        return reader.read_next_message()
    except StopIteration:
        return None


def _check_types(schema: pa.Schema) -> None:
    """Views and run-end encoding can repeat a long text by the row, so that a cast makes it large: plain types only."""
    for field in schema:
        if field.name in PARTS:
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise ValueError(f"column {field.name} is {field.type}, wanted are strings")
        elif field.name in _NUMBERS:
            kind = field.type
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_timestamp(kind)):
                raise ValueError(f"column {field.name} is {kind}, wanted are numbers")
