"""Avro's binary form read in columns: one step reads the same field of all messages of a batch. Pure.

All messages lie in one buffer; a message is a position and its end. What goes beyond its end is set to one past it and
stays there: a broken message is found when all fields are read, disturbs no other and costs no branch on the way.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from meterpipe.core.avro_schema import Blocks, Enum, Fixed, Node, Primitive, Record, Union

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]
PADDING = 16
"""Bytes to be there behind the last message: reading may look so far ahead."""
DEPTH = 64
"""Records, arrays and maps within one another, in fields that are passed over."""

_CONTINUES = np.uint64(0x8080808080808080)
_SEVENS = np.uint64(0x7F7F7F7F7F7F7F7F)
_STEPS = [
    (np.uint64(0x7F007F007F007F00), np.uint64(1), np.uint64(0x007F007F007F007F)),
    (np.uint64(0x3FFF00003FFF0000), np.uint64(2), np.uint64(0x00003FFF00003FFF)),
    (np.uint64(0x0FFFFFFF00000000), np.uint64(4), np.uint64(0x000000000FFFFFFF)),
]
_ONE, _ALL = np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)


class Buffer:
    """The bytes of a batch. Words of 4 and 8 bytes can be read at any position."""

    def __init__(self, data: bytes) -> None:
        """`data` with PADDING behind."""
        self.raw = data
        self.bytes = np.frombuffer(data, np.uint8)
        self.words = _strided(data, "<u8")
        self.doubles = _strided(data, "<f8")
        self.floats = _strided(data, "<f4")


def _strided(data: bytes, dtype: str) -> npt.NDArray[np.uint64]:
    size = np.dtype(dtype).itemsize
    return np.ndarray((max(0, len(data) - size + 1),), dtype, data, strides=(1,))


@dataclass(frozen=True, slots=True)
class Spans:
    """Texts as places in the buffer; `absent` are nulls."""

    start: Ints
    length: Ints
    absent: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Numbers:
    """Values; `absent` are nulls, 0 here."""

    values: npt.NDArray[Any]
    absent: npt.NDArray[np.bool_] | None = None


def varints(buffer: Buffer, at: Ints, end: Ints) -> tuple[Ints, Ints]:
    """Zigzag integers at `at`, and the positions behind them."""
    first = buffer.bytes[at]
    if not (first >= 0x80).any():  # one byte each: lengths, branches, small numbers
        small = first.astype(np.int64)
        return (small >> 1) ^ -(small & 1), np.minimum(at + 1, end + 1)
    word = buffer.words[at]
    stops = ~word & _CONTINUES
    lowest = stops & (~stops + _ONE)  # the top bit of the last byte
    below = lowest - _ONE
    size = (np.bitwise_count(below).astype(np.int64) + 1) >> 3
    value = word & _SEVENS & (below | lowest)
    for high, shift, low in _STEPS:
        value = ((value & high) >> shift) | (value & low)
    if not stops.all():  # nine or ten bytes
        for row in np.flatnonzero(stops == 0).tolist():
            value[row], size[row] = _long_varint(buffer.raw, int(at[row]))
    decoded = (value >> _ONE) ^ (~(value & _ONE) + _ONE)
    return decoded.view(np.int64), np.minimum(at + size, end + 1)


def _long_varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        byte = raw[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, place + 1
    return 0, 1 << 40  # it never ends: beyond any message


def forward(at: Ints, end: Ints, length: Ints) -> Ints:
    """Positions `length` bytes on."""
    return np.where((length >= 0) & (length <= end - at), at + length, end + 1)


def read_texts(buffer: Buffer, node: Node, at: Ints, end: Ints) -> tuple[Spans, Ints]:
    """Strings, or nulls among them."""
    if isinstance(node, Union):
        return _read_text_union(buffer, node, at, end)
    if isinstance(node, Primitive) and node.kind == "null":
        zeros = np.zeros(len(at), np.int64)
        return Spans(at, zeros, np.ones(len(at), bool)), at
    length, start = varints(buffer, at, end)
    behind = forward(start, end, length)
    fits = behind <= end
    return Spans(np.minimum(start, end), np.where(fits, length, 0)), behind


def _read_text_union(buffer: Buffer, node: Union, at: Ints, end: Ints) -> tuple[Spans, Ints]:
    branch, at = varints(buffer, at, end)
    start, length, behind = at.copy(), np.zeros(len(at), np.int64), end + 1
    absent = np.zeros(len(at), bool)
    for number, rows in _by_branch(node, branch):
        spans, new = read_texts(buffer, node.branches[number], at[rows], end[rows])
        start[rows], length[rows], behind[rows] = spans.start, spans.length, new
        absent[rows] = False if spans.absent is None else spans.absent
    return Spans(np.minimum(start, end), length, absent if absent.any() else None), behind


def read_numbers(buffer: Buffer, node: Node, at: Ints, end: Ints, floating: bool) -> tuple[Numbers, Ints]:
    """Numbers as int64, or as float64 if `floating`; nulls among them. An enum is read as its place."""
    if isinstance(node, Union):
        branch, at = varints(buffer, at, end)
        values: npt.NDArray[Any] = np.zeros(len(at), np.float64 if floating else np.int64)
        absent, behind = np.zeros(len(at), bool), end + 1
        for number, rows in _by_branch(node, branch):
            found, new = read_numbers(buffer, node.branches[number], at[rows], end[rows], floating)
            values[rows], behind[rows] = found.values, new
            absent[rows] = False if found.absent is None else found.absent
        return Numbers(values, absent if absent.any() else None), behind
    kind = node.kind if isinstance(node, Primitive) else "enum"
    if kind == "null":
        zeros: npt.NDArray[Any] = np.zeros(len(at), np.float64 if floating else np.int64)
        return Numbers(zeros, np.ones(len(at), bool)), at
    if kind in ("double", "float"):
        source, size = (buffer.doubles, 8) if kind == "double" else (buffer.floats, 4)
        return Numbers(source[at].astype(np.float64, copy=False)), np.minimum(at + size, end + 1)
    whole, at = varints(buffer, at, end)
    return Numbers(whole.astype(np.float64) if floating else whole), at


def _by_branch(node: Union, branch: Ints) -> list[tuple[int, Rows | slice]]:
    """Rows of each branch in use; a branch that does not exist is nobody's, and so its message is broken."""
    first = int(branch[0]) if len(branch) else 0
    if (branch == first).all():
        return [(first, slice(None))] if 0 <= first < len(node.branches) else []
    return [(number, rows) for number in range(len(node.branches)) if len(rows := np.flatnonzero(branch == number))]


