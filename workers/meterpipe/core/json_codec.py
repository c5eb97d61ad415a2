"""JSON readings to columns and back.

Some thousand messages are decoded in one call, then each column is pulled out by C-level maps. A piece that does not
decode that way (unknown fields, or a broken message in it) is taken message by message: that finds the broken ones and
costs nothing while there are none.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import numpy.typing as npt

from meterpipe.core.deadletters import Reason, Reject
from meterpipe.core.messages import Payloads
from meterpipe.core.readings import FIRST_MS, LARGEST, LAST_MS, Key

_Timestamp = Annotated[int, msgspec.Meta(ge=FIRST_MS, le=LAST_MS)] | datetime
_REQUIRED: list[tuple[str, Any]] = [
    ("meter", str),
    ("metric", str),
    ("attribute", str),
    ("timestamp", _Timestamp),
    ("value", Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]),
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
EPOCH = datetime(1970, 1, 1)
PIECE = 1024
"""Messages decoded at once: few enough for their objects to stay in the processor's cache and the memory they had."""


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


BRACE = ord("{")


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
        decoded = list(self.pieces(Payloads.of(values), indices))
        return _join([columns for columns, _ in decoded]), [reject for _, rejects in decoded for reject in rejects]

    def pieces(self, values: Payloads, indices: npt.NDArray[np.int32]) -> Iterator[tuple[JsonColumns, list[Reject]]]:
        """As `decode`, a piece at a time."""
        for at in range(0, max(1, len(values)), PIECE):
            yield self._decode_piece(values[at : at + PIECE], indices[at : at + PIECE])

    def _decode_piece(self, values: Payloads, indices: npt.NDArray[np.int32]) -> tuple[JsonColumns, list[Reject]]:
        structs = self._decode_together(values)
        if structs is not None:
            return self._columns(structs, indices)
        structs, good, rejects = self._decode_singly(values, indices)
        columns, refused = self._columns(structs, good)
        return columns, rejects + refused

    def _decode_together(self, values: Payloads) -> list[Any] | None:
        """All values in one call, or None if they have to be looked at one by one.

        Joined, they are still one value each: every message begins as an object, and the structs hold scalars only, so
        no value can go on in the next message; then none has two either if there are as many values as messages.
        """
        if not (values.first_bytes() == BRACE).all():
            return None
        count, lines = len(values), values.lines()
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
        self, values: Payloads, indices: npt.NDArray[np.int32]
    ) -> tuple[list[Any], npt.NDArray[np.int32], list[Reject]]:
        structs, good, rejects = [], [], []
        decode = self._lenient.decode
        for index, value in zip(indices.tolist(), values, strict=True):
            try:
                structs.append(decode(value or b""))
                good.append(index)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                rejects.append(Reject(index, _reason(error), str(error)))
        return structs, np.array(good, np.int32), rejects

    def _columns(self, structs: list[Any], indices: npt.NDArray[np.int32]) -> tuple[JsonColumns, list[Reject]]:
        """Columns of structs of one type; refuses those whose local time says no instant."""
        rejects: list[Reject] = []
        try:
            ts = np.fromiter(map(_timestamp_of, structs), np.int64, len(structs))
        except TypeError:  # some are texts
            judged = [self._instant(struct.timestamp) for struct in structs]
            rejects = [
                Reject(index, *instant)
                for index, instant in zip(indices.tolist(), judged, strict=True)
                if not isinstance(instant, int)
            ]
            good = [at for at, instant in enumerate(judged) if isinstance(instant, int)]
            structs, indices = [structs[at] for at in good], indices[good]
            ts = np.array([judged[at] for at in good], np.int64)
        count = len(structs)
        if structs and hasattr(structs[0], "revision"):
            optional = [np.fromiter(map(attrgetter(n), structs), d, count) for n, d in _OPTIONAL_TYPES]
        else:
            optional = [np.zeros(count, dtype) for _, dtype in _OPTIONAL_TYPES]
        value = np.fromiter(map(_value_of, structs), np.float64, count)
        return JsonColumns(indices, list(map(_key_of, structs)), ts, value, *optional), rejects

    def _instant(self, stamp: datetime | int) -> int | tuple[Reason, str]:
        """Epoch milliseconds, cut (not rounded) to whole ones, or why there are none."""
        if isinstance(stamp, int):
            return stamp
        if stamp.tzinfo is None:
            if self._zone is None:
                return Reason.NO_ZONE, "timestamp has no zone and the pipeline sets no readings.timezone"
            stamp = stamp.replace(tzinfo=self._zone)
        # by subtraction, since the first and last hours of the calendar have no UTC datetime
        instant = (stamp.replace(tzinfo=None) - EPOCH) - (stamp.utcoffset() or timedelta(0))
        ms = instant // timedelta(milliseconds=1)
        if FIRST_MS <= ms <= LAST_MS:
            return ms
        return Reason.OUT_OF_RANGE, f"timestamp {stamp} is outside the years 1 to 9999 UTC"


_OPTIONAL_TYPES: list[tuple[str, Any]] = [("interval", np.int32), ("quality", np.uint8), ("revision", np.uint16)]


def _join(parts: list[JsonColumns]) -> JsonColumns:
    """The pieces of a batch as one."""
    return JsonColumns(
        np.concatenate([part.message for part in parts]),
        [key for part in parts for key in part.keys],
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("ts", "value", "interval_s", "quality", "revision")
        ),
    )


_REASONS: list[tuple[re.Pattern[str], Reason]] = [
    (re.compile("missing required field"), Reason.MISSING_FIELD),
    (re.compile("out of range|>=|<="), Reason.OUT_OF_RANGE),
    (re.compile(r"Expected `object`|^Input data was truncated|malformed|trailing"), Reason.MALFORMED),
    (re.compile("^Expected|Invalid RFC3339"), Reason.WRONG_TYPE),
]


def _reason(error: Exception) -> Reason:
    text = str(error)
    return next((reason for pattern, reason in _REASONS if pattern.search(text)), Reason.MALFORMED)
