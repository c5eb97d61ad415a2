"""Results say the same in both forms on the wire."""

import msgspec
import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.aggregates import MAX_BYTES, MAX_ROWS, Aggregates, Result, encode_columns, encode_json, from_ipc
from meterpipe.core.readings import LARGEST, KeyTable

values = st.floats(-LARGEST, LARGEST)
windows = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(-(2**40), 2**40), st.integers(1, 2**40), values, values, values),
    max_size=20,
)


def aggregates(rows, keys, one_value=False):
    meters, start, count, low, high, total = zip(*rows, strict=True) if rows else [[]] * 6
    column = np.array(low, np.float64)
    numbers = [column] * 5 if one_value else [column, *(np.array(c, np.float64) for c in (high, total, high, low))]
    counts = np.ones(len(start), np.int64) if one_value else np.array(count, np.int64)
    codes = np.array([keys.add((f'{m} "🙂"', "E", "P")) for m in meters], np.int32)
    return Aggregates(codes, np.array(start, np.int64), counts, *numbers)


@given(windows, st.booleans())
def test_json_and_columns_hold_every_number_exactly(rows, one_value):
    keys = KeyTable([("unused", "E", "P")])
    results = aggregates(rows, keys, one_value)
    pieces = list(encode_json(results, keys, 60))
    messages = [message for piece, _ in pieces for message in piece]
    meters = [meter for _, piece in pieces for meter in piece]
    told = [msgspec.json.decode(message, type=Result) for message in messages]
    tables = [from_ipc(message)[1] for message in encode_columns(results, keys, 60)]
    columns = pa.concat_tables(tables).to_pylist() if tables else []
    assert [meter.decode() for meter in meters] == [result.meter for result in told]
    for result, row, average in zip(told, columns, (results.sum / results.count).tolist(), strict=True):
        assert (result.meter, result.start, result.window) == (row["meter"], row["window_start"], 60)
        assert all(getattr(result, n) == row[n] for n in ("count", "min", "max", "sum", "first", "last"))
        assert result.avg == average


def test_columnar_messages_stay_below_what_a_broker_takes():
    keys = KeyTable((f"meter-{n}".ljust(4000, "x"), "E", "P") for n in range(500))
    count = 3 * MAX_ROWS
    value = np.ones(count)
    rows = Aggregates(
        (np.arange(count) % 500).astype(np.int32), np.arange(count), np.ones(count, np.int64), *[value] * 5
    )
    messages = list(encode_columns(rows, keys, 60))
    assert max(map(len, messages)) <= MAX_BYTES
    assert sum(from_ipc(message)[1].num_rows for message in messages) == count
