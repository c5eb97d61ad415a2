"""Avro readings in Confluent's framing to columns: 0x00, the schema's id (4 bytes, big endian), the record.

All messages of one schema are decoded together, a field at a time, by numpy over the joined bytes. That is many times
as fast as a library that makes an object a message, and finds broken messages without looking at each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterpipe.core.avro_cursor import PADDING, Buffer, Ints, Numbers, Spans, read_numbers, read_texts, skip, varints
from meterpipe.core.avro_schema import (
    LIMITS,
    Enum,
    Node,
    Primitive,
    Resolved,
    SchemaError,
    SchemaSource,
    Union,
    UnusableSchemaError,
    parse,
    resolve,
)
from meterpipe.core.deadletters import Reason, Reject
from meterpipe.core.readings import FIRST_MS, LARGEST, LAST_MS, Key

MAGIC = 0
HEAD = 5  # bytes before the record
TEXTS = ("meter", "metric", "attribute")
_EPOCH = datetime(1970, 1, 1)
_TYPES: dict[str, Any] = {"interval": np.int32, "quality": np.uint8, "revision": np.uint16}
_REMEMBERED = 200_000
"""Keys whose texts are kept decoded."""


@dataclass(frozen=True, slots=True)
class AvroColumns:
    """n decoded messages. `codes` index `keys`, which holds a key once or more."""

    message: npt.NDArray[np.int32]
    codes: npt.NDArray[np.int32]
    keys: list[Key]
    ts: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    interval_s: npt.NDArray[np.int32]
    quality: npt.NDArray[np.uint8]
    revision: npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class _Failed:
    """Why a schema cannot be used."""

    reason: Reason
    detail: str


class AvroDecoder:
    """Decodes batches of Avro messages with the field names and time zone of one pipeline."""

    def __init__(
        self,
        names: Mapping[str, str],
        schemas: SchemaSource,
        timezone: str | None = None,
        reader: int | None = None,
    ) -> None:
        """`reader`: id of the schema to read as, whose aliases and defaults older messages need."""
        self._names, self._schemas, self._reader = dict(names), schemas, reader
        self._zone = ZoneInfo(timezone) if timezone else None
        self._resolved: dict[int, Resolved | _Failed] = {}
        self._words: dict[bytes, Key | None] = {}

    def decode(self, values: Sequence[bytes], indices: npt.NDArray[np.int32]) -> tuple[list[AvroColumns], list[Reject]]:
        """Columns of the readable ones of `values` by schema; `indices` are their places in the consumed batch."""
        length = np.fromiter(map(len, values), np.int64, len(values))
        data = Buffer(b"".join([*values, bytes(PADDING)]))
        end = np.cumsum(length)
        at = end - length
        number = data.words[at] >> np.uint64(8) & np.uint64(0xFFFFFFFF)
        rejects: list[Reject] = []
        if (length < HEAD).any():
            short = length < HEAD
            rejects += [Reject(i, Reason.MALFORMED, "Avro without a schema id") for i in indices[short].tolist()]
            at, end, number, indices = at[~short], end[~short], number[~short], indices[~short]
        parts = []
        for one in np.unique(number).tolist():  # nearly always one schema
            mine = slice(None) if (number == one).all() else np.flatnonzero(number == one)
            schema = self._schema(int.from_bytes(int(one).to_bytes(4, "little"), "big"))
            if isinstance(schema, _Failed):
                rejects += [Reject(i, schema.reason, schema.detail) for i in indices[mine].tolist()]
                continue
            columns, refused = self._decode_all(schema, data, at[mine] + HEAD, end[mine], indices[mine])
            parts.append(columns)
            rejects += refused
        return parts, rejects

    def _schema(self, number: int) -> Resolved | _Failed:
        """The schema of this id, resolved or refused once. An unknown one is asked for again: a registry may learn."""
        if number in self._resolved:
            return self._resolved[number]
        found: Resolved | _Failed
        try:
            writer = self._parsed(number)
            reader = None if self._reader is None else self._parsed(self._reader)
            found = resolve(writer, self._names, reader)
        except UnusableSchemaError as problem:
            found = _Failed(problem.reason, f"schema {number}: {problem.detail}"[:1000])
            if problem.reason is Reason.UNKNOWN_SCHEMA:
                return found
        self._resolved[number] = found
        return found

    def _parsed(self, number: int) -> Node:
        text = self._schemas.schema(number)
        if text is None:
            raise UnusableSchemaError(Reason.UNKNOWN_SCHEMA, f"the registry has no schema {number}")
        try:
            return parse(text)
        except SchemaError as problem:
            raise UnusableSchemaError(Reason.UNKNOWN_SCHEMA, str(problem)) from problem

    def _decode_all(
        self, schema: Resolved, data: Buffer, at: Ints, end: Ints, indices: npt.NDArray[np.int32]
    ) -> tuple[AvroColumns, list[Reject]]:
        texts: dict[str, Spans | tuple[Numbers, Node]] = {}
        numbers: dict[str, Numbers] = {}
        nodes: dict[str, Node] = {}
        starts: dict[str, Ints] = {}
        for node, role in schema.parts:
            if role is None:
                at = skip(data, node, at, end)
                continue
            nodes[role], starts[role] = node, at
            if role not in TEXTS:
                numbers[role], at = read_numbers(data, node, at, end, role == "value")
            elif _has_enum(node):
                places, at = read_numbers(data, node, at, end, False)
                texts[role] = places, node
            else:
                texts[role], at = read_texts(data, node, at, end)
        screen = _Screen(len(at))
        screen.refuse(at > end, Reason.MALFORMED, "the record is cut short, or is not of its schema")
        screen.refuse(at < end, Reason.MALFORMED, "there is more than the record, or it is not of its schema")
        for role, found in {**texts, **numbers}.items():
            absent = found[0].absent if isinstance(found, tuple) else found.absent
            if absent is not None:
                screen.refuse(absent, Reason.MISSING_FIELD, f"{role} is null")
        value: npt.NDArray[Any]
        value = numbers["value"].values if "value" in numbers else np.full(len(at), float(schema.defaults["value"]))
        screen.refuse(~np.isfinite(value), Reason.OUT_OF_RANGE, "value is not finite")
        screen.refuse(np.abs(value) > LARGEST, Reason.OUT_OF_RANGE, f"value is beyond {LARGEST:g}")
        ts = self._instants(numbers["timestamp"].values.astype(np.int64, copy=False), nodes["timestamp"], screen)
        others = {role: _small(role, numbers, schema, screen) for role in LIMITS}
        codes, keys = self._keys(data, texts, starts, screen)
        columns: list[npt.NDArray[Any]] = [codes, ts, value.astype(np.float64, copy=False), *others.values()]
        rejects = screen.rejects(indices)
        if screen.any:
            good = screen.good
            indices, columns = indices[good], [column[good] for column in columns]
        codes, ts, value, interval, quality, revision = columns
        return AvroColumns(indices, codes, keys, ts, value, interval, quality, revision), rejects

    def _instants(self, ts: Ints, node: Node, screen: "_Screen") -> Ints:
        logical = next((b.logical for b in _branches(node) if b.kind != "null"), "")
        if logical.endswith("timestamp-micros"):
            ts = ts // 1000
        elif logical.endswith("timestamp-nanos"):
            ts = ts // 1_000_000
        screen.refuse((ts < FIRST_MS) | (ts > LAST_MS), Reason.OUT_OF_RANGE, "timestamp is outside the years 1 to 9999")
        if logical.startswith("local-"):
            if self._zone is None:
                everything = np.ones(len(ts), bool)
                why = "timestamp is local and the pipeline sets no readings.timezone"
                screen.refuse(everything, Reason.NO_ZONE, why)
            else:
                ts = _to_utc(np.clip(ts, FIRST_MS, LAST_MS), self._zone)
                outside = (ts < FIRST_MS) | (ts > LAST_MS)
                screen.refuse(outside, Reason.OUT_OF_RANGE, "timestamp is outside the years 1 to 9999")
        return ts

    def _keys(
        self, data: Buffer, texts: dict[str, Any], starts: dict[str, Ints], screen: "_Screen"
    ) -> tuple[npt.NDArray[np.int32], list[Key]]:
        """The key of each message, as codes and the keys they stand for."""
        meter, metric, attribute = (texts[role] for role in TEXTS)
        plain = all(isinstance(t, Spans) for t in (meter, metric, attribute))
        if plain and _adjacent(meter, metric) and _adjacent(metric, attribute):
            # one piece of bytes a message tells them all: lengths and texts as they stand
            span = Spans(starts["meter"], attribute.start + attribute.length - starts["meter"])
            codes, raw = _distinct(data, span, screen.good)
            keys = [self._split(one) for one in raw]
        else:
            columns = [_words(data, texts[role], screen.good) for role in TEXTS]
            codes, keys = _combine(columns)
        if None in keys:
            unreadable = np.array([key is None for key in keys], bool)
            screen.refuse(unreadable[codes], Reason.MALFORMED, "meter, metric or attribute is no UTF-8 text")
        return codes, [key or ("", "", "") for key in keys]

    def _split(self, raw: bytes) -> Key | None:
        """The key in three texts that lie together."""
        if raw in self._words:
            return self._words[raw]
        if len(self._words) >= _REMEMBERED:
            self._words.clear()
        data = Buffer(raw + bytes(PADDING))
        at, end, found = np.zeros(1, np.int64), np.array([len(raw)]), list[bytes]()
        for _ in TEXTS:
            length, start = varints(data, at, end)
            at = start + length
            found.append(raw[int(start[0]) : int(at[0])])
        key: Key | None = _text_or_none(found)
        self._words[raw] = key
        return key


class _Screen:
    """Which messages are readings, and why the others are not: one reason a message."""

    def __init__(self, count: int) -> None:
        self.good = np.ones(count, bool)
        self.any = False
        self._refused: list[tuple[npt.NDArray[np.intp], Reason, str]] = []

    def refuse(self, bad: npt.NDArray[np.bool_], reason: Reason, detail: str) -> None:
        """Refuse those that were good so far."""
        if bad.any():
            rows = np.flatnonzero(bad & self.good)
            self.good[rows] = False
            self.any = True
            self._refused.append((rows, reason, detail))

    def rejects(self, indices: npt.NDArray[np.int32]) -> list[Reject]:
        """All refused ones."""
        return [Reject(i, reason, detail) for rows, reason, detail in self._refused for i in indices[rows].tolist()]


def _branches(node: Node) -> list[Primitive]:
    return [b for b in (node.branches if isinstance(node, Union) else (node,)) if isinstance(b, Primitive)]


def _has_enum(node: Node) -> bool:
    return any(isinstance(b, Enum) for b in (node.branches if isinstance(node, Union) else (node,)))


def _small(role: str, numbers: dict[str, Numbers], schema: Resolved, screen: _Screen) -> npt.NDArray[Any]:
    """A column of small whole numbers in its own type."""
    kind, most = _TYPES[role], LIMITS[role]
    if role not in numbers:
        return np.full(len(screen.good), schema.defaults[role]).astype(kind)
    values = numbers[role].values
    screen.refuse((values < 0) | (values > most), Reason.OUT_OF_RANGE, f"{role} is not from 0 to {most}")
    return values.astype(kind)


def _adjacent(one: Spans, next_one: Spans) -> bool:
    """Whether the second text follows the first in each message, with nothing but its length (below 64) between."""
    return bool((next_one.start - (one.start + one.length) == 1).all())


def _distinct(data: Buffer, spans: Spans, good: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], list[bytes]]:
    """The distinct bytes among `spans`, and the place of each among them. Those of bad messages are empty."""
    start = spans.start
    length = spans.length if good.all() else np.where(good, spans.length, 0)
    cuts = np.empty(2 * len(start) + 1, np.int64)
    cuts[0:-1:2], cuts[1::2] = start, start + length
    cuts[-1] = cuts[-2] if len(start) else 0
    pieces = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), 2 * len(start), [None, pa.py_buffer(cuts), pa.py_buffer(data.raw)]
    )
    encoded = pieces.take(pa.array(np.arange(0, 2 * len(start), 2))).dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()


def _words(
    data: Buffer, column: Spans | tuple[Numbers, Enum | Union], good: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int32], list[str | None]]:
    """A text column as codes and words; None for what is no UTF-8."""
    if isinstance(column, Spans):
        codes, raw = _distinct(data, column, good)
        return codes, [None if (found := _text_or_none([one])) is None else found[0] for one in raw]
    numbers, node = column
    symbols = next(b.symbols for b in (node.branches if isinstance(node, Union) else (node,)) if isinstance(b, Enum))
    places = numbers.values.astype(np.int64)
    known = (places >= 0) & (places < len(symbols))
    return np.where(known, places, len(symbols)).astype(np.int32), [*symbols, None]


def _combine(columns: list[tuple[npt.NDArray[np.int32], list[str | None]]]) -> tuple[npt.NDArray[np.int32], list[Any]]:
    """Codes over the keys that occur, of the codes and words of meter, metric and attribute."""
    sizes = [max(1, len(words)) for _, words in columns]
    combined = (columns[0][0].astype(np.int64) * sizes[1] + columns[1][0]) * sizes[2] + columns[2][0]
    encoded = pa.array(combined).dictionary_encode()
    used = encoded.dictionary.to_numpy()
    places = used // (sizes[1] * sizes[2]), used // sizes[2] % sizes[1], used % sizes[2]
    texts = [[words[p] for p in place.tolist()] for (_, words), place in zip(columns, places, strict=True)]
    keys = [None if None in key else key for key in zip(*texts, strict=True)]
    return encoded.indices.to_numpy(), keys


def _text_or_none(raw: list[bytes]) -> Any:
    try:
        return tuple(one.decode() for one in raw)
    except UnicodeDecodeError:
        return None


def _to_utc(local: Ints, zone: ZoneInfo) -> Ints:
    """Local milliseconds as UTC; an hour that occurs twice is taken as the first, as for JSON."""
    distinct, place = np.unique(local, return_inverse=True)
    made = []
    for ms in distinct.tolist():
        stamp = (_EPOCH + timedelta(milliseconds=ms)).replace(tzinfo=zone)
        made.append(ms - (stamp.utcoffset() or timedelta(0)) // timedelta(milliseconds=1))
    return np.array(made, np.int64)[place]