_SIZES = {"null": 0, "boolean": 1, "float": 4, "double": 8}


def skip(buffer: Buffer, node: Node, at: Ints, end: Ints, depth: int = 0) -> Ints:
    """Pass over a field."""
    if isinstance(node, Primitive | Fixed) and (size := _size(node)) is not None:
        return np.where(size <= end - at, at + size, end + 1)
    if isinstance(node, Enum) or (isinstance(node, Primitive) and node.kind in ("int", "long")):
        return varints(buffer, at, end)[1]
    if isinstance(node, Primitive):  # bytes, string
        length, at = varints(buffer, at, end)
        return forward(at, end, length)
    if isinstance(node, Union):
        branch, at = varints(buffer, at, end)
        behind = end + 1
        for number, rows in _by_branch(node, branch):
            behind[rows] = skip(buffer, node.branches[number], at[rows], end[rows], depth + 1)
        return behind
    if isinstance(node, Record) and depth < DEPTH:
        for part in node.fields:
            at = skip(buffer, part.node, at, end, depth + 1)
        return at
    ends = zip(at.tolist(), end.tolist(), strict=True)
    return np.fromiter((_skip_one(buffer.raw, node, a, e, 0) for a, e in ends), np.int64, len(at))


def _size(node: Primitive | Fixed) -> int | None:
    return node.size if isinstance(node, Fixed) else _SIZES.get(node.kind)


# Arrays, maps and what is nested too deep: message by message. They lie in fields nobody asked for.


def _skip_one(raw: bytes, node: Node, at: int, end: int, depth: int) -> int:
    if at > end or depth > DEPTH:
        return end + 1
    if isinstance(node, Primitive | Fixed) and (size := _size(node)) is not None:
        return min(at + size, end + 1)
    if isinstance(node, Record):
        for part in node.fields:
            at = _skip_one(raw, part.node, at, end, depth + 1)
        return at
    number, at = _read_one(raw, at, end)
    if isinstance(node, Enum):
        return at
    if isinstance(node, Union):
        known = 0 <= number < len(node.branches)
        return _skip_one(raw, node.branches[number], at, end, depth + 1) if known else end + 1
    if isinstance(node, Blocks):
        return _skip_blocks(raw, node, number, at, end, depth)
    if isinstance(node, Primitive) and node.kind in ("bytes", "string"):
        return at + number if 0 <= number <= end - at else end + 1
    return at


def _skip_blocks(raw: bytes, node: Blocks, count: int, at: int, end: int, depth: int) -> int:
    while count and at <= end:
        if count < 0:  # with the block's size in bytes
            size, at = _read_one(raw, at, end)
            at = at + size if 0 <= size <= end - at else end + 1
        else:
            for _ in range(count):
                before = at
                if node.keyed:
                    at = _skip_one(raw, Primitive("string"), at, end, depth + 1)
                at = _skip_one(raw, node.item, at, end, depth + 1)
                if at > end or at == before:  # broken, or items without bytes: any number of them
                    break
        count, at = _read_one(raw, at, end)
    return at


def _read_one(raw: bytes, at: int, end: int) -> tuple[int, int]:
    if at >= end:
        return 0, end + 1
    value, size = _long_varint(raw, at)
    return (value >> 1) ^ -(value & 1), min(at + size, end + 1)
