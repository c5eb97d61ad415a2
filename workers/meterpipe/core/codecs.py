"""Messages of a readings topic to columns: the format is told by the first byte, so formats may be mixed freely.

JSON text never begins with 0x00 (Confluent's Avro framing) or 0xFF (an Arrow IPC stream); a header is not needed, and
reading headers would cost more than decoding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from meterpipe.core.avro_codec import MAGIC, AvroColumns, AvroDecoder
from meterpipe.core.avro_schema import SchemaSource
from meterpipe.core.control import decode_control
from meterpipe.core.deadletters import Reason, Reject
from meterpipe.core.envelope_codec import decode_envelope
from meterpipe.core.json_codec import JsonColumns, JsonDecoder
from meterpipe.core.json_scan import Scanned, Scanner, is_built
from meterpipe.core.messages import Payloads
from meterpipe.core.murmur2 import partition_of
from meterpipe.core.readings import EMPTY, Key, KeyTable, Readings, readings_of
from meterpipe.spec.models import KeyRule, ReadingsFormat
from meterpipe.spec.models import Readings as ReadingsSpec

ENVELOPE_BYTE = 0xFF
CONTENT_JSON = ("content-type", b"application/json")
CONTENT_ENVELOPE = ("content-type", b"application/vnd.apache.arrow.stream")

Indices = npt.NDArray[np.int32]
"""Places of messages in the consumed batch, ascending."""

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
        self._scanner = Scanner(spec.fields.model_dump()) if self._accepts_json and is_built() else None
        self._accepts_envelopes = ReadingsFormat.ENVELOPE in spec.formats
        self._avro: AvroDecoder | None = None
        if ReadingsFormat.AVRO in spec.formats:
            if schemas is None:
                raise ValueError("readings.formats has avro, and there is no schema registry")
            reader = spec.registry.reader_schema
            self._avro = AvroDecoder(spec.fields.model_dump(), schemas, spec.timezone, reader)

    def decode(self, values: Sequence[bytes | None], keys: KeyTable, admit: Admit = admit_any) -> Decoded:
        """The readings in `values` (one entry a message, log order). New keys are added to `keys` if admitted."""
        payloads = Payloads.of(values)
        rest = np.arange(len(payloads), dtype=np.int32)
        parts = []
        if self._scanner:
            scanned = self._scanner.scan(payloads, keys)
            parts.append(_intern_rest(scanned, scanned.key, scanned.unknown, keys, admit))
            rest = np.delete(rest, scanned.message) if len(scanned.message) else rest
        if len(rest):
            parts += self._decode_by_format(payloads.take(rest), rest, keys, admit)
        decoded = _merge(parts)
        decoded.rejects.sort(key=attrgetter("message"))
        decoded.controls.sort()
        return decoded

    def _decode_by_format(self, values: Payloads, indices: Indices, keys: KeyTable, admit: Admit) -> list[Decoded]:
        first = values.first_bytes()
        avro, envelope, empty = (first == byte for byte in (MAGIC, ENVELOPE_BYTE, -1))
        parts = [
            Decoded(EMPTY, [Reject(index, Reason.EMPTY, "the message has no value")])
            for index in indices[empty].tolist()
        ]
        for decode, chosen in (
            (self._decode_envelopes, envelope),
            (self._decode_avro, avro),
            (self._decode_json, ~(avro | envelope | empty)),
        ):
            if chosen.any():
                parts += decode(values.take(chosen), indices[chosen], keys, admit)
        return parts

    def _decode_envelopes(self, values: Payloads, indices: Indices, keys: KeyTable, admit: Admit) -> list[Decoded]:
        pairs = zip(values, indices.tolist(), strict=True)
        if self._accepts_envelopes:
            return [_intern_envelope(value or b"", index, keys, admit) for value, index in pairs]
        return [Decoded(EMPTY, [_unaccepted(index, "envelopes")]) for _, index in pairs]

    def _decode_json(self, values: Payloads, indices: Indices, keys: KeyTable, admit: Admit) -> list[Decoded]:
        if not self._accepts_json:
            return [_controls(values, indices, [_unaccepted(index, "JSON") for index in indices.tolist()])]
        parts = []
        for columns, rejects in self._json.pieces(values, indices):
            parts.append(_intern_json(columns, keys, admit))
            if rejects:
                parts.append(_controls(values, indices, rejects))
        return parts

    def _decode_avro(self, values: Payloads, indices: Indices, keys: KeyTable, admit: Admit) -> list[Decoded]:
        if self._avro is None:
            return [Decoded(EMPTY, [_unaccepted(index, "Avro") for index in indices.tolist()])]
        parts, rejects = self._avro.decode([value or b"" for value in values], indices)
        return [*(_intern_avro(columns, keys, admit) for columns in parts), Decoded(EMPTY, rejects)]


def _controls(values: Payloads, indices: Indices, rejects: list[Reject]) -> Decoded:
    """What is no reading: control records, which are JSON whatever the formats are, and what has to be refused."""
    controls, others = [], []
    for reject in rejects:
        value = values[int(np.searchsorted(indices, reject.message))]
        if value and (control := decode_control(value)):
            controls.append((reject.message, control.event_time))
        else:
            others.append(reject)
    return Decoded(EMPTY, others, controls)


def _unaccepted(index: int, what: str) -> Reject:
    return Reject(index, Reason.UNKNOWN_FORMAT, f"the pipeline does not accept {what} (readings.formats)")


def _intern_json(columns: JsonColumns, keys: KeyTable, admit: Admit) -> Decoded:
    ids = np.fromiter(map(keys.ids.get, columns.keys, repeat(-1)), np.int32, len(columns.keys))
    unknown = [columns.keys[at] for at in np.flatnonzero(ids < 0).tolist()]
    return _intern_rest(columns, ids, unknown, keys, admit)


def _intern_rest(
    columns: JsonColumns | Scanned, ids: npt.NDArray[np.int32], unknown: list[Key], keys: KeyTable, admit: Admit
) -> Decoded:
    """Readings of one message each. `unknown`: the keys of those without an id (-1): new and refused ones, few."""
    refused: list[Reject] = []
    for at, key in zip(np.flatnonzero(ids < 0).tolist(), unknown, strict=True):
        if (known := keys.ids.get(key)) is None and (why := admit(key)):
            refused.append(Reject(int(columns.message[at]), *why))
        else:
            ids[at] = keys.add(key) if known is None else known
    readings = readings_of(columns, ids, columns.message)
    return Decoded(readings.take(ids >= 0) if refused else readings, refused)


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
    messages = np.full(len(columns.codes), index, np.int32)
    readings = readings_of(columns, table[columns.codes], messages, columns.row)
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
    readings = readings_of(columns, ids, columns.message)
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
