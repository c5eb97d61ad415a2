import json
import tracemalloc

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meterpipe.core.deadletters import Reason
from meterpipe.core.ingest.espi import EspiBody
from meterpipe.core.ingest.formats import ArrowBody, JsonBody, NdjsonBody
from meterpipe.core.ingest.rows import MAX_PROBLEMS, MAX_READINGS, admit_prefixes, screen
from meterpipe.spec.models import Readings

from tests.unit.ingest.bodies import NOW, arrow_table, as_arrow, as_json, reading, rows_of

SPEC = Readings()
JSON, NDJSON, ARROW = JsonBody(SPEC), NdjsonBody(SPEC), ArrowBody(SPEC)
WANTED = [(f"house-{i % 7}", "ELECTRICITY", "ACTIVE_POWER", NOW + i * 1000, i / 4) for i in range(20)]


def test_an_array_of_readings_becomes_rows_in_order():
    assert rows_of(JSON.parse(as_json(*map(reading, range(20))), {})) == WANTED


def test_a_single_object_is_one_reading():
    assert rows_of(JSON.parse(json.dumps(reading(1), indent=2).encode(), {})) == WANTED[1:2]


def test_lines_become_rows_and_blank_lines_are_passed_over():
    lines = "\r\n\n".join(json.dumps(reading(i)) for i in range(20)) + "\n"
    assert rows_of(NDJSON.parse(lines.encode(), {})) == WANTED


@pytest.mark.parametrize("dictionary", [False, True])
def test_an_arrow_stream_becomes_rows(dictionary):
    table = arrow_table(20)
    if dictionary:
        table = table.set_column(0, "meter", table.column(0).dictionary_encode())
    assert rows_of(ARROW.parse(as_arrow(table), {})) == WANTED


def test_the_line_and_field_of_each_bad_reading_of_an_array_are_told_and_the_good_ones_taken():
    texts = [json.dumps(reading(0)), json.dumps(reading(1, value="x")), json.dumps(reading(2, gateway=None), indent=1)]
    parsed = JSON.parse(f"\n[{texts[0]},\n\n{texts[1]}, {texts[2]},{texts[0]}]".encode(), {})
    assert rows_of(parsed) == [WANTED[0], WANTED[0]]
    told = [(p.index, p.line, p.field, p.reason) for p in parsed.told()]
    assert told == [(1, 4, "value", Reason.WRONG_TYPE), (2, 4, "gateway", Reason.MISSING_FIELD)]
    assert parsed.refused.total() == 2


def test_the_line_of_a_bad_reading_of_ndjson_counts_blank_lines():
    parsed = NDJSON.parse(b"\n\n" + json.dumps(reading(0)).encode() + b"\n\n{}\n", {})
    assert [(p.index, p.line) for p in parsed.told()] == [(1, 5)]


def test_fields_are_told_by_the_names_of_the_pipeline():
    spec = Readings.model_validate({"fields": {"timestamp": "at", "meter": "id"}})
    body = as_json({**reading(0, gateway=None, timestamp=None), "id": "a", "at": "2026-01-01T00:00:00"})
    assert [p.field for p in JsonBody(spec).parse(body, {}).told()] == ["at"]


def test_text_that_is_no_json_is_refused_with_its_line():
    parsed = JSON.parse(b'[{"gateway":"a"},\n{"gateway":tru}]', {})
    assert [(p.reason, p.line) for p in parsed.told()] == [(Reason.MALFORMED, 2)]


@pytest.mark.parametrize(
    "body", [b"", b" \n", b"[" * 100_000, b"{" * 100_000, b'[{"a":' * 50_000, b"\xff\xfe", b"null"]
)
@pytest.mark.parametrize("form", [JSON, NDJSON])
def test_what_holds_no_readings_is_refused_whatever_it_is(form, body):
    parsed = form.parse(body, {})
    assert not len(parsed.rows)
    assert parsed.refused.total() >= 1
    assert parsed.told()


def test_a_control_record_is_refused_since_only_operators_may_move_event_time():
    parsed = JSON.parse(b'{"meterpipe.eventTime":1370649900000}', {})
    assert parsed.refused == {Reason.MISSING_FIELD: 1}


