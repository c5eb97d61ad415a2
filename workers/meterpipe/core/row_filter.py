"""Which channels somebody wants to see, applied to columns."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, slots=True)
class Wanted:
    """Shell patterns (`house-*`) for each part of a channel; a part without patterns takes all."""

    meter: tuple[str, ...] = ()
    metric: tuple[str, ...] = ()
    attribute: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.meter or self.metric or self.attribute)

    def names(self, *channel: str) -> bool:
        """Whether one channel (meter, metric, attribute) is wanted."""
        parts = (self.meter, self.metric, self.attribute)
        return all(not part or _matcher(part)(name) for part, name in zip(parts, channel, strict=True))

    def of(self, rows: pa.Table) -> pa.Table:
        """Those of `rows` (columns meter, metric, attribute; plain or dictionary encoded) that are wanted."""
        for name, patterns in (("meter", self.meter), ("metric", self.metric), ("attribute", self.attribute)):
            if patterns and rows.num_rows:
                rows = rows.filter(_mask(rows.column(name), _matcher(patterns)))
        return rows


def _matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    plain = frozenset(patterns)  # a name with brackets is a name, too
    return lambda name: name in plain or any(fnmatchcase(name, pattern) for pattern in patterns)


def _mask(column: pa.ChunkedArray, matches: Callable[[str], bool]) -> pa.ChunkedArray:
    """Each distinct name is looked at once."""
    chunks = []
    for chunk in column.chunks:
        encoded = chunk if pa.types.is_dictionary(chunk.type) else pc.dictionary_encode(chunk)
        verdicts = pa.array([matches(name) for name in encoded.dictionary.to_pylist()], pa.bool_())
        chunks.append(verdicts.take(encoded.indices))
    return pa.chunked_array(chunks, pa.bool_())
