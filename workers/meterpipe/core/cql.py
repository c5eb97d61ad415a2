"""Rows as bytes of the Cassandra native protocol (v4 and v5), made with numpy and Arrow: no Python runs per row.

A BATCH body is: type, number of statements, the statements, consistency, flags. A statement is: kind, prepared id,
number of values, each value behind its length. All statements of a table differ in their values only, so a whole
table's statements are made in one piece and batches are slices of it.
"""

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterpipe.core.batching import Grouping
from meterpipe.core.binary import constant, fixed, flat, join, with_length
from meterpipe.core.store_rows import StoreRows

COLUMNS = (
    *("meter", "metric", "attribute", "bucket", "window_start"),
    *("count", "min", "max", "sum", "avg", "first", "last", "revision"),
)
_KIND_PREPARED, _UNLOGGED = 1, 1
_DATE_ZERO = 1 << 31  # CQL's date: days since 1970, counted from the middle of an unsigned int


def insert(keyspace: str, table: str) -> str:
    """The statement whose values `encode` writes."""
    marks = ", ".join("?" * len(COLUMNS))
    return f'INSERT INTO "{keyspace}".{table} ({", ".join(COLUMNS)}) VALUES ({marks}) USING TIMESTAMP ?'


def _values() -> np.dtype[np.void]:
    """Every value of fixed width, in the order of the statement, each behind its length (`…_`)."""
    eight = [(name, ">f8") for name in ("min", "max", "sum", "avg", "first", "last")]
    columns = [
        ("bucket", ">u4"),
        *[("window_start", ">i8"), ("count", ">i8")],
        *eight,
        *[("revision", ">i4"), ("written", ">i8")],
    ]
    return np.dtype([part for name, kind in columns for part in ((f"{name}_", ">i4"), (name, kind))])


VALUES = _values()


@dataclass(frozen=True, slots=True)
class Statements:
    """n statements in one piece: statement i is data[offsets[i]:offsets[i + 1]]."""

    data: memoryview
    offsets: npt.NDArray[np.int32]

    def batch(self, start: int, end: int, consistency: int, protocol: int) -> bytes:
        """The body of an UNLOGGED batch of the statements start to end. The write times are among their values."""
        flags = struct.pack(">i", 0) if protocol >= 5 else b"\0"
        return b"".join(
            (
                struct.pack(">BH", _UNLOGGED, end - start),
                self.data[self.offsets[start] : self.offsets[end]],
                struct.pack(">H", consistency),
                flags,
            )
        )


def encode(rows: StoreRows, order: npt.NDArray[np.intp], statement_id: bytes) -> Statements:
    """The statements of `rows` in `order`."""
    head = struct.pack(f">BH{len(statement_id)}sH", _KIND_PREPARED, len(statement_id), statement_id, len(COLUMNS) + 1)
    texts = [with_length(text.dictionary, ">i4").take(text.indices.take(pa.array(order))) for text in rows.texts]
    values = np.empty(len(order), VALUES)
    for name in VALUES.names or ():
        if name.endswith("_"):
            values[name] = VALUES[name[:-1]].itemsize
    values["bucket"] = rows.bucket[order] + _DATE_ZERO
    values["window_start"] = rows.start[order]
    for name in ("count", "min", "max", "sum", "avg", "first", "last", "written"):
        values[name] = getattr(rows, name)[order]
    values["revision"] = rows.revision
    return Statements(*flat(join(constant(head), *texts, fixed(values))))


def partition_keys(rows: StoreRows, grouping: Grouping) -> pa.BinaryArray:
    """The serialized key of each partition, as the server hashes it: each part as length, bytes, zero."""
    heads, zero = pa.array(grouping.heads), constant(b"\0")
    texts = [with_length(text.dictionary, ">u2").take(text.indices.take(heads)) for text in rows.texts]
    bucket = np.empty(len(grouping.heads), [("length", ">u2"), ("days", ">u4")])
    bucket["length"], bucket["days"] = 4, rows.bucket[grouping.heads] + _DATE_ZERO
    meter, metric, attribute = texts
    return join(meter, zero, metric, zero, attribute, zero, fixed(bucket), zero)
