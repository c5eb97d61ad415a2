"""Which rows somebody wants to see."""

from fnmatch import fnmatchcase

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.row_filter import Wanted

names = st.text("ab-*[", min_size=1, max_size=4)


def table(meters: list[str], encoded: bool) -> pa.Table:
    columns = {"meter": pa.array(meters, pa.string()), "metric": ["E"] * len(meters), "attribute": ["P"] * len(meters)}
    made = pa.table(columns)
    return made.set_column(0, "meter", made.column("meter").dictionary_encode()) if encoded else made


@given(st.lists(names), st.lists(names, max_size=3), st.booleans())
def test_a_row_is_wanted_if_its_name_is_given_or_matches(meters, patterns, encoded):
    wanted = Wanted(meter=tuple(patterns)).of(table(meters, encoded)).column("meter").to_pylist()
    assert wanted == [m for m in meters if not patterns or any(m == p or fnmatchcase(m, p) for p in patterns)]


@pytest.mark.parametrize(("metric", "rows"), [("E", 2), ("W", 0), ("*", 2)])
def test_all_parts_of_a_channel_must_be_wanted(metric, rows):
    assert Wanted(("a*",), (metric,)).of(table(["a", "ab", "b"], encoded=False)).num_rows == rows


def test_chunks_with_dictionaries_of_their_own_are_told_apart():
    both = pa.concat_tables([table(["a", "b"], True), table(["b", "c"], True)])
    assert Wanted(("b",)).of(both).column("meter").to_pylist() == ["b", "b"]
