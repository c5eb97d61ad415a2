"""Forms of a request's body, by media type: JSON, NDJSON, Arrow. Others plug in as another `BodyFormat`."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np

from meterpipe.core.deadletters import Reason, Reject
from meterpipe.core.envelope_codec import decode_envelope
from meterpipe.core.ingest.arrow_bounds import check_stream
from meterpipe.core.ingest.rows import MAX_PROBLEMS, MAX_READINGS, Parsed, Problem, Rows, rows_of_json
from meterpipe.core.json_codec import JsonDecoder
from meterpipe.core.readings import READING_SCHEMA, readings_of
from meterpipe.spec.models import Readings as ReadingsSpec

_RAW = msgspec.json.Decoder(list[msgspec.Raw])
_BYTE = re.compile(r"\(byte (\d+)\)")
_FIELD = re.compile(r"at `\$\.([^`]+)`|required field `([^`]+)`|envelope has no column (\w+)")
_COMMAS = 20 * MAX_READINGS  # a reading has four, nine with every field; no list of more than that is made
TOO_MANY = f"more than {MAX_READINGS} readings; send them in several requests"


class BodyFormat(Protocol):
    """One way to write readings. Pure; anything may be in `body`, of which the size alone is bounded."""

    name: str
    media_types: tuple[str, ...]
    names: Mapping[str, str]
    """What the client calls meter, metric, attribute and timestamp."""

    def parse(self, body: bytes, query: Mapping[str, str]) -> Parsed:
        """The readings, and what is wrong with the others. `query`: what the client asked in the address."""


MakeFormat = Callable[[ReadingsSpec], BodyFormat]
"""What a plug-in is: it is told the pipeline's `readings`."""


class JsonBody:
    """One reading as an object, or many in an array."""

    name = "json"
    media_types: tuple[str, ...] = ("application/json",)

    def __init__(self, spec: ReadingsSpec) -> None:
        self.names: Mapping[str, str] = spec.fields.model_dump()
        self._decoder = JsonDecoder(spec.fields.model_dump(), spec.timezone)

    def parse(self, body: bytes, query: Mapping[str, str]) -> Parsed:
        """Readings of an array or an object. What is no JSON is refused as a whole, with the line."""
        if body.count(b",") > _COMMAS:
            return Parsed.unreadable(Reason.OUT_OF_RANGE, TOO_MANY)
        text = body.strip()
        if not text:
            return Parsed.unreadable(Reason.EMPTY, "the body is empty")
        if not text.startswith(b"["):
            return self._decode([text], lambda indices: [1 + body[: body.find(text)].count(b"\n")] * len(indices))
        try:
            values = [bytes(raw) for raw in _RAW.decode(body)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Parsed.unreadable(Reason.MALFORMED, str(error), line=_line_of(error, body))
        return self._decode(values, lambda indices: _lines_in_array(body, values, indices))

    def _decode(self, values: list[bytes], lines: Callable[[Sequence[int]], list[int] | None]) -> Parsed:
        if len(values) > MAX_READINGS:
            return Parsed.unreadable(Reason.OUT_OF_RANGE, TOO_MANY)
        columns, rejects = self._decoder.decode(values, np.arange(len(values), dtype=np.int32))
        problems = [problem_of(reject, reject.message, self.names) for reject in rejects]
        return Parsed(rows_of_json(columns), problems, _counts(rejects), lines)


class NdjsonBody(JsonBody):
    """One reading a line; blank lines are passed over."""

    name = "ndjson"
    media_types: tuple[str, ...] = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")

    def parse(self, body: bytes, query: Mapping[str, str]) -> Parsed:
        """Readings of the lines; each is judged by itself."""
        if body.count(b"\n") > 2 * MAX_READINGS:
            return Parsed.unreadable(Reason.OUT_OF_RANGE, TOO_MANY)
        lines = [line.strip() for line in body.split(b"\n")]
        numbers = [number for number, line in enumerate(lines, 1) if line]
        values = [line for line in lines if line]
        if not values:
            return Parsed.unreadable(Reason.EMPTY, "the body is empty")
        return self._decode(values, lambda indices: [numbers[index] for index in indices])


class ArrowBody:
    """An Arrow IPC stream with the columns of an envelope; meters of any partition."""

    name = "arrow"
    media_types: tuple[str, ...] = ("application/vnd.apache.arrow.stream",)

    names: Mapping[str, str] = {name: name for name in READING_SCHEMA.names} | {"timestamp": "ts"}

    def __init__(self, _spec: ReadingsSpec) -> None:
        """Arrow streams are the same in every pipeline."""

    def parse(self, body: bytes, query: Mapping[str, str]) -> Parsed:
        """Readings of the rows; the rows of one body are refused one by one, a broken stream as a whole."""
        if not body:
            return Parsed.unreadable(Reason.EMPTY, "the body is empty")
        try:
            check_stream(body)
        except ValueError as error:
            return Parsed.unreadable(Reason.MALFORMED, str(error))
        columns, rejects = decode_envelope(body, 0)
        problems = [
            problem_of(reject, row, self.names) for reject in rejects for row in (reject.rows[:MAX_PROBLEMS] or (None,))
        ]
        refused = _counts(rejects)
        if columns is None:
            return Parsed(problems=problems, refused=refused)
        return Parsed(Rows(columns.keys, readings_of(columns, columns.codes, columns.row)), problems, refused)


def problem_of(reject: Reject, index: int | None, names: Mapping[str, str]) -> Problem:
    """What a codec refused, told to who sent it."""
    return Problem(reject.reason, reject.detail, field=field_of(reject.detail, names), index=index)


def field_of(detail: str, names: Mapping[str, str]) -> str | None:
    """The field that a codec's words are about, by the name the client knows."""
    if found := _FIELD.search(detail):
        return next(group for group in found.groups() if group)
    return names.get(detail.partition(" ")[0])


def _counts(rejects: Sequence[Reject]) -> Counter[Reason]:
    """Readings refused, by reason."""
    counts: Counter[Reason] = Counter()
    for reject in rejects:
        counts[reject.reason] += reject.count
    return counts


def _line_of(error: Exception, body: bytes) -> int | None:
    """The line of the byte that an error of the JSON decoder names."""
    found = _BYTE.search(str(error))
    return 1 + body[: int(found[1])].count(b"\n") if found else None


def _lines_in_array(body: bytes, values: Sequence[bytes], indices: Sequence[int]) -> list[int]:
    """The line each of `values` begins in. Between two values is nothing but space and a comma, so the first match
    behind a value is the next one."""
    wanted, lines, at, line = set(indices), [], 1 + body.find(b"["), 1
    line += body.count(b"\n", 0, at)
    for index, value in enumerate(values[: max(wanted, default=-1) + 1]):
        start = body.find(value, at)
        line += body.count(b"\n", at, start)
        if index in wanted:
            lines.append(line)
        line += body.count(b"\n", start, start + len(value))
        at = start + len(value)
    return lines
