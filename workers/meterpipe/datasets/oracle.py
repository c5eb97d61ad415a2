"""What the windows must be: recomputed from the log of readings by the rules alone, without any code of the engine.

Tests and the demo compare the pipeline's results with this. The whole log is in memory and each rule is one plain step
over its columns: who is dead, who is late, who wins, what the windows hold.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterpipe.core.murmur2 import partition_of
from meterpipe.core.quality import RANKS
from meterpipe.core.readings import READING_SCHEMA

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_NEVER = -(2**62)
"""Event time before the first reading."""
KEY = ("meter", "metric", "attribute")


@dataclass(frozen=True, slots=True)
class Rules:
    """The part of a pipeline's specification that decides the numbers."""

    windows: tuple[int, ...] = (60, 600, 3600, 86_400)  # seconds, ascending
    grace: int = 300  # seconds
    drop_duplicates: bool = True
    max_ahead: int = 300  # seconds; judged only if the log tells when its records were appended


@dataclass(frozen=True, slots=True)
class Control:
    """A control record: event time of the partition reached `event_time` (UTC ms), behind all rows of lower order."""

    partition: int
    order: int
    event_time: int


@dataclass(frozen=True, slots=True)
class Balance:
    """Where every reading went: raw is the sum of the others."""

    raw: int
    windows: int
    duplicates: int
    superseded: int
    late: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class Expected:
    """`windows[size]`: sorted by meter, metric, attribute, window_start; AGGREGATE_SCHEMA's columns and `abs_sum`.

    `late` and `dead` hold the places of such readings in the log given in.
    """

    windows: dict[int, pa.Table]
    balance: Balance
    late: npt.NDArray[np.intp]
    dead: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class _Log:
    """The readings sorted as the log has them: by partition, then order. `key` indexes the sorted `keys`."""

    place: npt.NDArray[np.intp]  # in the log given in
    partition: Ints
    order: Ints
    key: Ints
    ts: Ints
    value: Floats
    rank: Ints
    revision: Ints
    appended: Ints | None
    keys: pa.Table


def log_of(batches: Iterable[pa.RecordBatch], partitions: int) -> pa.Table:
    """The log that a replay of `batches` makes: columns of READING_SCHEMA, `partition` and `order`."""
    table = (
        pa.Table.from_batches([b.select(READING_SCHEMA.names) for b in batches]).unify_dictionaries().combine_chunks()
    )
    meters = _one(table.column("meter"))
    encoded = meters if pa.types.is_dictionary(meters.type) else meters.dictionary_encode()
    owner = np.array([partition_of(m.encode(), partitions) for m in encoded.dictionary.to_pylist()], np.int32)
    order = pa.array(np.arange(len(table), dtype=np.int64))
    return table.append_column("partition", pa.array(owner[encoded.indices.to_numpy()])).append_column("order", order)


def expect(log: pa.Table, rules: Rules, controls: Sequence[Control] = ()) -> Expected:
    """The final windows (every window closed) and the balance of a log.

    `log`: READING_SCHEMA's columns, `partition`, `order` (ascending as the partition's log) and, if maxAhead is to be
    judged, `appended` (the Kafka record's timestamp, UTC ms). Rows may come in any order.
    """
    rows = _sorted_log(log)
    dead = np.zeros(len(log), bool)
    if rows.appended is not None:
        dead = rows.ts > rows.appended + rules.max_ahead * 1000
    late = _late(rows, dead, rules, controls) & ~dead
    counted, duplicates, superseded = _winners(rows, np.flatnonzero(~dead & ~late), rules.drop_duplicates)
    windows = {size: _windows(rows, counted, size * 1000) for size in rules.windows}
    balance = Balance(len(log), len(counted), duplicates, superseded, int(late.sum()), int(dead.sum()))
    return Expected(windows, balance, np.sort(rows.place[late]), np.sort(rows.place[dead]))


