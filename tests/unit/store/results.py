"""Results as the aggregator sends them, for the tests of the store."""

import pyarrow as pa
from hypothesis import strategies as st
from meterpipe.core.aggregates import AGGREGATE_SCHEMA

DAY_MS = 86_400_000
START = 1_767_225_600_000  # 2026-01-01

texts = st.text(max_size=12) | st.sampled_from(["a.b", "quote\"'", "emoji 😀", ""])
numbers = st.floats(allow_nan=False, width=64)
rows = st.tuples(
    texts,
    st.sampled_from(["ELECTRICITY", "WATER"]),
    st.sampled_from(["ACTIVE_POWER", "VOLTAGE"]),
    st.integers(-2000, 60_000).map(lambda minute: START + minute * 60_000),
    st.integers(1, 10_000),
    numbers,
    numbers,
    numbers,
    numbers,
    numbers,
)


def table(rows) -> pa.Table:
    """A table of AGGREGATE_SCHEMA, texts dictionary encoded, as messages hold them."""
    columns = [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(AGGREGATE_SCHEMA)]
    encoded = [c.dictionary_encode() if c.type == pa.string() else c for c in columns]
    return pa.table(encoded, names=AGGREGATE_SCHEMA.names)


def row(meter="m1", start=START, value=1.0, metric="ELECTRICITY", attribute="ACTIVE_POWER", count=2):
    """One row whose numbers tell each other apart."""
    return (meter, metric, attribute, start, count, value, value + 1, value + 2, value + 3, value + 4)
