"""The bytes are those the driver itself would send, statement by statement."""

import io
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from cassandra.cqltypes import DateType, DoubleType, Int32Type, LongType, SimpleDateType, UTF8Type
from cassandra.murmur3 import murmur3
from cassandra.protocol import BatchMessage
from cassandra.query import BatchType
from cassandra.util import Date
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.batching import by_partition
from meterpipe.core.cql import COLUMNS, encode, insert, partition_keys
from meterpipe.core.murmur3 import tokens
from meterpipe.core.store_rows import store_rows

from tests.unit.store.results import row, rows, table

ID = bytes(range(16))
QUORUM = 6
ZERO = datetime(1970, 1, 1)


def bound(values, window, revision, protocol):
    """The values of one statement, as the driver serializes them; buckets are days in these tests."""
    meter, metric, attribute, start, count, low, high, total, first, last = values
    moment = ZERO + timedelta(milliseconds=start)
    doubles = (low, high, total, total / count, first, last)
    return [
        *(UTF8Type.serialize(text, protocol) for text in (meter, metric, attribute)),
        SimpleDateType.serialize(Date(moment.date()), protocol),
        DateType.serialize(moment.replace(tzinfo=UTC), protocol),
        LongType.serialize(count, protocol),
        *(DoubleType.serialize(number, protocol) for number in doubles),
        Int32Type.serialize(revision, protocol),
        LongType.serialize((start + window * 1000) * 1000 + revision, protocol),
    ]


@pytest.mark.parametrize("protocol", [4, 5])
@given(results=st.lists(rows, min_size=1, max_size=20), revision=st.integers(0, 999_999))
def test_a_batch_is_byte_for_byte_what_the_driver_would_send(protocol, results, revision):
    encoded = encode(store_rows([table(results)], 60, revision), np.arange(len(results)), ID)
    expected = io.BytesIO()
    statements = [(True, ID, bound(values, 60, revision, protocol)) for values in results]
    BatchMessage(BatchType.UNLOGGED, statements, QUORUM).send_body(expected, protocol)
    assert encoded.batch(0, len(results), QUORUM, protocol) == expected.getvalue()


def test_a_batch_may_be_any_slice_in_any_order():
    results = [row(f"meter {'x' * i}", value=float(i)) for i in range(5)]
    encoded = encode(store_rows([table(results)], 60), np.array([4, 2, 0, 1, 3]), ID)
    expected = io.BytesIO()
    statements = [(True, ID, bound(results[i], 60, 0, 5)) for i in (2, 0, 1)]
    BatchMessage(BatchType.UNLOGGED, statements, QUORUM).send_body(expected, 5)
    assert encoded.batch(1, 4, QUORUM, 5) == expected.getvalue()


@given(st.lists(rows, min_size=1, max_size=20))
def test_the_key_of_a_partition_is_what_the_server_hashes(results):
    stored = store_rows([table(results)], 60)
    grouping = by_partition(stored)
    keys = []
    for place in grouping.heads:
        parts = bound(results[place], 60, 0, 5)[:4]
        keys.append(b"".join(len(part).to_bytes(2, "big") + part + b"\0" for part in parts))
    found = partition_keys(stored, grouping)
    assert found.to_pylist() == keys
    assert tokens(found).tolist() == [murmur3(key) for key in keys]


def test_the_statement_names_every_column_and_the_write_time():
    statement = insert("ks", "t")
    assert statement.startswith('INSERT INTO "ks".t (meter, metric, ')
    assert statement.count("?") == len(COLUMNS) + 1
    assert statement.endswith("USING TIMESTAMP ?")
