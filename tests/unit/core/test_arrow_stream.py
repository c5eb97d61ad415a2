"""Bounds of Arrow streams: what is right passes whatever its form, what claims too much does not get to be read."""

import pyarrow as pa
import pytest
from meterpipe.core.arrow_stream import Bounds, check_claims, is_plain, plain_columns, read_stream
from meterpipe.core.deadletters import Reason
from meterpipe.core.envelope_codec import decode_envelope

from tests.fuzz.corpus import (
    booleans,
    growing_dictionaries,
    honest_columns,
    many_columns,
    nothings,
    repeated_view,
    stream,
    table,
)


@pytest.mark.parametrize("codec", [None, "lz4", "zstd"])
@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_streams_within_bounds_are_read_compressed_inside_or_not(codec, rows):
    assert read_stream(stream(table(rows), compression=codec)) == table(rows)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_what_compressed_columns_claim_is_counted_before_anything_is_unpacked(codec):
    message = stream(table(1000), compression=codec)
    plain = sum(len(buffer) for column in table(1000).columns for buffer in column.chunk(0).buffers() if buffer)
    with pytest.raises(ValueError, match="unpacks to more"):
        check_claims(message, Bounds(unpacked=plain // 2))
    with pytest.raises(ValueError, match="compressed inside"):
        check_claims(message, Bounds(unpacked=0))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (many_columns(100_000), "100000 columns"),
        (honest_columns(65), "65 columns"),
        (growing_dictionaries(3, 100), "dictionaries"),
        (nothings(10**9), "1000000000 rows"),
        (booleans(1_000_001), "1000001 rows"),
    ],
)
def test_streams_beyond_a_bound_are_dead_letters_that_say_which(message, reason):
    columns, rejects = decode_envelope(message, 0)
    assert columns is None
    assert rejects[0].reason is Reason.MALFORMED
    assert reason in rejects[0].detail


def test_types_in_which_one_text_stands_for_many_are_told():
    runs = pa.run_end_encoded(pa.int32(), pa.string())
    assert [is_plain(kind) for kind in (pa.string(), pa.dictionary(pa.int8(), pa.string()), pa.int64())] == [True] * 3
    assert [is_plain(kind) for kind in (runs, pa.string_view(), pa.list_(pa.string()))] == [False] * 3


def test_a_column_that_nobody_asked_for_is_not_looked_into():
    broken = pa.Array.from_buffers(pa.string_view(), 1, [None, pa.py_buffer(b"\xff" * 16)])  # of no length at no place
    message = stream(table(1).append_column("remark", broken))
    columns, rejects = decode_envelope(message, 0)
    assert not rejects
    assert columns.value.tolist() == table(1)["value"].to_pylist()
    assert plain_columns(read_stream(message)) == table(1)


def test_a_text_that_all_rows_share_is_refused_by_its_type_and_unread():
    columns, (reject,) = decode_envelope(repeated_view(10, 3), 0)
    assert columns is None
    assert (reject.reason, reject.detail) == (Reason.WRONG_TYPE, "envelope column meter: string_view is not taken")