def _sorted_log(log: pa.Table) -> _Log:
    partition, order = _ints(log, "partition"), _ints(log, "order")
    place = np.lexsort((order, partition))
    codes, keys = _key_codes([log])
    return _Log(
        place=place,
        partition=partition[place],
        order=order[place],
        key=codes[0][place],
        ts=_ints(log, "ts")[place],
        value=log.column("value").to_numpy()[place],
        rank=RANKS[_ints(log, "quality")[place]].astype(np.int64),
        revision=_ints(log, "revision")[place],
        appended=_ints(log, "appended")[place] if "appended" in log.schema.names else None,
        keys=keys,
    )


def _late(rows: _Log, dead: Mask, rules: Rules, controls: Sequence[Control]) -> Mask:
    """Readings whose smallest window had closed: its end <= the watermark just before the reading."""
    seen_before = np.full(len(rows.ts), _NEVER, np.int64)
    reach = np.where(dead, _NEVER, rows.ts)  # the dead do not move event time
    for partition in np.unique(rows.partition).tolist():
        own = np.flatnonzero(rows.partition == partition)
        seen_before[own[1:]] = np.maximum.accumulate(reach[own])[:-1]
        for control in controls:
            if control.partition == partition:
                behind = own[rows.order[own] > control.order]
                seen_before[behind] = np.maximum(seen_before[behind], control.event_time)
    smallest = rules.windows[0] * 1000
    window_end = rows.ts // smallest * smallest + smallest
    return window_end <= seen_before - rules.grace * 1000


def _winners(rows: _Log, among: npt.NDArray[np.intp], drop: bool) -> tuple[npt.NDArray[np.intp], int, int]:
    """Rows that count, sorted by key and time; how many losers equal their winner; how many differ from it.

    Of readings of one key and time wins the higher revision, then the better quality, then the one first in the log.
    """
    if not drop:
        return among[np.lexsort((among, rows.ts[among], rows.key[among]))], 0, 0
    best_first = (among, rows.rank[among], -rows.revision[among], rows.ts[among], rows.key[among])
    among = among[np.lexsort(best_first)]
    if not len(among):
        return among, 0, 0
    key, ts, value = rows.key[among], rows.ts[among], rows.value[among]
    wins = np.append(True, (key[1:] != key[:-1]) | (ts[1:] != ts[:-1]))
    winner_of = np.flatnonzero(wins)[np.cumsum(wins) - 1]
    equal = ~wins & (value == value[winner_of])
    return among[wins], int(equal.sum()), int((~wins & ~equal).sum())


def _windows(rows: _Log, counted: npt.NDArray[np.intp], size_ms: int) -> pa.Table:
    """The windows of one size over rows sorted by key and time."""
    key, value = rows.key[counted], rows.value[counted]
    start = rows.ts[counted] // size_ms * size_ms
    first = np.flatnonzero(np.append(True, (key[1:] != key[:-1]) | (start[1:] != start[:-1])) if len(key) else [])
    first = first.astype(np.intp)
    last = np.append(first[1:], len(key)) - 1 if len(first) else first

    def over(reduce: np.ufunc, column: Floats) -> Floats:
        return np.asarray(reduce.reduceat(column, first) if len(first) else column, np.float64)

    names = rows.keys.take(pa.array(key[first]))
    columns: dict[str, Any] = {name: names.column(name) for name in KEY}
    columns |= {
        "window_start": pa.array(start[first]),
        "count": pa.array((last - first + 1).astype(np.int64)),
        "min": pa.array(over(np.minimum, value)),
        "max": pa.array(over(np.maximum, value)),
        "sum": pa.array(over(np.add, value)),
        "first": pa.array(value[first]),
        "last": pa.array(value[last]),
        "abs_sum": pa.array(over(np.add, np.abs(value))),
    }
    return pa.table(columns)


