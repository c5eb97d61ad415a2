"""Variable-width bytes without a loop over rows: Arrow binary arrays made from and read as numpy."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bytes = npt.NDArray[np.uint8]

NOTHING = pa.scalar(b"", pa.binary())


def constant(value: bytes) -> pa.Scalar:
    """The same bytes in each row."""
    return pa.scalar(value, pa.binary())


def fixed(rows: npt.NDArray[Any]) -> pa.BinaryArray:
    """Each item of `rows`, shape (n,) of any dtype, as its bytes."""
    rows = np.ascontiguousarray(rows)
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.dtype.itemsize
    return pa.Array.from_buffers(pa.binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(rows)])


def join(*parts: pa.BinaryArray | pa.Scalar) -> pa.BinaryArray:
    """The parts of each row, one behind the other."""
    return pc.binary_join_element_wise(*parts, NOTHING)


def with_length(texts: pa.StringArray, dtype: str) -> pa.BinaryArray:
    """Each text as UTF-8 behind its length in bytes, an integer of `dtype`."""
    raw = texts.cast(pa.binary())
    return join(fixed(lengths(raw).astype(dtype)), raw)


def lengths(values: pa.BinaryArray | pa.StringArray) -> npt.NDArray[np.int32]:
    """Bytes of each value."""
    return pc.binary_length(values).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def flat(values: pa.BinaryArray) -> tuple[memoryview, npt.NDArray[np.int32]]:
    """All bytes in one piece, and the n + 1 offsets of the values in it."""
    _, offsets, data = values.buffers()
    at = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    return memoryview(data) if data is not None else memoryview(b""), at


def matrix_of(values: pa.BinaryArray) -> Iterator[tuple[npt.NDArray[np.intp], Bytes]]:
    """Per length in use: the positions of the values of that length, and their bytes, shape (n, length)."""
    data, offsets = flat(values)
    raw = np.frombuffer(data, np.uint8)
    widths = np.diff(offsets)
    for width in np.unique(widths):
        where = np.flatnonzero(widths == width)
        yield where, raw[offsets[where][:, None] + np.arange(width)]
