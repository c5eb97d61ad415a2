"""Rows of the lake: order, files, statistics."""

import datetime as dt
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.adapters.lake import encode
from meterpipe.core.lake_buffer import NOTHING, Arrivals
from meterpipe.core.lake_rows import FILE_SCHEMA, TABLE_SCHEMA, day_files, merged
from meterpipe.core.readings import KeyTable, Readings

DAY = 86_400_000


def arrivals(rows):
    """`rows`: (key, ts, value) each, in the order they arrived."""
    n = len(rows)
    return Arrivals(
        Readings(
            key=np.array([r[0] for r in rows], np.int32),
            ts=np.array([r[1] for r in rows], np.int64),
            value=np.array([r[2] for r in rows], float),
            interval_s=np.full(n, 60, np.int32),
            quality=np.full(n, 255, np.uint8),
            revision=np.full(n, 65535, np.uint16),
            message=np.arange(n, dtype=np.int32),
            row=np.arange(n, dtype=np.int32) % 7,
        ),
        partition=np.arange(n, dtype=np.int32) % 3,
        offset=np.arange(n, dtype=np.int64),
        arrived=np.arange(n, dtype=np.int64) + 10,
    )


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@st.composite
def batches(draw):
    keys = KeyTable(draw(st.lists(st.tuples(names, st.sampled_from("EW"), names), min_size=1, max_size=8, unique=True)))
    times = st.one_of(st.integers(-3 * DAY, 3 * DAY), st.sampled_from([-62_135_596_800_000, 253_402_300_799_999]))
    rows = st.tuples(st.integers(0, len(keys) - 1), times, st.integers(-9, 9))
    return keys, draw(st.lists(rows, max_size=60))


@given(batches())
def test_every_reading_is_in_the_file_of_its_date_sorted_by_meter_and_time_ties_as_they_arrived(batch):
    keys, rows = batch
    triples = list(keys.ids)
    found = []
    dates = []
    for file in day_files(arrivals(rows), keys):
        dates.append(file.date)
        for row in file.rows.to_pylist():
            assert row["ts"] // DAY == (file.date - dt.date(1970, 1, 1)).days
            found.append((file.date, row["meter"].encode(), row["ts"], row["_offset"]))
    assert dates == sorted(set(dates))
    assert found == sorted(found)
    expected = [(triples[k][0].encode(), ts, i) for i, (k, ts, _) in enumerate(rows)]
    assert sorted((m, ts, o) for _, m, ts, o in found) == sorted(expected)


@given(batches())
def test_statistics_say_what_the_rows_say(batch):
    keys, rows = batch
    for file in day_files(arrivals(rows), keys):
        table = file.rows.cast(FILE_SCHEMA)
        assert file.statistics["numRecords"] == table.num_rows
        for name in FILE_SCHEMA.names:
            values = table.column(name).to_pylist()
            if isinstance(values[0], str):
                values = sorted(values, key=str.encode)
            assert file.statistics["minValues"][name] == (values[0] if isinstance(values[0], str) else min(values))
            assert file.statistics["maxValues"][name] == (values[-1] if isinstance(values[0], str) else max(values))
            assert file.statistics["nullCount"][name] == 0


def test_long_names_get_no_statistics():
    keys = KeyTable([("m" * 65, "E", "P")])
    (file,) = day_files(arrivals([(0, 0, 1.0)]), keys)
    assert "meter" not in file.statistics["minValues"]
    assert file.statistics["maxValues"]["metric"] == "E"


def test_no_readings_no_files():
    assert list(day_files(NOTHING, KeyTable())) == []


@given(batches())
def test_a_file_holds_all_columns_of_the_rows_exactly(batch):
    keys, rows = batch
    for file in day_files(arrivals(rows), keys):
        read = pq.ParquetFile(io.BytesIO(encode(file.rows)))
        assert read.schema_arrow.equals(FILE_SCHEMA)
        assert read.read().equals(file.rows.cast(FILE_SCHEMA))


def test_files_are_compressed_with_zstd_and_say_how_they_are_sorted():
    (file,) = day_files(arrivals([(0, i, i / 8) for i in range(100)]), KeyTable([("m", "E", "P")]))
    group = pq.ParquetFile(io.BytesIO(encode(file.rows))).metadata.row_group(0)
    assert {group.column(i).compression for i in range(group.num_columns)} == {"ZSTD"}
    assert [column.column_index for column in group.sorting_columns] == [0, 3]


@pytest.mark.parametrize("count", [70_000])
def test_more_meters_than_sixteen_bits_count_are_sorted_too(count):
    keys = KeyTable((f"m{i:06d}", "E", "P") for i in range(count))
    order = np.random.default_rng(1).permutation(count)
    (file,) = day_files(arrivals([(int(k), 5, 0.0) for k in order]), keys)
    meters = file.rows.column("meter").to_pylist()
    assert meters == sorted(meters)


def test_the_table_is_the_file_plus_the_date():
    assert TABLE_SCHEMA.names == [*FILE_SCHEMA.names, "date"]


@given(st.lists(batches(), min_size=1, max_size=4))
def test_merging_files_of_a_date_keeps_every_row_sorted_by_meter_and_time(parts):
    files = [file for keys, rows in parts for file in day_files(arrivals(rows), keys)]
    for date in {file.date for file in files}:
        of_date = [file.rows.cast(FILE_SCHEMA) for file in files if file.date == date]
        rows = pa.concat_tables(of_date)
        whole = merged(date, rows)
        found = whole.rows.cast(FILE_SCHEMA).to_pylist()
        assert sorted(map(repr, found)) == sorted(map(repr, rows.to_pylist()))
        keys = [(row["meter"].encode(), row["ts"], row["_partition"], row["_offset"], row["_index"]) for row in found]
        assert keys == sorted(keys)
        assert whole.statistics["numRecords"] == rows.num_rows
