"""JSON readings to columns and back.

All messages of a batch are decoded in one call, then each column is pulled out by C-level maps. A batch that does not
decode that way (unknown fields, or one broken message among thousands) is decoded message by message, which finds the
broken ones and costs nothing while there are none.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat
from operator import attrgetter, itemgetter
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterpipe.core.deadletters import Reason, Reject
from meterpipe.core.readings import FIRST_MS, LAST_MS, Key

_Timestamp = Annotated[int, msgspec.Meta(ge=FIRST_MS, le=LAST_MS)] | datetime
_REQUIRED: list[tuple[str, Any]] = [
    ("meter", str),
    ("metric", str),
    ("attribute", str),
    ("timestamp", _Timestamp),
    ("value", float),
]
_OPTIONAL: list[tuple[str, Any, Any]] = [
    ("interval", Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)], 0),
    ("quality", Annotated[int, msgspec.Meta(ge=0, le=255)], 0),
    ("revision", Annotated[int, msgspec.Meta(ge=0, le=65535)], 0),
    ("unit", str | None, None),  # accepted so that it costs no slow path; values are taken in the metric's base unit
]
_key_of = attrgetter("meter", "metric", "attribute")
_timestamp_of = attrgetter("timestamp")
_value_of = attrgetter("value")
_zone_of = attrgetter("tzinfo")


@dataclass(frozen=True, slots=True)
class JsonColumns:
    """n decoded messages. `keys` has a Key a message."""

    message: npt.NDArray[np.int32]
    keys: list[Key]
    ts: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    interval_s: npt.NDArray[np.int32]
    quality: npt.NDArray[np.uint8]
    revision: npt.NDArray[np.uint16]


NEWLINE, BRACE = ord("\n"), ord("{")


def starts_as_object(values: Sequence[bytes | None]) -> bool:
    """Whether every value begins with `{`."""
    try:
        return set(map(itemgetter(0), values)) <= {BRACE}  # type: ignore[arg-type]  # None is told by the TypeError
    except (TypeError, IndexError):
        return False


class JsonDecoder:
    """Decodes batches of JSON messages with the field names and time zone of one pipeline."""

    def __init__(self, names: dict[str, str], timezone: str | None = None) -> None:
        """`names` maps meter, metric, attribute, timestamp, value, interval, quality, revision to JSON fields."""
        self._zone = ZoneInfo(timezone) if timezone else None
        plain = msgspec.defstruct("Plain", _REQUIRED, rename=names, gc=False, forbid_unknown_fields=True)
        full = msgspec.defstruct("Full", [*_REQUIRED, *_OPTIONAL], rename=names, gc=False, forbid_unknown_fields=True)
        lenient = msgspec.defstruct("Lenient", [*_REQUIRED, *_OPTIONAL], rename=names, gc=False)
        self._plain = msgspec.json.Decoder(plain)
        self._full = msgspec.json.Decoder(full)
        self._lenient = msgspec.json.Decoder(lenient)
        self._batch_decoders = [self._plain, self._full]

    def decode(self, values: Sequence[bytes], indices: npt.NDArray[np.int32]) -> tuple[JsonColumns, list[Reject]]:
        """Columns of the readable ones of `values`; `indices` are their places in the consumed batch."""
        structs, rejects = self._decode_together(values), list[Reject]()
        if structs is None:
            structs, indices, rejects = self._decode_singly(values, indices)
        ts, bad = self._timestamps(structs)
        if bad.any():
            rejects += [
                Reject(int(i), Reason.NO_ZONE, "timestamp has no zone and the pipeline sets no readings.timezone")
                for i in indices[bad]
            ]
            structs, indices, ts = _where(structs, ~bad), indices[~bad], ts[~bad]
        return self._columns(structs, indices, ts), rejects

    def _decode_together(self, values: Sequence[bytes]) -> list[Any] | None:
        """All values in one call, or None if they have to be looked at one by one.

        Lines are safe to join when each is one value: no line break inside a value (counted), each starts as an object,
        and the structs hold scalars only, so that no value can span two lines.
        """
        if not starts_as_object(values):
            return None
        count, lines = len(values), b"\n".join(values)
        if np.count_nonzero(np.frombuffer(lines, np.uint8) == NEWLINE) != count - 1:
            return None
        for decoder in self._batch_decoders:
            try:
                structs = decoder.decode_lines(lines)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if len(structs) == count:
                if decoder is not self._batch_decoders[0]:
                    self._batch_decoders.reverse()  # a topic tends to go on as it is
                return structs
            return None
        return None

    def _decode_singly(
        self, values: Sequence[bytes], indices: npt.NDArray[np.int32]
    ) -> tuple[list[Any], npt.NDArray[np.int32], list[Reject]]:
        structs, good, rejects = [], [], []
        decode = self._lenient.decode
        for index, value in zip(indices.tolist(), values, strict=True):
            try:
                structs.append(decode(value))
                good.append(index)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                rejects.append(Reject(index, _reason(error), str(error)))
        return structs, np.array(good, np.int32), rejects

    def _timestamps(self, structs: list[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Epoch ms of each, and which of them lack a zone."""
        count = len(structs)
        try:
            return np.fromiter(map(_timestamp_of, structs), np.int64, count), np.zeros(count, bool)
        except TypeError:
            pass
        stamps = list(map(_timestamp_of, structs))
        zoned = [s if isinstance(s, int) else self._zoned(s) for s in stamps]
        bad = np.array([z is None for z in zoned], bool)
        return np.array([_epoch_ms(z) for z in zoned], np.int64), bad

    def _zoned(self, stamp: datetime) -> datetime | None:
        if stamp.tzinfo is not None:
            return stamp
        return stamp.replace(tzinfo=self._zone) if self._zone else None

    def _columns(self, structs: list[Any], indices: npt.NDArray[np.int32], ts: npt.NDArray[np.int64]) -> JsonColumns:
        count = len(structs)
        if structs and hasattr(structs[0], "revision"):
            optional = [np.fromiter(map(attrgetter(n), structs), d, count) for n, d in _OPTIONAL_TYPES]
        else:
            optional = [np.zeros(count, dtype) for _, dtype in _OPTIONAL_TYPES]
        return JsonColumns(
            message=indices,
            keys=list(map(_key_of, structs)),
            ts=ts,
            value=np.fromiter(map(_value_of, structs), np.float64, count),
            interval_s=optional[0],
            quality=optional[1],
            revision=optional[2],
        )


