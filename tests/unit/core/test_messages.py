"""Byte strings in one buffer: the same as a list of them, however they were cut out."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.messages import Payloads

values = st.lists(st.none() | st.binary(max_size=5), max_size=8)


@given(values)
def test_they_are_the_strings_they_were_made_of(values):
    payloads = Payloads.of(values)
    assert list(payloads) == values
    assert [payloads[at] for at in range(len(values))] == values
    assert payloads.first_bytes().tolist() == [value[0] if value else -1 for value in values]
    assert Payloads.of(payloads) is payloads


@given(values, st.data())
def test_a_selection_holds_the_selected_ones(values, data):
    payloads = Payloads.of(values)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))), bool)
    assert list(payloads.take(mask)) == [value for value, keep in zip(values, mask, strict=True) if keep]
    assert list(payloads[1:3]) == values[1:3]


@given(st.lists(st.binary(max_size=5), max_size=8), st.data())
def test_lines_have_a_newline_between_any_two_wherever_they_lie(values, data):
    payloads = Payloads.of(values)
    assert bytes(payloads.lines()) == b"\n".join(values)
    order = data.draw(st.permutations(range(len(values))))
    assert bytes(payloads.take(np.array(order, np.intp)).lines()) == b"\n".join(values[at] for at in order)


@given(st.lists(st.binary(max_size=5), max_size=8), st.integers(0, 8))
def test_arrow_strings_are_taken_as_they_lie(values, skipped):
    assert list(Payloads.of_arrow(pa.array(values, pa.binary()).slice(skipped))) == values[skipped:]
