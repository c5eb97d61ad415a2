"""Columns of texts become rows."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core import weave as module
from meterpipe.core.weave import weave


@st.composite
def parts_of(draw):
    count = draw(st.integers(0, 5))
    texts = st.lists(st.binary(max_size=4), min_size=count, max_size=count)
    parts = [*draw(st.lists(st.binary(max_size=3) | texts, max_size=4)), draw(texts)]
    return count, draw(st.permutations(parts)), draw(st.integers(0, 2))


@pytest.mark.parametrize("built", [True, False])
@given(parts_of())
def test_a_row_is_its_text_of_each_part(built, drawn):
    count, parts, skipped = drawn
    arrays = [
        part if isinstance(part, bytes) else pa.array([b"skipped"] * skipped + part, pa.binary()).slice(skipped)
        for part in parts
    ]
    with pytest.MonkeyPatch.context() as patch:
        if not built:
            patch.setattr(module, "LIBRARY", module.LIBRARY.with_name("libabsent.so"))
        rows = list(weave(arrays))
    assert rows == [b"".join(part if isinstance(part, bytes) else part[i] for part in parts) for i in range(count)]
