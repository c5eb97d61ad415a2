"""What a peer's windows must be, computed from all its readings at once. Pure: numpy and Arrow only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Longs = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

GRACE_S = 300
Lateness = Literal["smallest", "perWindow", "none"]
"""Who drops a late reading: the smallest window for all, each window for itself, or nobody."""


def late_readings(partition: Longs, timestamp: Longs, window_s: int, grace_s: int = GRACE_S) -> Mask:
    """Tell which readings come too late for their window of `window_s` seconds.

    `partition` and `timestamp` (epoch ms) are in the order of the log within each partition. The time of a partition is
    the newest event time before the reading in it; a window is closed once its end + grace is not above that time.
    """
    late = np.zeros(timestamp.shape, np.bool_)
    size = window_s * 1000
    for one in np.unique(partition):
        rows = np.flatnonzero(partition == one)
        times = timestamp[rows]
        before = np.maximum.accumulate(times)[:-1]
        ends = times[1:] // size * size + size
        late[rows[1:]] = ends + grace_s * 1000 <= before
    return late


def expected_windows(
    meter: pa.Array | Sequence[str] | npt.NDArray[np.object_],
    partition: Longs,
    timestamp: Longs,
    value: npt.NDArray[np.float64],
    windows_s: Sequence[int] = (60, 600, 3600, 86400),
    lateness: Lateness = "perWindow",
    grace_s: int = GRACE_S,
) -> pa.Table:
    """Give all windows as a table (meter, window_s, start, count, min, max, sum); arguments are columns of readings."""
    names = meter if isinstance(meter, pa.Array) else pa.array(meter, pa.string())
    if isinstance(names, pa.ChunkedArray):  # what Arrow makes of a large numpy array
        names = names.combine_chunks()
    encoded = names.dictionary_encode()
    codes = encoded.indices.to_numpy().astype(np.int64)
    tables = []
    for window_s in windows_s:
        match lateness:
            case "smallest":
                kept = ~late_readings(partition, timestamp, min(windows_s), grace_s)
            case "perWindow":
                kept = ~late_readings(partition, timestamp, window_s, grace_s)
            case "none":
                kept = np.ones(timestamp.shape, np.bool_)
        starts = timestamp[kept] // (window_s * 1000)
        order = np.lexsort((codes[kept], starts))
        of_meter, at, values = codes[kept][order], starts[order], value[kept][order]
        fresh = np.ones(len(at), np.bool_)
        fresh[1:] = (of_meter[1:] != of_meter[:-1]) | (at[1:] != at[:-1])
        first = np.flatnonzero(fresh)
        tables.append(
            pa.table(
                {
                    "meter": encoded.dictionary.take(pa.array(of_meter[first])),
                    "window_s": np.full(len(first), window_s, np.int64),
                    "start": at[first] * (window_s * 1000),
                    "count": np.diff(np.append(first, len(at))),
                    "min": np.minimum.reduceat(values, first) if len(first) else values,
                    "max": np.maximum.reduceat(values, first) if len(first) else values,
                    "sum": np.add.reduceat(values, first) if len(first) else values,
                }
            )
        )
    return pa.concat_tables(tables)
