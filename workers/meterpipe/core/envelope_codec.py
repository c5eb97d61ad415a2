"""Envelopes: many readings of one partition in one message, as an Arrow IPC stream of READING_SCHEMA's names.

The fewer messages, the less the Kafka client costs, and it costs more than all else: a concentrator or head-end that
sends envelopes is several times cheaper to serve than one that sends a message a reading.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from meterpipe.core.aggregates import to_ipc
from meterpipe.core.arrow_stream import is_plain, read_stream
from meterpipe.core.deadletters import Reason, Reject
from meterpipe.core.murmur2 import partition_of
from meterpipe.core.readings import FIRST_MS, LARGEST, LAST_MS, READING_SCHEMA, Key

_STRINGS = ("meter", "metric", "attribute")
_REQUIRED = (*_STRINGS, "ts", "value")
_NUMBERS = ("ts", "value", "interval_s", "quality", "revision")


@dataclass(frozen=True, slots=True)
class EnvelopeColumns:
    """The rows of one envelope. `codes` index `keys`, the distinct keys in use."""

    codes: npt.NDArray[np.int32]
    keys: list[Key]
    ts: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    interval_s: npt.NDArray[np.int32]
    quality: npt.NDArray[np.uint8]
    revision: npt.NDArray[np.uint16]
    row: npt.NDArray[np.int32]


def decode_envelope(message: bytes, index: int) -> tuple[EnvelopeColumns | None, list[Reject]]:
    """The good rows of an envelope and what is wrong with the others. `index`: its place in the consumed batch."""
    try:
        table = read_stream(message)
    except (pa.ArrowException, OSError, ValueError) as error:
        return None, [Reject(index, Reason.MALFORMED, f"not an Arrow stream: {error}")]
    names = table.schema.names
    if repeated := sorted({name for name in READING_SCHEMA.names if names.count(name) > 1}):
        return None, [Reject(index, Reason.MALFORMED, f"envelope has more than one column {', '.join(repeated)}")]
    if missing := [name for name in _REQUIRED if name not in names]:
        return None, [Reject(index, Reason.MISSING_FIELD, f"envelope has no column {', '.join(missing)}")]
    for name in names:
        if name in READING_SCHEMA.names and not is_plain(kind := table.schema.field(name).type):
            return None, [Reject(index, Reason.WRONG_TYPE, f"envelope column {name}: {kind} is not taken")]
    try:
        strings = [_dictionary(table.column(name)) for name in _STRINGS]
        numbers: dict[str, Any] = {name: _number(table, name) for name in _NUMBERS}
    except (pa.ArrowException, ValueError) as error:
        return None, [Reject(index, Reason.WRONG_TYPE, f"envelope column: {error}")]
    good, rejects = _screen(table, numbers, index)
    codes, keys = _combine(strings, good)
    rows = np.flatnonzero(good).astype(np.int32)
    if len(rows) < len(good):
        numbers = {name: column[rows] for name, column in numbers.items()}
    return EnvelopeColumns(codes=codes, keys=keys, row=rows, **numbers), rejects


def _dictionary(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The column with one dictionary of strings."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        combined = column.unify_dictionaries().combine_chunks()
        if isinstance(combined, pa.ChunkedArray):
            combined = combined.chunk(0) if combined.num_chunks else pa.array([], kind)
        dictionary = combined.dictionary.cast(pa.string())
        return pa.DictionaryArray.from_arrays(combined.indices.cast(pa.int32()), dictionary)
    encoded = pc.dictionary_encode(column.cast(pa.string())).combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], pa.string()).dictionary_encode()
    return encoded


def _number(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """A numeric column in READING_SCHEMA's type; absent ones are 0, nulls are NaN or 0 and screened out elsewhere."""
    kind = READING_SCHEMA.field(name).type
    if name not in table.schema.names:
        return np.zeros(table.num_rows, kind.to_pandas_dtype())
    column = table.column(name)
    if name == "ts" and pa.types.is_timestamp(column.type):
        # finer units are cut to whole ms; a coarser one must not wrap around
        column = column.cast(pa.timestamp("ms"), safe=column.type.unit == "s")
    column = column.cast(kind)
    if column.null_count:
        column = column.fill_null(0)
    return column.to_numpy()  # type: ignore[no-any-return]


