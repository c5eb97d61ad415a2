"""Arrow batches as Avro messages in Confluent's framing, built column by column."""

from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterpipe.core.binary import constant, fixed, join

_WHOLE = ("interval_s", "quality", "revision")


def reading_schema(names: Mapping[str, str]) -> str:
    """The Avro schema of a reading, as JSON text.

    `names` maps meter, metric, attribute, timestamp, value, interval, quality, revision to fields.
    """
    texts = [{"name": names[role], "type": "string"} for role in ("meter", "metric", "attribute")]
    numbers = [
        {"name": names["timestamp"], "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": names["value"], "type": "double"},
    ]
    whole = [{"name": names[role], "type": "int", "default": 0} for role in ("interval", "quality", "revision")]
    record = {"type": "record", "name": "Reading", "namespace": "io.meterpipe", "fields": [*texts, *numbers, *whole]}
    return msgspec.json.encode(record).decode()


def varint(number: int) -> bytes:
    """A zigzag integer."""
    left, out = (number << 1) ^ (number >> 63), bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def varints(numbers: npt.NDArray[np.int64]) -> pa.BinaryArray:
    """Each number as a zigzag integer."""
    zigzag = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
    sevens = (zigzag[:, None] >> (np.arange(10, dtype=np.uint64) * np.uint64(7))).astype(np.uint8) & np.uint8(0x7F)
    size = np.maximum(1, 10 - (sevens[:, ::-1] != 0).argmax(axis=1) * (zigzag != 0) - 9 * (zigzag == 0))
    place = np.arange(10)
    used = place < size[:, None]
    data = np.where(place < size[:, None] - 1, sevens | np.uint8(0x80), sevens)[used]
    offsets = np.concatenate([[0], np.cumsum(size)]).astype(np.int32)
    return pa.Array.from_buffers(pa.binary(), len(numbers), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


class AvroRows:
    """Encodes batches of READING_SCHEMA's names as Avro messages of one registered schema (see reading_schema)."""

    def __init__(self, schema: int) -> None:
        """`schema`: its id in the registry."""
        self._head = b"\0" + schema.to_bytes(4, "big")

    def encode(self, batch: pa.RecordBatch) -> tuple[list[bytes], list[bytes]]:
        """Values and keys (the meters), one a row."""
        meter, metric, attribute = (_encoded(batch.column(name)) for name in ("meter", "metric", "attribute"))
        parts = [
            constant(self._head),
            *(_texts(column) for column in (meter, metric, attribute)),
            varints(batch.column("ts").to_numpy()),
            fixed(batch.column("value").to_numpy().astype("<f8", copy=False)),
            *(_small(batch.column(name).to_numpy()) for name in _WHOLE),
        ]
        raw = [word.encode() for word in meter.dictionary.to_pylist()]
        return join(*parts).to_pylist(), [raw[code] for code in meter.indices.to_pylist()]


def _encoded(column: pa.Array) -> pa.DictionaryArray:
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()


def _texts(column: pa.DictionaryArray) -> pa.BinaryArray:
    words = [varint(len(raw := word.encode())) + raw for word in column.dictionary.to_pylist()]
    return pa.array(words, pa.binary()).take(column.indices)


def _small(numbers: npt.NDArray[np.int32]) -> pa.BinaryArray | pa.Scalar:
    """Whole numbers that are mostly the same."""
    if len(numbers) and (numbers == numbers[0]).all():
        return constant(varint(int(numbers[0])))
    return varints(numbers.astype(np.int64))
