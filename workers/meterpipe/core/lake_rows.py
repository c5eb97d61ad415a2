"""Rows of the lake: the columns of the table, their order, and the files one commit adds. Pure.

A file holds one UTC date and is sorted by (meter, ts), equal ones in the order they were read, so that the readings of
one meter lie together and readers skip row groups by the statistics.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from meterpipe.core.lake_buffer import Arrivals
from meterpipe.core.readings import READING_SCHEMA, KeyTable

DAY_MS = 86_400_000
_EPOCH = dt.date(1970, 1, 1)
_STRINGS = ("meter", "metric", "attribute")
_LONGEST_STATISTIC = 64  # characters; longer strings get no statistics rather than cut ones

# Delta has no unsigned integers: quality and revision are one size larger than in READING_SCHEMA.
FILE_SCHEMA = pa.schema(
    [READING_SCHEMA.field(name) for name in ("meter", "metric", "attribute", "ts", "value", "interval_s")]
    + [
        pa.field("quality", pa.int16(), nullable=False),
        pa.field("revision", pa.int32(), nullable=False),
        pa.field("_partition", pa.int32(), nullable=False),
        pa.field("_offset", pa.int64(), nullable=False),
        pa.field("_index", pa.int32(), nullable=False),  # of the reading in its message
        pa.field("_ingested_at", pa.int64(), nullable=False),  # timestamp of the Kafka record, UTC ms
    ]
)
"""Columns of a data file. The date is in its path."""

TABLE_SCHEMA = FILE_SCHEMA.append(pa.field("date", pa.date32(), nullable=False))
"""Columns of the table. `date` is the UTC date of `ts`, and what the table is partitioned by."""


_CODED = pa.dictionary(pa.int32(), pa.string())
_IN_MEMORY = pa.schema([field.with_type(_CODED) if field.name in _STRINGS else field for field in FILE_SCHEMA])


@dataclass(frozen=True, slots=True)
class DayFile:
    """The rows of one data file, sorted, and their statistics in Delta's form."""

    date: dt.date
    rows: pa.Table
    statistics: dict[str, Any]


def day_files(arrivals: Arrivals, keys: KeyTable) -> Iterator[DayFile]:
    """The files of one commit, one a date, dates ascending."""
    if not len(arrivals):
        return
    names = [_sorted_names(column) for column in keys.columns]
    order, days = _order(arrivals, names[0])
    starts = np.flatnonzero(np.diff(days, prepend=days[0] - 1))
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(days)], strict=True):
        rows = arrivals.take(order[start:end])
        table = _table(rows, names)
        yield DayFile(_EPOCH + dt.timedelta(days=int(days[start])), table, _statistics(table))


@dataclass(frozen=True, slots=True)
class _Names:
    """Distinct strings in the order of their UTF-8 bytes (as statistics compare), and where each key's string is."""

    sorted: pa.Array
    place: npt.NDArray[np.int32]


def _sorted_names(column: pa.Array) -> _Names:
    found = column.dictionary_encode()
    by_name = pc.sort_indices(found.dictionary)
    rank = np.empty(len(by_name), np.int32)
    rank[by_name.to_numpy()] = np.arange(len(by_name), dtype=np.int32)
    return _Names(found.dictionary.take(by_name), rank[found.indices.to_numpy()])


def _order(arrivals: Arrivals, meters: _Names) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """The order by (date, meter, ts), stable, and the sorted dates (days since 1970).

    A radix sort: numpy's stable sort of 16-bit digits is several times faster than one of wide integers.
    """
    ts = arrivals.readings.ts
    days = ts // DAY_MS
    order = np.argsort(ts, kind="stable")
    order = _radix(order, meters.place[arrivals.readings.key])
    if days.min() != days.max():
        order = _radix(order, (days - days.min()).astype(np.int32))
    return order, days[order]


def _radix(order: npt.NDArray[np.intp], rank: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """`order` sorted by `rank`, keeping the order of equals."""
    order = order[np.argsort((rank & 0xFFFF).astype(np.uint16)[order], kind="stable")]
    if rank.max() > 0xFFFF:
        order = order[np.argsort((rank >> 16).astype(np.uint16)[order], kind="stable")]
    return order


def merged(date: dt.date, rows: pa.Table) -> DayFile:
    """One file of the rows of several files of one date; equal (meter, ts) in the order of the log."""
    names = {name: _sorted_names(rows.column(name).combine_chunks()) for name in _STRINGS}
    by = (rows.column(name).to_numpy() for name in ("_index", "_offset", "_partition", "ts"))
    order = np.lexsort((*by, names["meter"].place))
    columns = [
        pa.DictionaryArray.from_arrays(pa.array(names[name].place[order]), names[name].sorted)
        if name in names
        else pa.array(rows.column(name).to_numpy()[order])
        for name in FILE_SCHEMA.names
    ]
    table = pa.table(columns, schema=_IN_MEMORY)
    return DayFile(date, table, _statistics(table))


def _table(rows: Arrivals, names: list[_Names]) -> pa.Table:
    """FILE_SCHEMA's columns; strings are dictionary encoded, which the file keeps."""
    readings = rows.readings
    columns = [_strings(n, readings.key) for n in names]
    columns += [pa.array(a) for a in (readings.ts, readings.value, readings.interval_s)]
    columns += [pa.array(readings.quality.astype(np.int16)), pa.array(readings.revision.astype(np.int32))]
    columns += [pa.array(a) for a in (rows.partition, rows.offset, readings.row, rows.arrived)]
    return pa.table(columns, schema=_IN_MEMORY)


def _strings(names: _Names, ids: npt.NDArray[np.int32]) -> pa.DictionaryArray:
    """The strings of some keys, over a sorted dictionary of those in use."""
    places: npt.NDArray[np.integer] = names.place[ids]
    if len(names.sorted) > len(ids):
        used, places = np.unique(places, return_inverse=True)
    else:
        present = np.bincount(places, minlength=len(names.sorted)) > 0
        if present.all():
            return pa.DictionaryArray.from_arrays(pa.array(places), names.sorted)
        used, places = np.flatnonzero(present), (np.cumsum(present) - 1)[places]
    return pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), names.sorted.take(pa.array(used)))


def _statistics(table: pa.Table) -> dict[str, Any]:
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    for name in FILE_SCHEMA.names:
        column = table.column(name).chunk(0)
        if name in _STRINGS:
            least, most = column.dictionary[0].as_py(), column.dictionary[-1].as_py()
            if max(len(least), len(most)) > _LONGEST_STATISTIC:
                continue
        else:
            values = column.to_numpy()
            least, most = values.min().item(), values.max().item()
        low[name], high[name] = least, most
    return {
        "numRecords": table.num_rows,
        "minValues": low,
        "maxValues": high,
        "nullCount": dict.fromkeys(FILE_SCHEMA.names, 0),
    }