_OPTIONAL_TYPES: list[tuple[str, Any]] = [("interval", np.int32), ("quality", np.uint8), ("revision", np.uint16)]


def _epoch_ms(stamp: datetime | int | None) -> int:
    """Epoch milliseconds, cut (not rounded) to whole ones; 0 for None."""
    if stamp is None:
        return 0
    if isinstance(stamp, int):
        return stamp
    delta = stamp.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def _where(structs: list[Any], mask: npt.NDArray[np.bool_]) -> list[Any]:
    return [s for s, keep in zip(structs, mask.tolist(), strict=True) if keep]


_REASONS: list[tuple[re.Pattern[str], Reason]] = [
    (re.compile("missing required field"), Reason.MISSING_FIELD),
    (re.compile("out of range|>=|<="), Reason.OUT_OF_RANGE),
    (re.compile(r"Expected `object`|^Input data was truncated|malformed|trailing"), Reason.MALFORMED),
    (re.compile("^Expected|Invalid RFC3339"), Reason.WRONG_TYPE),
]


def _reason(error: Exception) -> Reason:
    text = str(error)
    return next((reason for pattern, reason in _REASONS if pattern.search(text)), Reason.MALFORMED)


class JsonEncoder:
    """Encodes readings as JSON messages with the field names of one pipeline."""

    def __init__(self, names: dict[str, str]) -> None:
        plain = [(name, kind) for name, kind in _REQUIRED if name != "timestamp"]
        order = ["meter", "metric", "attribute", "timestamp", "value"]
        fields = dict(plain) | {"timestamp": int}
        self._plain = msgspec.defstruct("Plain", [(n, fields[n]) for n in order], rename=names, gc=False)
        self._full = msgspec.defstruct(
            "Full", [*((n, fields[n]) for n in order), *_OPTIONAL[:3]], rename=names, gc=False, omit_defaults=True
        )
        self._encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode

    def encode(self, batch: pa.RecordBatch) -> list[bytes]:
        """One message a row of `batch` (READING_SCHEMA's names); interval, quality and revision only where not 0."""
        required = [batch.column(n).to_pylist() for n in ("meter", "metric", "attribute", "ts", "value")]
        optional = [
            batch.column(n).to_pylist() if n in batch.schema.names else None
            for n in ("interval_s", "quality", "revision")
        ]
        if not any(any(column) for column in optional if column is not None):
            return list(map(self._encode, map(self._plain, *required)))
        columns = [column if column is not None else repeat(0) for column in optional]
        return list(map(self._encode, map(self._full, *required, *columns)))
