"""Rows of many requests to Kafka messages: what shares a partition shares a message, if that pays.

A message that carries an Arrow stream costs about as much to make and to read as a hundred of JSON, so only larger
parts become envelopes. Either way a meter's readings are in its partition, in the order they were taken in.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from meterpipe.core.codecs import CONTENT_ENVELOPE, CONTENT_JSON
from meterpipe.core.envelope_codec import split_envelope
from meterpipe.core.ingest.rows import Rows
from meterpipe.core.murmur2 import partition_of
from meterpipe.core.readings import EMPTY, Key, KeyTable, Readings, to_arrow
from meterpipe.spec.models import KeyRule, ReadingsFormat
from meterpipe.spec.models import Readings as ReadingsSpec

ENVELOPE_ROWS = 128
ENVELOPE_BYTES = 900_000
KNOWN_KEYS = 500_000
"""Keys whose partition is remembered; with more than that, all are forgotten and learnt anew."""


class Message(NamedTuple):
    """What to produce. `readings`: how many are in it."""

    partition: int
    key: bytes | None
    value: bytes
    header: tuple[str, bytes]
    readings: int


class _Home(NamedTuple):
    """What there is to know of a key: where it belongs, and how its JSON begins."""

    partition: int
    key: bytes
    head: str


class Router:
    """Makes the messages of one readings topic. ValueError if the pipeline accepts neither JSON nor envelopes."""

    def __init__(self, spec: ReadingsSpec, partitions: int) -> None:
        self._rule, self._partitions = spec.key, partitions
        self._json = ReadingsFormat.JSON in spec.formats
        self._envelopes = ReadingsFormat.ENVELOPE in spec.formats
        if not (self._json or self._envelopes):
            raise ValueError("spec.readings.formats must hold json or envelope: ingest writes no other")
        names = {name: msgspec.json.encode(text).decode() for name, text in spec.fields.model_dump().items()}
        self._names = names
        self._value = f",{names['value']}:"
        self._optional = [(f",{names[n]}:", column) for n, column in _OPTIONAL]
        self._homes: dict[Key, _Home] = {}

    def messages(self, parts: Sequence[Rows]) -> list[Message]:
        """The messages that hold `parts`, in order within each partition."""
        keys, readings = _merge(parts)
        if not len(readings):
            return []
        homes = [self._home(key) for key in keys]
        partition = np.array([home.partition for home in homes], np.int32)[readings.key]
        order = np.argsort(partition, kind="stable")
        ends = np.cumsum(np.bincount(partition, minlength=self._partitions))
        table = KeyTable(keys)
        found: list[Message] = []
        for number, (start, end) in enumerate(zip([0, *ends.tolist()], ends.tolist(), strict=False)):
            if start < end:
                part = readings.take(order[start:end])
                if self._envelopes and (end - start >= ENVELOPE_ROWS or not self._json):
                    found += _enveloped(number, part, table)
                else:
                    found += self._single(number, part, homes)
        return found

    def _home(self, key: Key) -> _Home:
        home = self._homes.get(key)
        if home is None:
            if len(self._homes) >= KNOWN_KEYS:
                self._homes.clear()
            home = self._homes[key] = self._settle(key)
        return home

    def _settle(self, key: Key) -> _Home:
        names = self._names
        meter, metric, attribute = (msgspec.json.encode(word).decode() for word in key)
        head = (
            f"{{{names['meter']}:{meter},{names['metric']}:{metric},{names['attribute']}:{attribute}"
            f",{names['timestamp']}:"
        )
        name = "/".join(key).encode() if self._rule is KeyRule.CHANNEL else key[0].encode()
        return _Home(partition_of(name, self._partitions), name, head)

    def _single(self, number: int, part: Readings, homes: list[_Home]) -> list[Message]:
        """A JSON message a reading."""
        middle = self._value
        ends = self._ends(part)
        return [
            Message(number, home.key, f"{home.head}{ts}{middle}{value!r}{end}".encode(), CONTENT_JSON, 1)
            for home, ts, value, end in zip(
                map(homes.__getitem__, part.key.tolist()), part.ts.tolist(), part.value.tolist(), ends, strict=True
            )
        ]

    def _ends(self, part: Readings) -> list[str]:
        """What follows the value: optional fields that are not 0, and the closing brace."""
        ends = [""] * len(part)
        for name, column in self._optional:
            numbers = getattr(part, column)
            if numbers.any():
                ends = [f"{end}{name}{n}" if n else end for end, n in zip(ends, numbers.tolist(), strict=True)]
        return [f"{end}}}" for end in ends]


_OPTIONAL = (("interval", "interval_s"), ("quality", "quality"), ("revision", "revision"))


def _enveloped(number: int, part: Readings, keys: KeyTable) -> list[Message]:
    """As many envelopes as it takes."""
    batch: pa.RecordBatch = to_arrow(part, keys)
    return [Message(number, None, value, CONTENT_ENVELOPE, n) for value, n in split_envelope(batch, ENVELOPE_BYTES)]


def _merge(parts: Sequence[Rows]) -> tuple[list[Key], Readings]:
    """All rows in order, over the keys of all."""
    if len(parts) == 1:
        return parts[0].keys, parts[0].readings
    place: dict[Key, int] = {}
    columns = []
    for rows in parts:
        codes = np.array([place.setdefault(key, len(place)) for key in rows.keys], np.int32)
        readings = rows.readings
        columns.append(
            Readings(
                codes[readings.key] if len(codes) else readings.key,
                readings.ts,
                readings.value,
                readings.interval_s,
                readings.quality,
                readings.revision,
                readings.message,
                readings.row,
            )
        )
    return list(place), Readings.concat([EMPTY, *columns])