def differences(expected: pa.Table, actual: pa.Table, exact_sums: bool = False, limit: int = 10) -> list[str]:
    """What is wrong with `actual` (AGGREGATE_SCHEMA's columns, any order), as at most `limit` lines; empty: nothing.

    Counts, minima, maxima, first and last must be equal; sums within 1e-12 of the sum of absolute values, or equal.
    """
    (ours, theirs), keys = _key_codes([expected, actual])
    starts = _ints(expected, "window_start"), _ints(actual, "window_start")
    instants, dense = np.unique(np.concatenate(starts), return_inverse=True)
    ours_at, theirs_at = np.split(dense, [len(starts[0])])
    want_ids, got_ids = ours * len(instants) + ours_at, theirs * len(instants) + theirs_at
    left, right = np.argsort(want_ids), np.argsort(got_ids)
    want_ids, got_ids = want_ids[left], got_ids[right]

    def named(place: int, table: int) -> str:
        code, start = (ours, theirs)[table][place], starts[table][place]
        return f"{'/'.join(keys.column(name)[int(code)].as_py() for name in KEY)} at {int(start)}"

    lines = []
    repeated = right[1:][got_ids[1:] == got_ids[:-1]]
    lines += [f"more than once: {named(int(at), 1)}" for at in repeated[:limit]]
    missing, extra = left[~np.isin(want_ids, got_ids)], right[~np.isin(got_ids, want_ids)]
    lines += [f"missing: {named(int(at), 0)}" for at in missing[:limit]]
    lines += [f"not expected: {named(int(at), 1)}" for at in extra[:limit]]
    if not len(repeated) and not len(missing) and not len(extra):
        tolerance = np.zeros(len(left)) if exact_sums else 1e-12 * expected.column("abs_sum").to_numpy()[left]
        for name in ("count", "min", "max", "sum", "first", "last"):
            want, got = expected.column(name).to_numpy()[left], actual.column(name).to_numpy()[right]
            wrong = ~(np.abs(got - want) <= tolerance) if name == "sum" else want != got
            lines += [
                f"{name}: {named(int(left[i]), 0)}: expected {want[i]}, found {got[i]}" for i in np.flatnonzero(wrong)
            ]
    return lines[:limit]


def _key_codes(tables: Sequence[pa.Table]) -> tuple[list[Ints], pa.Table]:
    """Codes of each table's (meter, metric, attribute), one sorted list of keys for all."""
    codes = [np.zeros(len(t), np.int64) for t in tables]
    words = []
    for name in KEY:
        columns = [_one(t.column(name)) for t in tables]
        plain = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in columns]
        encoded = pa.chunked_array([p.cast(pa.string()) for p in plain]).dictionary_encode().combine_chunks()
        encoded = encoded if isinstance(encoded, pa.DictionaryArray) else encoded.chunk(0)
        texts = encoded.dictionary.to_pylist()
        rank = np.empty(len(texts), np.int64)
        rank[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
        every = rank[encoded.indices.to_numpy()] if texts else np.empty(0, np.int64)
        words.append(sorted(texts))
        pieces = np.split(every, np.cumsum([len(t) for t in tables])[:-1])
        codes = [code * max(1, len(texts)) + piece for code, piece in zip(codes, pieces, strict=True)]
    used, dense = np.unique(np.concatenate(codes), return_inverse=True)
    sizes = [max(1, len(w)) for w in words]
    places = (used // (sizes[1] * sizes[2]), used // sizes[2] % sizes[1], used % sizes[2])
    keys = pa.table({n: pa.array(w, pa.string()).take(pa.array(p)) for n, w, p in zip(KEY, words, places, strict=True)})
    return np.split(dense.astype(np.int64), np.cumsum([len(t) for t in tables])[:-1]), keys


def _ints(table: pa.Table, name: str) -> Ints:
    return np.asarray(table.column(name).to_numpy(), np.int64)


def _one(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        combined = combined.chunk(0) if combined.num_chunks else pa.array([], column.type)
    return combined
