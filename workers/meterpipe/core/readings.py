"""Readings as columns: the unit of work is a batch, never a record.

Two forms of the same thing:

* `Readings`: numpy columns whose meters are dense ids of a `KeyTable`; what the engine works on.
* an Arrow record batch of `READING_SCHEMA`; what envelopes carry, data sets produce and the lake stores.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterpipe.core.columns import Columns

READING_SCHEMA = pa.schema(
    [
        pa.field("meter", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("attribute", pa.string(), nullable=False),
        pa.field("ts", pa.int64(), nullable=False),  # UTC milliseconds, start of the interval
        pa.field("value", pa.float64(), nullable=False),
        pa.field("interval_s", pa.int32(), nullable=False),  # 0 is an instant
        pa.field("quality", pa.uint8(), nullable=False),  # bit mask, see core.quality
        pa.field("revision", pa.uint16(), nullable=False),
    ]
)

FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""Bounds of timestamps, UTC ms: the years 1 to 9999."""
LARGEST = 1e200
"""The largest value taken, either sign: no sum of so many as there can be overflows."""

Key = tuple[str, str, str]
"""meter, metric, attribute"""


@dataclass(frozen=True, slots=True)
class Readings(Columns):
    """n readings. Order of the rows is the order of the log.

    `message` and `row` tell where a reading came from: the index of its message in the consumed batch, and its index in
    that message.
    """

    key: npt.NDArray[np.int32]
    ts: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    interval_s: npt.NDArray[np.int32]
    quality: npt.NDArray[np.uint8]
    revision: npt.NDArray[np.uint16]
    message: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]


class _Measured(Protocol):
    """Decoded columns of n readings, in the types of `Readings`, whatever the format they came in."""

    @property
    def ts(self) -> npt.NDArray[np.int64]: ...
    @property
    def value(self) -> npt.NDArray[np.float64]: ...
    @property
    def interval_s(self) -> npt.NDArray[np.int32]: ...
    @property
    def quality(self) -> npt.NDArray[np.uint8]: ...
    @property
    def revision(self) -> npt.NDArray[np.uint16]: ...


def readings_of(
    columns: _Measured,
    key: npt.NDArray[np.int32],
    message: npt.NDArray[np.int32],
    row: npt.NDArray[np.int32] | None = None,
) -> Readings:
    """Readings of decoded columns; without `row` each has a message to itself."""
    return Readings(
        key=key,
        ts=columns.ts,
        value=columns.value,
        interval_s=columns.interval_s,
        quality=columns.quality,
        revision=columns.revision,
        message=message,
        row=np.zeros(len(key), np.int32) if row is None else row,
    )


EMPTY = Readings.of_dtypes(np.int32, np.int64, np.float64, np.int32, np.uint8, np.uint16, np.int32, np.int32)


@dataclass(frozen=True, slots=True)
class Samples(Columns):
    """What windows keep of readings, in log order."""

    key: npt.NDArray[np.int32]
    ts: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    quality: npt.NDArray[np.uint8]
    revision: npt.NDArray[np.uint16]


NO_SAMPLES = Samples.of_dtypes(np.int32, np.int64, np.float64, np.uint8, np.uint16)


class KeyTable:
    """Dense ids of (meter, metric, attribute), in order of appearance. Ids are never reused within a table."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.ids: dict[Key, int] = {}
        self._columns: tuple[pa.Array, pa.Array, pa.Array] | None = None
        for key in keys:
            self.add(key)

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, key: Key) -> int:
        """The id of `key`, given on first sight."""
        found = self.ids.get(key)
        if found is None:
            found = self.ids[key] = len(self.ids)
            self._columns = None
        return found

    @property
    def columns(self) -> tuple[pa.Array, pa.Array, pa.Array]:
        """Arrow string arrays (meter, metric, attribute), index = id. Cached until a key is added."""
        if self._columns is None:
            keys = list(self.ids)
            self._columns = (
                pa.array([k[0] for k in keys], pa.string()),
                pa.array([k[1] for k in keys], pa.string()),
                pa.array([k[2] for k in keys], pa.string()),
            )
        return self._columns


def in_use(codes: npt.NDArray[np.int32], keys: KeyTable) -> tuple[pa.Array, pa.Array]:
    """The distinct ids in `codes`, and the place of each code among them. Linear: no sorting."""
    present = np.zeros(len(keys), bool)
    present[codes] = True
    return pa.array(np.flatnonzero(present)), pa.array((np.cumsum(present, dtype=np.int32) - np.int32(1))[codes])


def named(codes: npt.NDArray[np.int32], keys: KeyTable) -> list[pa.DictionaryArray]:
    """meter, metric and attribute of each id in `codes`, dictionary encoded over the strings in use only."""
    used, place = in_use(codes, keys)
    encoded = [strings.take(used).dictionary_encode() for strings in keys.columns]
    return [pa.DictionaryArray.from_arrays(e.indices.take(place), e.dictionary) for e in encoded]


def to_arrow(readings: Readings, keys: KeyTable) -> pa.RecordBatch:
    """`readings` in READING_SCHEMA's names; meter, metric and attribute are dictionary encoded."""
    return pa.record_batch(
        [
            *named(readings.key, keys),
            pa.array(readings.ts),
            pa.array(readings.value),
            pa.array(readings.interval_s),
            pa.array(readings.quality),
            pa.array(readings.revision),
        ],
        names=READING_SCHEMA.names,
    )