def test_of_many_problems_the_first_are_told_and_all_are_counted():
    parsed = JSON.parse(as_json(*[{}] * 1000), {})
    assert (parsed.refused.total(), len(parsed.told())) == (1000, MAX_PROBLEMS)


def test_more_readings_than_a_request_may_hold_are_refused():
    assert JSON.parse(b"[" + b"1," * MAX_READINGS + b"1]", {}).told()[0].reason is Reason.OUT_OF_RANGE
    assert NDJSON.parse(b"1\n" * (MAX_READINGS + 1), {}).told()[0].reason is Reason.OUT_OF_RANGE


def test_rows_of_an_arrow_stream_are_refused_one_by_one():
    table = arrow_table(4).set_column(4, "value", pa.array([0.0, float("nan"), None, 0.75]))
    parsed = ARROW.parse(as_arrow(table), {})
    assert [row[4] for row in rows_of(parsed)] == [0.0, 0.75]
    assert {(p.index, p.field) for p in parsed.told()} == {(1, "value"), (2, "value")}


def test_readings_ahead_of_the_clock_and_of_other_groups_are_refused():
    parsed = JSON.parse(as_json(reading(0), reading(1, gateway="flat-1"), reading(2, timestamp=NOW + 10**9)), {})
    judged = screen(parsed, admit_prefixes(("house-",)), NOW + 300_000, JSON.names)
    assert rows_of(judged) == WANTED[:1]
    told = {(p.index, p.field, p.reason) for p in judged.told()}
    assert told == {(1, "gateway", Reason.NOT_PERMITTED), (2, "timestamp", Reason.TOO_FAR_AHEAD)}


def test_an_empty_part_of_a_key_is_the_field_to_blame():
    judged = screen(JSON.parse(as_json(reading(0, metricType="")), {}), admit_prefixes(()), NOW, JSON.names)
    assert [p.field for p in judged.told()] == ["metricType"]


def stream_of(column: pa.Array, name: str) -> bytes:
    table = pa.table({n: pa.array(["x"] * len(column)) for n in ("meter", "metric", "attribute")})
    table = table.append_column("ts", pa.array([NOW] * len(column))).append_column(
        "value", pa.array([1.0] * len(column))
    )
    return as_arrow(table.set_column(table.schema.names.index(name), name, column))


def test_encodings_that_repeat_a_text_by_the_row_are_refused_before_they_are_decoded():
    repeated = pa.RunEndEncodedArray.from_arrays(pa.array([50_000], pa.int32()), pa.array(["y" * 100_000]))
    for column in (repeated, pa.array(["y" * 1000] * 10, pa.string_view())):
        parsed = ARROW.parse(stream_of(column, "meter"), {})
        assert [p.reason for p in parsed.told()] == [Reason.MALFORMED]


def test_a_stream_that_claims_more_rows_than_allowed_is_refused():
    nothing = pa.table({"x": pa.nulls(10**9)})
    tracemalloc.start()
    parsed = ARROW.parse(as_arrow(nothing), {})
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert "rows" in parsed.told()[0].detail


def test_a_stream_packed_inside_is_refused():
    sink = pa.BufferOutputStream()
    table = arrow_table(5000)
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    assert "Content-Encoding" in ARROW.parse(sink.getvalue().to_pybytes(), {}).told()[0].detail


def test_many_columns_are_refused():
    table = pa.table({f"c{i}": pa.array([1]) for i in range(10_000)})
    assert "columns" in ARROW.parse(as_arrow(table), {}).told()[0].detail


FORMS = [JSON, NDJSON, ARROW, EspiBody(SPEC)]
SEEDS = [
    as_json(*map(reading, range(3))),
    as_arrow(arrow_table(3)),
    b'<feed><entry><link rel="self" href="a"/></entry></feed>',
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FORMS), st.binary(max_size=400))
def test_no_bytes_crash_a_format(form, body):
    parsed = form.parse(body, {})
    assert len(parsed.rows) + parsed.refused.total() >= 1 or body.strip().startswith((b"[", b"\xff"))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FORMS), st.sampled_from(SEEDS), st.data())
def test_no_change_of_a_few_bytes_crashes_a_format(form, seed, data):
    body = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    parsed = form.parse(bytes(body), {})
    assert parsed.rows.readings.ts.dtype.itemsize == 8
    parsed.told()
