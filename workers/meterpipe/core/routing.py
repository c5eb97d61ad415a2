"""Readings to messages of routes: filtered, projected and keyed by SQL expressions, in columns. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa

from meterpipe.core.envelope_codec import encode_envelopes, split_envelope
from meterpipe.core.murmur2 import partition_of
from meterpipe.core.readings import KeyTable, Readings, in_use, to_arrow
from meterpipe.spec.expressions import COLUMNS, parse
from meterpipe.spec.models import FieldNames
from meterpipe.spec.routing import Route, RouteFormat

RFC3339 = "%Y-%m-%dT%H:%M:%S%.3fZ"
KEYS = 100_000
"""Distinct keys whose partitions are remembered."""
ANYWHERE = -1
"""The partition of a message without a key."""
_INNER_KEY = "\0key"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Messages of one route, in log order. `partitions` is None where all go to the partition the readings are in."""

    values: list[bytes]
    keys: list[str | None]
    partitions: list[int] | None
    readings: int
    failed: int = 0
    """Readings for which an expression could not be worked out; they are not sent on."""


@dataclass(slots=True)
class Router:
    """One route, ready to work. `partitions` of its topic."""

    route: Route
    fields: FieldNames
    partitions: int
    _where: pl.Expr | None = None
    _select: list[pl.Expr] = field(default_factory=list)
    _homes: dict[str | None, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Parse the expressions."""
        route = self.route
        self._where = parse(route.where) if route.where is not None else None
        chosen = {name: parse(text) for name, text in route.select.items()}
        key = parse(route.key) if route.key is not None else pl.col("meter")
        self._select = [
            *(expression.alias(name) for name, expression in (chosen or _whole(self.fields)).items()),
            key.cast(pl.String).alias(_INNER_KEY),
        ]

    def send_on(self, frame: pl.DataFrame, readings: Readings, keys: KeyTable) -> Outgoing:
        """Messages of the readings; `frame` holds the same ones (see `frame_of`)."""
        if self._where is not None:
            mask, failed = _worked_out(frame, [self._where.alias("where")])
            passing = mask["where"].fill_null(False) if len(mask) else pl.Series([], dtype=pl.Boolean)
            chosen = mask["row"].filter(passing)
        else:
            chosen, failed = frame["row"], 0
        if self.route.format is RouteFormat.ENVELOPE:
            rows = readings.take(chosen.to_numpy().astype(np.intp))
            if self.route.topic is None or not len(rows):
                values = [value for value, _ in split_envelope(to_arrow(rows, keys))] if len(rows) else []
                return Outgoing(values, [None] * len(values), None, len(rows), failed)
            placed = encode_envelopes(to_arrow(rows, keys), self.partitions)  # a topic with partitions of its own
            values, own = [value for _, value, _ in placed], [partition for partition, _, _ in placed]
            return Outgoing(values, [None] * len(values), own, len(rows), failed)
        table, more = _worked_out(frame[chosen] if len(chosen) < len(frame) else frame, self._select)
        texts = table[_INNER_KEY].to_list()
        values = json_lines(table.drop("row", _INNER_KEY))
        homes = None if self.route.key is None and self.route.topic is None else self._partitions(texts)
        return Outgoing(values, texts, homes, len(values), failed + more)

    def _partitions(self, keys: Sequence[str | None]) -> list[int]:
        homes = self._homes
        if len(homes) > KEYS:
            homes.clear()
        for key in set(keys) - homes.keys():
            homes[key] = ANYWHERE if key is None else partition_of(key.encode(), self.partitions)
        return list(map(homes.__getitem__, keys))


def frame_of(readings: Readings, keys: KeyTable) -> pl.DataFrame:
    """The readings as expressions see them, and `row`, their place."""
    used, place = in_use(readings.key, keys)
    at = pl.Series(pa.Array.to_numpy(place))
    meter, metric, attribute = (pl.Series(strings.take(used)).gather(at) for strings in keys.columns)
    ts = pl.Series(readings.ts).cast(pl.Datetime("ms"))
    whole = (readings.interval_s, readings.quality, readings.revision)
    numbers = (readings.value, *(column.astype(np.int64) for column in whole))  # as in `empty_frame`
    columns: dict[str, object] = dict(zip(COLUMNS, (meter, metric, attribute, ts, *numbers), strict=True))
    return pl.DataFrame({**columns, "row": np.arange(len(readings), dtype=np.uint32)})


def json_lines(frame: pl.DataFrame) -> list[bytes]:
    """A JSON object a row. Times are RFC 3339 in UTC; what is not finite is null, as JSON has no word for it."""
    if not len(frame):
        return []
    made = []
    for name, dtype in frame.schema.items():
        if dtype == pl.Datetime:
            made.append(pl.col(name).dt.to_string(RFC3339))
        elif dtype.is_float():
            made.append(pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name))
        elif dtype.is_temporal():
            made.append(pl.col(name).cast(pl.String))
    return frame.with_columns(made).write_ndjson().encode().splitlines()


def _whole(fields: FieldNames) -> Mapping[str, pl.Expr]:
    """A reading under the names that the pipeline's JSON has."""
    named = (fields.meter, fields.metric, fields.attribute, fields.timestamp, fields.value)
    rest = (fields.interval, fields.quality, fields.revision)
    return {name: pl.col(column) for name, column in zip((*named, *rest), COLUMNS, strict=True)}


def _worked_out(frame: pl.DataFrame, expressions: list[pl.Expr]) -> tuple[pl.DataFrame, int]:
    """The expressions' values with `row`; readings for which one fails are left out and counted.

    An expression fails as a whole: then by halves, until the culprits stand alone.
    """
    try:
        return frame.select("row", *expressions), 0
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        if len(frame) <= 1:
            return frame.clear().select("row", *expressions), len(frame)
        middle = len(frame) // 2
        (one, failed), (other, more) = (_worked_out(part, expressions) for part in (frame[:middle], frame[middle:]))
        return pl.concat([one, other]), failed + more
