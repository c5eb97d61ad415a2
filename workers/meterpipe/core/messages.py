"""Messages as columns: what a broker hands over at once, without an object a message."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterpipe.core.columns import Where

NOTHING = -1
"""Length of a byte string that is not there at all; an empty one has 0."""


@dataclass(frozen=True, slots=True, eq=False)
class Payloads(Sequence[bytes | None]):
    """n byte strings in one buffer.

    `data` (bytes); `start` and `length` (n) say where each lies in it.
    """

    data: npt.NDArray[np.uint8]
    start: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]

    @classmethod
    def of(cls, values: Sequence[bytes | None]) -> "Payloads":
        """The strings of a list, a newline between any two of them; payloads as they are."""
        if isinstance(values, Payloads):
            return values
        data = b"\n".join([value or b"" for value in values])
        length = np.array([NOTHING if value is None else len(value) for value in values], np.int64)
        end = np.cumsum(np.maximum(length, 0) + 1)
        return cls(np.frombuffer(data, np.uint8), end - np.maximum(length, 0) - 1, length)

    @classmethod
    def of_arrow(cls, strings: pa.Array) -> "Payloads":
        """The strings of an Arrow array of type binary, not copied; none is null."""
        _, offsets, data = strings.buffers()
        ends = np.frombuffer(offsets, np.int32)[strings.offset : strings.offset + len(strings) + 1].astype(np.int64)
        return cls(np.frombuffer(data or b"", np.uint8), ends[:-1], np.diff(ends))

    def __len__(self) -> int:
        return len(self.start)

    @overload
    def __getitem__(self, at: int) -> bytes | None: ...
    @overload
    def __getitem__(self, at: slice) -> "Payloads": ...
    def __getitem__(self, at: int | slice) -> "bytes | Payloads | None":
        if isinstance(at, slice):
            return self.take(at)
        length = int(self.length[at])
        if length < 0:
            return None
        start = int(self.start[at])
        return self.data[start : start + length].tobytes()

    def __iter__(self) -> Iterator[bytes | None]:
        data = self.data.data
        for start, length in zip(self.start.tolist(), self.length.tolist(), strict=True):
            yield None if length < 0 else bytes(data[start : start + length])

    def take(self, where: Where) -> "Payloads":
        """The selected strings, in the same buffer."""
        return Payloads(self.data, self.start[where], self.length[where])

    def first_bytes(self) -> npt.NDArray[np.int16]:
        """The first byte of each, -1 for empty and absent ones."""
        filled = self.length > 0
        if filled.all():
            return self.data[self.start].astype(np.int16)
        found = np.full(len(self), -1, np.int16)
        found[filled] = self.data[self.start[filled]]
        return found

    def lines(self) -> bytes | memoryview:
        """All of them, a newline between any two; not copied where they lie that way already. None may be absent."""
        if not len(self):
            return b""
        start = int(self.start[0])
        end = self.start + self.length
        if (self.start[1:] == end[:-1] + 1).all() and (self.data[end[:-1]] == ord("\n")).all():
            return self.data.data[start : int(end[-1])]
        return b"\n".join(value or b"" for value in self)


@dataclass(frozen=True, slots=True, eq=False)
class Messages:
    """n messages of one partition, in log order. `arrived`: when Kafka got them, UTC ms."""

    values: Payloads
    keys: Payloads
    offset: npt.NDArray[np.int64]
    arrived: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offset)

    def take(self, where: Where) -> Self:
        """The selected messages."""
        return type(self)(self.values.take(where), self.keys.take(where), self.offset[where], self.arrived[where])

    @property
    def next_offset(self) -> int:
        """Where the partition goes on."""
        return int(self.offset[-1]) + 1
