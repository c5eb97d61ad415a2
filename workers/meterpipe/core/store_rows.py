"""Rows of the medium-term store as columns: results plus what the store adds (bucket, mean, revision, write time).

One Cassandra partition holds the windows of one channel (meter, metric, attribute) in one bucket of time.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from meterpipe.core.aggregates import AGGREGATE_SCHEMA
from meterpipe.core.binary import lengths
from meterpipe.core.deadletters import Reason

DAY = 86_400
MAX_REVISION = 999_999
"""A row is written at the end of its window in us + its revision: below a million, so never later than a second."""
MAX_KEY_BYTES = 65_535 - 64
"""What Cassandra takes as a partition key, less the bucket and the framing of the four parts."""
FIRST_MS, PAST_MS = -62_135_596_800_000, 253_402_300_800_000  # the years 1 to 9999: what clients can show
TEXTS = ("meter", "metric", "attribute")


class NotRowsError(ValueError):
    """A message that holds no rows of this pipeline: a poison message."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def bucket_unit(window: int) -> str:
    """The unit of time one partition of the table of `window` seconds spans, as numpy names it: D, M or Y."""
    return "D" if window < 3600 else "M" if window < DAY else "Y"


def buckets(start: npt.NDArray[np.int64], window: int) -> npt.NDArray[np.int64]:
    """First day of the bucket of each window, in days since 1970; `start` is UTC ms."""
    floored = start.view("datetime64[ms]").astype(f"datetime64[{bucket_unit(window)}]")
    return floored.astype("datetime64[D]").view(np.int64)


@dataclass(frozen=True, slots=True)
class StoreRows:
    """n rows of one table, in any order. `texts` are meter, metric and attribute, dictionary encoded."""

    window: int
    revision: int
    texts: tuple[pa.DictionaryArray, pa.DictionaryArray, pa.DictionaryArray]
    start: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    min: npt.NDArray[np.float64]
    max: npt.NDArray[np.float64]
    sum: npt.NDArray[np.float64]
    first: npt.NDArray[np.float64]
    last: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def bucket(self) -> npt.NDArray[np.int64]:
        """Days since 1970 of the first day of each row's bucket."""
        return buckets(self.start, self.window)

    @property
    def avg(self) -> npt.NDArray[np.float64]:
        """The mean; not a number where nothing was counted."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.sum / self.count

    @property
    def written(self) -> npt.NDArray[np.int64]:
        """Write time of each row in us: a higher revision wins whatever the order of arrival."""
        return (self.start + self.window * 1000) * 1000 + self.revision


def admit(table: pa.Table) -> tuple[pa.Table, npt.NDArray[np.intp]]:
    """`table` in AGGREGATE_SCHEMA's types (texts as they are), without the rows no store can hold; their positions.

    Raises NotRowsError if the columns are not those of a result.
    """
    columns = []
    for field in AGGREGATE_SCHEMA:
        if field.name not in table.schema.names:
            raise NotRowsError(Reason.MISSING_FIELD, f"no column {field.name}")
        column = table.column(field.name)
        if column.null_count:
            raise NotRowsError(Reason.WRONG_TYPE, f"{column.null_count} nulls in column {field.name}")
        columns.append(_typed(field, column))
    table = pa.table(columns, names=AGGREGATE_SCHEMA.names)
    bad = _unfit(table)
    return (table.filter(pa.array(~bad)), np.flatnonzero(bad)) if bad.any() else (table, np.flatnonzero(bad))


def _typed(field: pa.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
    found = column.type
    if field.type == pa.string():
        if pa.types.is_dictionary(found) and found.value_type == pa.string() and found.index_type == pa.int32():
            return column
        if found == pa.string():
            return column.dictionary_encode()
    elif found == field.type:
        return column
    raise NotRowsError(Reason.WRONG_TYPE, f"column {field.name} is {found}, wanted {field.type}")


def _unfit(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Which rows the store cannot hold: a time out of range, a key too long."""
    start = table.column("window_start").to_numpy()
    bad: npt.NDArray[np.bool_] = (start < FIRST_MS) | (start >= PAST_MS)
    if sum(_longest(table.column(name)) for name in TEXTS) > MAX_KEY_BYTES:
        sizes = sum(lengths(table.column(name).cast(pa.string()).combine_chunks()) for name in TEXTS)
        bad = bad | (np.asarray(sizes) > MAX_KEY_BYTES)
    return bad


def _longest(column: pa.ChunkedArray) -> int:
    return max((pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0 for chunk in column.chunks), default=0)


def store_rows(tables: list[pa.Table], window: int, revision: int = 0) -> StoreRows:
    """The rows of admitted tables of one window size, to be written at `revision`."""
    if not 0 <= revision <= MAX_REVISION:
        raise ValueError(f"revision must be 0 to {MAX_REVISION}, got {revision}")
    table = pa.concat_tables(tables).unify_dictionaries()
    meter, metric, attribute = (_one(table.column(name)) for name in TEXTS)
    numbers = (table.column(name).to_numpy() for name in AGGREGATE_SCHEMA.names if name not in TEXTS)
    return StoreRows(window, revision, (meter, metric, attribute), *numbers)


def _one(column: pa.ChunkedArray) -> pa.DictionaryArray:
    if column.num_chunks == 0:
        return pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], pa.string()))
    return column.combine_chunks() if column.num_chunks > 1 else column.chunk(0)
