"""Messages of a readings topic to columns: the format is told by the first byte, so formats may be mixed freely.

JSON text never begins with 0x00 (Confluent's Avro framing) or 0xFF (an Arrow IPC stream); a header is not needed, and
reading headers would cost more than decoding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from meterpipe.core.avro_codec import MAGIC, AvroColumns, AvroDecoder
from meterpipe.core.avro_schema import SchemaSource
from meterpipe.core.control import decode_control
from meterpipe.core.deadletters import Reason, Reject
from meterpipe.core.envelope_codec import decode_envelope
from meterpipe.core.json_codec import JsonColumns, JsonDecoder, starts_as_object
from meterpipe.core.murmur2 import partition_of
from meterpipe.core.readings import EMPTY, Key, KeyTable, Readings
from meterpipe.spec.models import KeyRule, ReadingsFormat
from meterpipe.spec.models import Readings as ReadingsSpec

CONTENT_JSON = ("content-type", b"application/json")
CONTENT_ENVELOPE = ("content-type", b"application/vnd.apache.arrow.stream")

Admit = Callable[[Key], tuple[Reason, str] | None]
"""Judges a key on first sight: None takes it."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a batch of messages holds. `controls`: (index of the message, event time in UTC ms), in log order."""

    readings: Readings
    rejects: list[Reject] = field(default_factory=list)
    controls: list[tuple[int, int]] = field(default_factory=list)


KEY_BYTES = 4096
"""Of meter, metric and attribute together (UTF-8): results and state repeat them, and must fit into a message."""


def admit_any(key: Key) -> tuple[Reason, str] | None:
    """Refuse only keys that name nothing, or are no names but whole texts."""
    if not (key[0] and key[1] and key[2]):
        return Reason.MISSING_FIELD, "meter, metric and attribute must not be empty"
    size = len("".join(key).encode())
    if size > KEY_BYTES:
        return Reason.OUT_OF_RANGE, f"meter, metric and attribute have {size} bytes, at most {KEY_BYTES} are taken"
    return None


def admit_in(partition: int, partitions: int, rule: KeyRule) -> Admit:
    """Refuse, in addition, keys that belong in another partition by `rule`."""

    def admit(key: Key) -> tuple[Reason, str] | None:
        if refused := admit_any(key):
            return refused
        if rule is KeyRule.TRUSTED:
            return None
        text = key[0] if rule is KeyRule.METER else "/".join(key)
        home = partition_of(text.encode(), partitions)
        if home == partition:
            return None
        return Reason.WRONG_PARTITION, f"{text!r} belongs in partition {home}, found in {partition}"

    return admit


class Decoder:
    """Decodes the messages of one pipeline's readings topic."""

    def __init__(self, spec: ReadingsSpec | None = None, schemas: SchemaSource | None = None) -> None:
        """`schemas`: where Avro's are looked up, needed if the pipeline accepts it."""
        spec = spec or ReadingsSpec()
        self._json = JsonDecoder(spec.fields.model_dump(), spec.timezone)
        self._accepts_json = ReadingsFormat.JSON in spec.formats
        self._accepts_envelopes = ReadingsFormat.ENVELOPE in spec.formats
        self._avro: AvroDecoder | None = None
        if ReadingsFormat.AVRO in spec.formats:
            if schemas is None:
                raise ValueError("readings.formats has avro, and there is no schema registry")
            reader = spec.registry.reader_schema
            self._avro = AvroDecoder(spec.fields.model_dump(), schemas, spec.timezone, reader)

    def decode(self, values: Sequence[bytes | None], keys: KeyTable, admit: Admit = admit_any) -> Decoded:
        """The readings in `values` (one entry a message, log order). New keys are added to `keys` if admitted."""
        if starts_as_object(values):  # the common case
            return self._settle(self._decode_json(values, np.arange(len(values), dtype=np.int32), keys, admit))
        if self._avro and _starts_as_avro(values):
            return self._settle(self._decode_avro(values, np.arange(len(values), dtype=np.int32), keys, admit))
        by_format = _sort_by_first_byte(values)
        parts = [
            Decoded(EMPTY, [Reject(index, Reason.EMPTY, "the message has no value")])
            for index in by_format.get("empty", ())
        ]
        if chosen := by_format.get("json"):
            parts.append(self._decode_json([values[i] for i in chosen], np.array(chosen, np.int32), keys, admit))
        for index in by_format.get("envelope", ()):
            value = values[index]
            if self._accepts_envelopes and value is not None:
                parts.append(_intern_envelope(value, index, keys, admit))
            else:
                parts.append(Decoded(EMPTY, [_unaccepted(index, "envelopes")]))
        if chosen := by_format.get("avro"):
            parts.append(self._decode_avro([values[i] for i in chosen], np.array(chosen, np.int32), keys, admit))
        return self._settle(_merge(parts))

    def _decode_json(
        self, values: Sequence[bytes | None], indices: npt.NDArray[np.int32], keys: KeyTable, admit: Admit
    ) -> Decoded:
        present: Sequence[bytes] = values  # type: ignore[assignment]  # empties were sorted out
        readings, refused = EMPTY, list[Reject]()
        if self._accepts_json:
            columns, rejects = self._json.decode(present, indices)
            readings, refused = _intern_json(columns, keys, admit)
        else:
            rejects = [_unaccepted(index, "JSON") for index in indices.tolist()]
        controls, others = [], []
        for reject in rejects:  # a control record is JSON that is no reading, whatever the formats
            if control := decode_control(present[int(np.searchsorted(indices, reject.message))]):
                controls.append((reject.message, control.event_time))
            else:
                others.append(reject)
        return Decoded(readings, others + refused, controls)

    def _decode_avro(
        self, values: Sequence[bytes | None], indices: npt.NDArray[np.int32], keys: KeyTable, admit: Admit
    ) -> Decoded:
        if self._avro is None:
            return Decoded(EMPTY, [_unaccepted(index, "Avro") for index in indices.tolist()])
        present: Sequence[bytes] = values  # type: ignore[assignment]  # empties were sorted out
        parts, rejects = self._avro.decode(present, indices)
        return _merge([_intern_avro(columns, keys, admit) for columns in parts] + [Decoded(EMPTY, rejects)])

    @staticmethod
    def _settle(decoded: Decoded) -> Decoded:
        decoded.rejects.sort(key=lambda r: r.message)
        decoded.controls.sort()
        return decoded


