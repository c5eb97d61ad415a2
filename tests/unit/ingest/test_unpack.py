import gzip
import tracemalloc

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.ingest.unpack import BrokenEncodingError, TooLargeError, UnknownEncodingError, unpack

PACK = {"gzip": gzip.compress, "zstd": lambda data: pa.compress(data, codec="zstd", asbytes=True)}


@pytest.mark.parametrize("encoding", PACK)
@given(data=st.binary(max_size=300))
def test_what_was_packed_is_unpacked(encoding, data):
    assert unpack(PACK[encoding](data), encoding.upper(), 300) == data


@pytest.mark.parametrize("encoding", [None, "", "identity"])
def test_a_plain_body_stays_as_it_is(encoding):
    assert unpack(b"x", encoding, 10) == b"x"


@pytest.mark.parametrize("encoding", PACK)
def test_a_bomb_is_cut_off_at_the_limit(encoding):
    bomb = PACK[encoding](bytes(200_000_000))
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    with pytest.raises(TooLargeError):
        unpack(bomb, encoding, 1_000_000)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
    assert pa.total_allocated_bytes() - before < 5_000_000


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize(
    "body", [b"no such thing", b"\x1f\x8b", PACK["gzip"](b"x" * 1000)[:-9]], ids=["text", "begun", "cut off"]
)
def test_a_broken_body_is_told(encoding, body):
    with pytest.raises(BrokenEncodingError):
        unpack(body, encoding, 1000)


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "\N{SNOWMAN}"])
def test_other_encodings_are_told(encoding):
    with pytest.raises(UnknownEncodingError):
        unpack(b"x", encoding, 10)
