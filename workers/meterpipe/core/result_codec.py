"""Messages of the aggregates topics to columns: both forms (see core.aggregates), told by the first byte, freely mixed.

What holds no rows is named with its reason, never raised: the other messages of the batch are not affected.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec
import pyarrow as pa

from meterpipe.core.aggregates import AGGREGATE_SCHEMA, Result, from_ipc
from meterpipe.core.deadletters import Reason, Reject
from meterpipe.core.store_rows import NotRowsError, admit

ARROW_FIRST_BYTE = 0xFF
_results = msgspec.json.Decoder(list[Result])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, pa.ArrowInvalid, OverflowError)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Tables of AGGREGATE_SCHEMA by window size, and what held no rows."""

    tables: dict[int, list[pa.Table]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(table.num_rows for tables in self.tables.values() for table in tables)


def decode_results(values: Sequence[bytes | None], windows: Collection[int]) -> Decoded:
    """The rows in `values`, of the window sizes (seconds) the pipeline has."""
    decoded = Decoded()
    json: list[tuple[int, bytes]] = []
    for message, value in enumerate(values):
        if not value:
            decoded.rejects.append(Reject(message, Reason.EMPTY, "no value"))
        elif value[0] == ARROW_FIRST_BYTE:
            _columns(message, value, windows, decoded)
        else:
            json.append((message, value))
    if json:
        _json(json, windows, decoded)
    return decoded


def _columns(message: int, value: bytes, windows: Collection[int], decoded: Decoded) -> None:
    try:
        window, table = from_ipc(value)
        _known(window, windows)
        table, unfit = admit(table)
    except NotRowsError as why:
        decoded.rejects.append(Reject(message, why.reason, why.detail))
    except (ValueError, OSError, pa.ArrowException) as why:
        decoded.rejects.append(Reject(message, Reason.MALFORMED, str(why)))
    else:
        if len(unfit):
            decoded.rejects.append(Reject(message, Reason.OUT_OF_RANGE, _UNFIT, tuple(unfit.tolist())))
        if table.num_rows:
            decoded.tables.setdefault(window, []).append(table)


_UNFIT = "a time outside the years 1 to 9999, or a key of more than 65 471 bytes"


def _known(window: int, windows: Collection[int]) -> None:
    if window not in windows:
        raise NotRowsError(Reason.OUT_OF_RANGE, f"windows of {window} s, the pipeline has {sorted(windows)}")


def _json(messages: list[tuple[int, bytes]], windows: Collection[int], decoded: Decoded) -> None:
    """All at once; if that fails, by halves, until the culprits stand alone."""
    try:
        results = _results.decode(b"[" + b",".join(value for _, value in messages) + b"]")
        if len(results) != len(messages):
            raise msgspec.DecodeError(f"one result a message is wanted, got {len(results)} in {len(messages)}")
        for window in {result.window for result in results}:
            _known(window, windows)
        columns = _tables(results)
    except (*_UNREADABLE, NotRowsError) as why:
        if len(messages) > 1:
            middle = len(messages) // 2
            _json(messages[:middle], windows, decoded)
            _json(messages[middle:], windows, decoded)
        else:
            decoded.rejects.append(_reject(messages[0][0], why))
        return
    for window, (table, rows) in columns.items():
        fit, unfit = admit(table)
        decoded.rejects.extend(Reject(messages[rows[i]][0], Reason.OUT_OF_RANGE, _UNFIT) for i in unfit)
        if fit.num_rows:
            decoded.tables.setdefault(window, []).append(fit)


def _reject(message: int, why: Exception) -> Reject:
    if isinstance(why, NotRowsError):
        return Reject(message, why.reason, why.detail)
    if isinstance(why, msgspec.ValidationError):
        missing = "missing required field" in str(why)
        return Reject(message, Reason.MISSING_FIELD if missing else Reason.WRONG_TYPE, str(why))
    return Reject(message, Reason.OUT_OF_RANGE if isinstance(why, OverflowError) else Reason.MALFORMED, str(why))


def _tables(results: list[Result]) -> dict[int, tuple[pa.Table, list[int]]]:
    """Per window size a table and, for each of its rows, its place in `results`."""
    places: dict[int, list[int]] = {}
    for place, result in enumerate(results):
        places.setdefault(result.window, []).append(place)
    tables = {}
    for window, rows in places.items():
        chosen = [results[i] for i in rows] if len(places) > 1 else results
        columns = [
            pa.array([getattr(r, "start" if f.name == "window_start" else f.name) for r in chosen], f.type)
            for f in AGGREGATE_SCHEMA
        ]
        tables[window] = pa.table(columns, names=AGGREGATE_SCHEMA.names), rows
    return tables