def _starts_as_avro(values: Sequence[bytes | None]) -> bool:
    try:
        return set(map(itemgetter(0), values)) == {MAGIC}  # type: ignore[arg-type]  # None is told by the TypeError
    except (TypeError, IndexError):
        return False


def _sort_by_first_byte(values: Sequence[bytes | None]) -> dict[str, list[int]]:
    """Indices by format."""
    found: dict[str, list[int]] = {}
    for index, value in enumerate(values):
        if not value:
            name = "empty"
        elif value[0] == 0xFF:
            name = "envelope"
        elif value[0] == MAGIC:
            name = "avro"
        else:
            name = "json"
        found.setdefault(name, []).append(index)
    return found


def _unaccepted(index: int, what: str) -> Reject:
    return Reject(index, Reason.UNKNOWN_FORMAT, f"the pipeline does not accept {what} (readings.formats)")


def _intern_json(columns: JsonColumns, keys: KeyTable, admit: Admit) -> tuple[Readings, list[Reject]]:
    count = len(columns.ts)
    ids = np.fromiter(map(keys.ids.get, columns.keys, repeat(-1)), np.int32, count)
    refused: list[Reject] = []
    for at in np.flatnonzero(ids < 0).tolist():  # new keys, and refused ones: few
        key = columns.keys[at]
        if (known := keys.ids.get(key)) is not None:
            ids[at] = known
        elif why := admit(key):
            refused.append(Reject(int(columns.message[at]), *why))
        else:
            ids[at] = keys.add(key)
    readings = Readings(
        key=ids,
        ts=columns.ts,
        value=columns.value,
        interval_s=columns.interval_s,
        quality=columns.quality,
        revision=columns.revision,
        message=columns.message,
        row=np.zeros(count, np.int32),
    )
    return (readings.take(ids >= 0) if refused else readings), refused


def _intern_envelope(value: bytes, index: int, keys: KeyTable, admit: Admit) -> Decoded:
    columns, rejects = decode_envelope(value, index)
    if columns is None:
        return Decoded(EMPTY, rejects)
    table = np.empty(len(columns.keys), np.int32)
    refused: dict[Reason, list[tuple[int, str]]] = {}
    for code, key in enumerate(columns.keys):
        known = keys.ids.get(key)
        if known is None and (why := admit(key)):
            refused.setdefault(why[0], []).append((code, why[1]))
            known = -1
        table[code] = keys.add(key) if known is None else known
    for reason, whys in refused.items():  # one dead letter a reason: each holds the whole envelope
        rows = columns.row[np.isin(columns.codes, [code for code, _ in whys])]
        others = f", and {len(whys) - 1} more like it" if len(whys) > 1 else ""
        rejects.append(Reject(index, reason, whys[0][1] + others, rows=tuple(rows.tolist())))
    readings = Readings(
        key=table[columns.codes],
        ts=columns.ts,
        value=columns.value,
        interval_s=columns.interval_s,
        quality=columns.quality,
        revision=columns.revision,
        message=np.full(len(columns.codes), index, np.int32),
        row=columns.row,
    )
    return Decoded(readings.take(readings.key >= 0) if (table < 0).any() else readings, rejects)


def _intern_avro(columns: AvroColumns, keys: KeyTable, admit: Admit) -> Decoded:
    table = np.fromiter(map(keys.ids.get, columns.keys, repeat(-1)), np.int32, len(columns.keys))
    refused: dict[int, tuple[Reason, str]] = {}
    used = np.zeros(len(table), bool)
    used[columns.codes] = True
    for code in np.flatnonzero(used & (table < 0)).tolist():  # new keys, and refused ones: few
        key = columns.keys[code]
        if (known := keys.ids.get(key)) is None and (why := admit(key)):
            refused[code] = why
        else:
            table[code] = keys.add(key) if known is None else known
    ids = table[columns.codes]
    readings = Readings(
        key=ids,
        ts=columns.ts,
        value=columns.value,
        interval_s=columns.interval_s,
        quality=columns.quality,
        revision=columns.revision,
        message=columns.message,
        row=np.zeros(len(ids), np.int32),
    )
    if not refused:
        return Decoded(readings)
    rejects = [
        Reject(message, *refused[code])
        for message, code in zip(columns.message[ids < 0].tolist(), columns.codes[ids < 0].tolist(), strict=True)
    ]
    return Decoded(readings.take(ids >= 0), rejects)


def _merge(parts: list[Decoded]) -> Decoded:
    """The parts as one, readings in log order."""
    readings = Readings.concat([EMPTY, *(p.readings for p in parts)])
    if len(parts) > 1 and len(readings) and (np.diff(readings.message) < 0).any():
        readings = readings.take(np.argsort(readings.message, kind="stable"))
    return Decoded(readings, [r for p in parts for r in p.rejects], [c for p in parts for c in p.controls])