def _screen(
    table: pa.Table, numbers: dict[str, npt.NDArray[Any]], index: int
) -> tuple[npt.NDArray[np.bool_], list[Reject]]:
    """Which rows are readings, and why the others are not."""
    good = np.ones(table.num_rows, bool)
    rejects = []

    def refuse(bad: npt.NDArray[np.bool_], reason: Reason, detail: str) -> None:
        bad = bad & good  # one reason a row
        if bad.any():
            rejects.append(Reject(index, reason, detail, tuple(np.flatnonzero(bad).tolist())))
            good[bad] = False

    for name in _REQUIRED:
        if table.column(name).null_count:
            refuse(table.column(name).is_null().to_numpy(), Reason.MISSING_FIELD, f"{name} is null")
    ts, value = numbers["ts"], numbers["value"]
    refuse(~np.isfinite(value), Reason.OUT_OF_RANGE, "value is not finite")
    refuse(np.abs(value) > LARGEST, Reason.OUT_OF_RANGE, f"value is beyond {LARGEST:g}")
    refuse((ts < FIRST_MS) | (ts > LAST_MS), Reason.OUT_OF_RANGE, "ts is outside the years 1 to 9999")
    refuse(numbers["interval_s"] < 0, Reason.OUT_OF_RANGE, "interval_s is negative")
    return good, rejects


def _combine(strings: list[pa.DictionaryArray], good: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], list[Key]]:
    """Codes of the distinct (meter, metric, attribute) among the good rows, and those keys."""
    sizes = [max(1, len(s.dictionary)) for s in strings]
    combined = np.zeros(int(good.sum()), np.int64)
    for column, size in zip(strings, sizes, strict=True):
        codes = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
        combined = combined * size + (codes if good.all() else codes[good])
    space = sizes[0] * sizes[1] * sizes[2]
    if space <= 4 * len(combined) + 4096:  # a table of all combinations is cheaper than sorting
        present = np.zeros(space, bool)
        present[combined] = True
        used = np.flatnonzero(present)
        place = np.cumsum(present, dtype=np.int32) - 1
        codes = place[combined]
    else:
        used, inverse = np.unique(combined, return_inverse=True)
        codes = inverse.astype(np.int32)
    words = [s.dictionary.to_pylist() for s in strings]
    meters, rest = used // (sizes[1] * sizes[2]), used % (sizes[1] * sizes[2])
    metrics, attributes = rest // sizes[2], rest % sizes[2]
    keys = [
        (words[0][m], words[1][t], words[2][a])
        for m, t, a in zip(meters.tolist(), metrics.tolist(), attributes.tolist(), strict=True)
    ]
    return codes, keys


def encode_envelopes(batch: pa.RecordBatch, partitions: int, max_bytes: int = 900_000) -> list[tuple[int, bytes, int]]:
    """`batch` (READING_SCHEMA's names) as envelopes: (partition, message, rows), each below `max_bytes`.

    Rows keep their order within a partition. Raises ValueError if a single row is too large.
    """
    meters = batch.column("meter")
    if not pa.types.is_dictionary(meters.type):
        meters = meters.dictionary_encode()
    owner = np.array([partition_of(m.encode(), partitions) for m in meters.dictionary.to_pylist()], np.int32)
    of_row = owner[meters.indices.to_numpy(zero_copy_only=False)] if len(batch) else np.empty(0, np.int32)
    messages = []
    for partition in range(partitions):
        rows = np.flatnonzero(of_row == partition)
        if len(rows):
            part = batch.take(pa.array(rows))
            messages += [(partition, message, n) for message, n in split_envelope(part, max_bytes)]
    return messages


def _compact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """String columns dictionary encoded over the words in use."""
    columns = []
    for name in batch.schema.names:
        column = batch.column(name)
        if name in _STRINGS:
            column = (column.dictionary_decode() if pa.types.is_dictionary(column.type) else column).dictionary_encode()
        columns.append(column)
    return pa.record_batch(columns, names=batch.schema.names)


def split_envelope(batch: pa.RecordBatch, max_bytes: int = 900_000) -> list[tuple[bytes, int]]:
    """`batch` as as many envelopes as it takes to keep each below `max_bytes`: (message, rows)."""
    message = to_ipc(_compact(batch))
    if len(message) <= max_bytes:
        return [(message, len(batch))]
    if len(batch) <= 1:
        raise ValueError(f"one reading takes {len(message)} bytes, the limit of a message is {max_bytes}")
    half = len(batch) // 2
    return [piece for part in (batch.slice(0, half), batch.slice(half)) for piece in split_envelope(part, max_bytes)]
