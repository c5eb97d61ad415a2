"""What is known of meters' activity: when each channel was heard last, and how many readings a meter sent. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from meterpipe.core.aggregates import Aggregates
from meterpipe.core.columns import Columns
from meterpipe.core.partition import Partition
from meterpipe.core.readings import EMPTY, KeyTable, Readings, in_use


@dataclass(frozen=True, slots=True)
class Heard(Columns):
    """The newest reading of some channels. `offset`: of its message, by which readings of one instant are ordered."""

    key: npt.NDArray[np.int32]
    ts: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    offset: npt.NDArray[np.int64]


NOTHING = Heard.of_dtypes(np.int32, np.int64, np.float64, np.int64)


class ActivityPartition(Partition):
    """A partition of the activity worker: windows that only count, and what was heard since it was last asked."""

    heard: Readings = EMPTY
    """Readings of the last `take`, late ones among them: what comes late was heard all the same."""

    def _add(self, readings: Readings, controls: list[tuple[int, int]]) -> Readings:
        self.heard = readings
        return super()._add(readings, controls)


def newest(heard: Heard) -> Heard:
    """Of each channel the newest reading; of equal instants the last in the log."""
    if not len(heard):
        return heard
    order = np.lexsort((heard.offset, heard.ts))
    place = np.full(int(heard.key.max()) + 1, -1, np.intp)
    place[heard.key[order]] = order  # of a key that is there again the last one stays
    return heard.take(place[place >= 0])


def heard_of(readings: Readings, offsets: npt.NDArray[np.int64]) -> Heard:
    """Readings of one batch of messages, whose `offsets` are given."""
    return Heard(readings.key, readings.ts, readings.value, offsets[readings.message])


@dataclass(frozen=True, slots=True)
class MeterHeard:
    """The newest readings of a meter: (metric, attribute, UTC ms, value, offset) of each channel."""

    meter: str
    ts: int
    channels: list[tuple[str, str, int, float, int]]


def by_meter(heard: Heard, keys: KeyTable) -> list[MeterHeard]:
    """The channels, meter by meter."""
    names = list(keys.ids)
    found: dict[str, list[tuple[str, str, int, float, int]]] = {}
    columns = (heard.key.tolist(), heard.ts.tolist(), heard.value.tolist(), heard.offset.tolist())
    for key, ts, value, offset in zip(*columns, strict=True):
        meter, metric, attribute = names[key]
        found.setdefault(meter, []).append((metric, attribute, ts, value, offset))
    return [MeterHeard(meter, max(one[2] for one in channels), channels) for meter, channels in found.items()]


class Uplinks(msgspec.Struct, frozen=True, gc=False, rename={"meter": "gateway"}):
    """How many readings of a meter fell into a window. `start` in UTC ms, `window` in seconds."""

    meter: str
    start: int
    window: int
    count: int


def uplinks_of(rows: Aggregates, keys: KeyTable, window: int) -> Iterator[Uplinks]:
    """Counts of meters from those of their channels: all of a meter are in one partition, and close together."""
    if not len(rows):
        return
    used, place = in_use(rows.key, keys)
    meters = keys.columns[0].take(used).dictionary_encode()
    code = meters.indices.to_numpy()[place.to_numpy()].astype(np.int64)
    starts, which = np.unique(rows.start, return_inverse=True)
    cells = which.astype(np.int64) * len(meters.dictionary) + code
    present, cell = np.unique(cells, return_inverse=True)
    counts = np.bincount(cell, rows.count).astype(np.int64)
    names = meters.dictionary.to_pylist()
    for one, count in zip(present.tolist(), counts.tolist(), strict=True):
        at, meter = divmod(one, len(names))
        yield Uplinks(names[meter], int(starts[at]), window, count)
