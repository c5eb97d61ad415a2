"""Arrow batches as JSON messages, built column by column: about five times as fast as a message at a time.

The text of a meter, and of a metric and attribute, is made once a dictionary word; the rest is Arrow's string kernels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_OPTIONAL = ("interval_s", "quality", "revision")


@dataclass(slots=True)
class _Words:
    """The words of one dictionary and what was made of them; data sets keep one dictionary over all batches."""

    words: pa.Array | None = None
    texts: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    raw: list[bytes] = field(default_factory=list)

    def renew(self, words: pa.Array, head: str, tail: str) -> None:
        """Make the texts `<head><word as JSON><tail>`, unless they are at hand."""
        if self.words is not None and self.words.equals(words):
            return
        self.words = words
        plain = words.to_pylist()
        self.texts = pa.array([f"{head}{msgspec.json.encode(w).decode()}{tail}" for w in plain], pa.string())
        self.raw = [w.encode() for w in plain]


class JsonRows:
    """Encodes batches of READING_SCHEMA's names as JSON messages with the field names of one pipeline."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """`names` maps meter, metric, attribute, timestamp, value, interval, quality, revision to JSON fields."""
        self._fields = {key: msgspec.json.encode(name).decode() for key, name in names.items()}
        self._meter, self._metric, self._attribute = _Words(), _Words(), _Words()

    def encode(self, batch: pa.RecordBatch) -> tuple[list[bytes], list[bytes]]:
        """Values and keys (the meters), one a row. Interval, quality and revision only where not 0."""
        f = self._fields
        meter, metric, attribute = (_encoded(batch.column(n)) for n in ("meter", "metric", "attribute"))
        self._meter.renew(meter.dictionary, f"{{{f['meter']}:", f",{f['metric']}:")
        self._metric.renew(metric.dictionary, "", f",{f['attribute']}:")
        self._attribute.renew(attribute.dictionary, "", f",{f['timestamp']}:")
        parts = [
            self._meter.texts.take(meter.indices),
            self._metric.texts.take(metric.indices),
            self._attribute.texts.take(attribute.indices),
            batch.column("ts").cast(pa.string()),
            f",{f['value']}:",
            batch.column("value").cast(pa.string()),
            self._ends(batch),
            "",  # the separator
        ]
        messages = pc.binary_join_element_wise(*parts).cast(pa.binary()).to_pylist()
        raw = self._meter.raw
        return messages, [raw[code] for code in meter.indices.to_pylist()]

    def _ends(self, batch: pa.RecordBatch) -> pa.Array | str:
        """What follows the value: the optional fields that are not 0, and the closing brace."""
        packed = np.zeros(len(batch), np.int64)
        for name, bits in zip(_OPTIONAL, (31, 8, 16), strict=True):
            packed <<= bits
            if name in batch.schema.names:
                packed |= batch.column(name).to_numpy()
        if not len(packed) or (packed == packed[0]).all():
            return self._end(int(packed[0])) if len(packed) else "}"
        distinct, codes = _distinct(packed)
        return pa.array([self._end(p) for p in distinct.tolist()], pa.string()).take(pa.array(codes))

    def _end(self, packed: int) -> str:
        fields = {"interval": packed >> 24, "quality": packed >> 16 & 0xFF, "revision": packed & 0xFFFF}
        return "".join(f",{self._fields[name]}:{value}" for name, value in fields.items() if value) + "}"


def _encoded(column: pa.Array) -> pa.DictionaryArray:
    return column if pa.types.is_dictionary(column.type) else column.dictionary_encode()


def _distinct(packed: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """As np.unique with the inverse, by hashing: no sort."""
    encoded = pa.array(packed).dictionary_encode()
    return encoded.dictionary.to_numpy(), encoded.indices.to_numpy()
