import pyarrow as pa
from cassandra.murmur3 import murmur3
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.murmur3 import tokens


@given(st.lists(st.binary(max_size=70)))
def test_tokens_are_those_of_the_driver(keys):
    assert tokens(pa.array(keys, pa.binary())).tolist() == [murmur3(key) for key in keys]


def test_keys_of_a_sliced_array_are_hashed_as_their_own():
    keys = pa.array([b"a", b"bb", b"ccc"], pa.binary())
    assert tokens(keys.slice(1)).tolist() == [murmur3(b"bb"), murmur3(b"ccc")]
