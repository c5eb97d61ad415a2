"""Compare the windows that a peer has written with those it should have written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.peers.flush import FLUSH_PREFIX
from bench.peers.topics import read_topic

if TYPE_CHECKING:
    import numpy.typing as npt

    Longs = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

WINDOWS_S = (60, 600, 3600, 86400)
RELATIVE = 1e-12
"""How far a sum may be from the oracle's, as a share of count x largest magnitude: float sums depend on their order."""


@dataclass(frozen=True)
class Verification:
    """Numbers of windows: all but `exact` and `between` are mistakes. `examples` names some of the windows at fault."""

    expected: int
    received: int
    exact: int
    between: int
    missing: int
    unexpected: int
    repeated: int
    different: int
    examples: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether each expected window came once with the right numbers."""
        return not (self.missing or self.unexpected or self.repeated or self.different)


class _Result(msgspec.Struct):
    gateway: str
    metricType: str  # noqa: N815  (names of the message)
    metricAttribute: str  # noqa: N815
    window: int
    start: int
    count: int
    min: float
    max: float
    sum: float


def meter_name(gateway: str, metric_type: str, metric_attribute: str) -> str:
    """Name a meter as the oracle's column `meter` does."""
    return f"{gateway}/{metric_type}/{metric_attribute}"


def verify_results(
    bootstrap: str, output_prefix: str, oracle: pa.Table, at_most: pa.Table | None = None
) -> Verification:
    """Compare the topics `<output_prefix>-<window>` with `oracle`, a table as `oracle.expected_windows` gives it.

    A system whose event time may trail the one of the oracle (Flink's is the slowest partition's, sent now and then)
    lets some late readings in. For it `at_most` holds the windows with no reading dropped: where they differ from the
    oracle, any window between the two is right.
    """
    return compare(read_results(bootstrap, output_prefix), oracle, at_most)


def compare(received: pa.Table, oracle: pa.Table, at_most: pa.Table | None = None) -> Verification:
    """Compare two tables of windows; see `verify_results`."""
    most = oracle if at_most is None else at_most
    meters = pc.unique(pa.concat_arrays([*most["meter"].chunks, *oracle["meter"].chunks]))
    known = pc.is_in(received["meter"], meters)
    strangers = received.filter(pc.invert(known))
    keys, rows = _keyed(received.filter(known), meters)
    low_keys, low = _keyed(oracle, meters)
    high_keys, high = _keyed(most, meters)

    repeated = np.zeros(len(keys), np.bool_)
    repeated[1:] = keys[1:] == keys[:-1]
    in_low, low_at = _find(keys, low_keys)
    in_high, high_at = _find(keys, high_keys)
    exact = in_low & _same(rows, low.take(low_at)) if len(low_keys) else in_low
    bounded = in_high & _inside(rows, low.take(low_at), in_low, high.take(high_at)) if len(low_keys) else in_high
    between = bounded & ~exact & ~repeated
    unexpected = ~in_high
    different = in_high & ~exact & ~bounded & ~repeated
    found, _ = _find(low_keys, keys)
    examples: list[str] = [f"unexpected {row}" for row in strangers.slice(0, 3).to_pylist()]
    for word, table, mask in (
        ("repeated", rows, repeated),
        ("unexpected", rows, unexpected),
        ("different", rows, different),
        ("missing", low, ~found),
    ):
        examples += [f"{word} {row}" for row in table.filter(pa.array(mask)).slice(0, 3).to_pylist()]
    return Verification(
        expected=len(low_keys),
        received=len(received),
        exact=int(np.count_nonzero(exact & ~repeated)),
        between=int(np.count_nonzero(between)),
        missing=int(np.count_nonzero(~found)),
        unexpected=int(np.count_nonzero(unexpected)) + len(strangers),
        repeated=int(np.count_nonzero(repeated)),
        different=int(np.count_nonzero(different)),
        examples=tuple(examples),
    )


def read_results(bootstrap: str, output_prefix: str) -> pa.Table:
    """Read all committed results of a peer, without those of the flush, as a table like the oracle's."""
    decode = msgspec.json.Decoder(list[_Result]).decode
    tables = []
    for window in WINDOWS_S:
        for messages in read_topic(bootstrap, f"{output_prefix}-{window}"):
            results = decode(b"[" + b",".join([message.value() for message in messages]) + b"]")
            tables.append(_table([one for one in results if not one.gateway.startswith(FLUSH_PREFIX)]))
    return pa.concat_tables(tables)


def _table(results: list[_Result]) -> pa.Table:
    return pa.table(
        {
            "meter": pa.array(
                [meter_name(one.gateway, one.metricType, one.metricAttribute) for one in results], pa.string()
            ),
            "window_s": np.array([one.window for one in results], np.int64),
            "start": np.array([one.start for one in results], np.int64),
            "count": np.array([one.count for one in results], np.int64),
            "min": np.array([one.min for one in results], np.float64),
            "max": np.array([one.max for one in results], np.float64),
            "sum": np.array([one.sum for one in results], np.float64),
        }
    )


def _keyed(table: pa.Table, meters: pa.Array) -> tuple[Longs, pa.Table]:
    """Sort a table by one number for each (meter, window_s, start), and give the numbers too."""
    code = pc.index_in(table["meter"], meters).to_numpy().astype(np.int64)
    level = np.searchsorted(np.array(WINDOWS_S), table["window_s"].to_numpy())
    minute = table["start"].to_numpy() // 60_000
    keys = (code * len(WINDOWS_S) + level) << 32 | minute
    order = np.argsort(keys, kind="stable")
    return keys[order], table.take(order)


def _find(wanted: Longs, sorted_keys: Longs) -> tuple[Mask, Longs]:
    """Tell which keys are among the sorted ones and where (0 for the others)."""
    if not len(sorted_keys):
        return np.zeros(len(wanted), np.bool_), np.zeros(len(wanted), np.int64)
    at = np.minimum(np.searchsorted(sorted_keys, wanted), len(sorted_keys) - 1)
    found = sorted_keys[at] == wanted
    return found, np.where(found, at, 0)


def _same(left: pa.Table, right: pa.Table) -> Mask:
    same = np.ones(len(left), np.bool_)
    for name in ("count", "min", "max"):
        same &= left[name].to_numpy() == right[name].to_numpy()
    size = right["count"].to_numpy() * np.maximum(np.abs(right["min"].to_numpy()), np.abs(right["max"].to_numpy()))
    close = np.abs(left["sum"].to_numpy() - right["sum"].to_numpy()) <= RELATIVE * size
    return np.asarray(same & close, np.bool_)


def _inside(rows: pa.Table, low: pa.Table, in_low: Mask, high: pa.Table) -> Mask:
    """Tell which rows lie between two windows: more readings widen count, min and max."""
    count, least, most = (rows[name].to_numpy() for name in ("count", "min", "max"))
    inside = (count <= high["count"].to_numpy()) & (least >= high["min"].to_numpy()) & (most <= high["max"].to_numpy())
    above = (count >= low["count"].to_numpy()) & (least <= low["min"].to_numpy()) & (most >= low["max"].to_numpy())
    really_between = ~in_low | (low["count"].to_numpy() < high["count"].to_numpy())
    return np.asarray(inside & (above | ~in_low) & really_between, np.bool_)
