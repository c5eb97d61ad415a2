"""The two shapes in which rows reach the store, as the messages the aggregator sends, and as rows to compare with.

catch-up: few meters, many windows of each at once. live: many meters, one window of each.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from meterpipe.core.aggregates import AGGREGATE_SCHEMA, MAX_ROWS, WINDOW_KEY, to_ipc

WINDOW = 60
MINUTE_MS = 60_000
DAY_MS = 86_400_000
FIRST_DAY = 1_767_225_600_000  # 2026-01-01, UTC ms
PARTITIONS = 4
METRIC, ATTRIBUTE = "ELECTRICITY", "ACTIVE_POWER"
NUMBERS = ("count", "min", "max", "sum", "first", "last")


@dataclass(frozen=True, slots=True)
class Shape:
    """`meters` x `windows` rows from minute `first` of day `day` on; numbers follow from the seed."""

    prefix: str
    meters: int
    windows: int
    day: int
    first: int = 0

    @property
    def rows(self) -> int:
        """How many there are."""
        return self.meters * self.windows

    @property
    def starts(self) -> npt.NDArray[np.int64]:
        """Starts of the windows, UTC ms."""
        return FIRST_DAY + self.day * DAY_MS + (self.first + np.arange(self.windows)) * MINUTE_MS

    def names(self) -> list[str]:
        """The meters."""
        return [f"{self.prefix}-{i:06d}" for i in range(self.meters)]

    def numbers(self) -> dict[str, npt.NDArray[np.float64]]:
        """Each number of each row, shape (windows, meters)."""
        random = np.random.default_rng([self.meters, self.windows, self.day, self.first])
        shape = (self.windows, self.meters)
        values = {name: random.integers(0, 1 << 22, shape) / 1024 for name in NUMBERS[1:]}
        return {"count": random.integers(1, 61, shape).astype(np.float64), **values}

    def messages(self) -> list[bytes]:
        """Columnar messages, the partitions taking turns; rows sorted by (start, meter) within one."""
        names, numbers = pa.array(self.names()), self.numbers()
        queues = [self._partition(names, numbers, p) for p in range(PARTITIONS)]
        return [message for turn in zip(*queues, strict=True) for message in turn]

    def _partition(self, names: pa.Array, numbers: dict[str, npt.NDArray[np.float64]], number: int) -> list[bytes]:
        own = np.arange(number, self.meters, PARTITIONS)
        size = len(own) * self.windows
        columns: list[pa.Array] = [
            pa.DictionaryArray.from_arrays(
                pa.array(np.tile(np.arange(len(own), dtype=np.int32), self.windows)), names.take(pa.array(own))
            ),
            *(
                pa.DictionaryArray.from_arrays(pa.array(np.zeros(size, np.int32)), pa.array([text]))
                for text in (METRIC, ATTRIBUTE)
            ),
            pa.array(np.repeat(self.starts, len(own))),
            *(
                pa.array(numbers[name][:, own].ravel().astype(np.int64 if name == "count" else np.float64))
                for name in NUMBERS
            ),
        ]
        batch = pa.record_batch(columns, names=AGGREGATE_SCHEMA.names)
        batch = batch.replace_schema_metadata({WINDOW_KEY: str(WINDOW)})
        return [to_ipc(batch.slice(at, MAX_ROWS)) for at in range(0, size, MAX_ROWS)]
