import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.aggregates import WINDOW_KEY, Result, to_ipc
from meterpipe.core.deadletters import Reason
from meterpipe.core.result_codec import decode_results

from tests.unit.store.results import row, rows, table

WINDOWS = (60, 600)


def columns(values, window=60):
    batch = table(values).to_batches()[0]
    return to_ipc(batch.replace_schema_metadata({WINDOW_KEY: str(window)}))


def json(values, window=60):
    meter, metric, attribute, start, count, low, high, total, first, last = values
    result = Result(meter, metric, attribute, window, start, count, low, high, total, total / count, first, last)
    return msgspec.json.encode(result)


def rows_of(decoded, window):
    return [tuple(r.values()) for t in decoded.tables.get(window, []) for r in t.to_pylist()]


finite = st.lists(
    rows.filter(lambda values: all(abs(number) < 1e300 for number in values[5:])), min_size=1, max_size=10
)


@given(finite, st.lists(st.booleans(), min_size=10, max_size=10))
def test_both_forms_mixed_give_the_same_rows(values, choices):
    messages = [json(v) if as_json else columns([v]) for v, as_json in zip(values, choices, strict=False)]
    decoded = decode_results(messages, WINDOWS)
    assert decoded.rejects == []
    assert sorted(rows_of(decoded, 60), key=repr) == sorted(values, key=repr)
    assert decoded.rows == len(values)


def test_json_of_several_window_sizes_is_sorted_into_their_tables():
    decoded = decode_results([json(row("a"), 60), json(row("b"), 600), json(row("c"), 60)], WINDOWS)
    assert rows_of(decoded, 60) == [row("a"), row("c")]
    assert rows_of(decoded, 600) == [row("b")]


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        (None, Reason.EMPTY),
        (b"", Reason.EMPTY),
        (b'{"gateway":"m1"', Reason.MALFORMED),
        (b"\xff\xff\xff\xff\x10\x00", Reason.MALFORMED),
        (columns([row()])[:-60], Reason.MALFORMED),
        (b'{"gateway":"m1"}', Reason.MISSING_FIELD),
        (json(row()).replace(b'"count":2', b'"count":"two"'), Reason.WRONG_TYPE),
        (json(row()).replace(b'"count":2', b'"count":99999999999999999999'), Reason.OUT_OF_RANGE),
        (json(row(), 61), Reason.OUT_OF_RANGE),
        (columns([row()], 61), Reason.OUT_OF_RANGE),
        (json(row(start=10**15)), Reason.OUT_OF_RANGE),
        (json(row("a")) + b"," + json(row("b")), Reason.MALFORMED),
        (b"\x80abc", Reason.MALFORMED),
    ],
)
def test_a_poison_message_is_named_and_harms_no_other(poison, reason):
    good = [json(row(f"m{i}")) for i in range(4)]
    decoded = decode_results([*good[:2], poison, *good[2:], columns([row("m9")])], WINDOWS)
    assert [(r.message, r.reason) for r in decoded.rejects] == [(2, reason)]
    assert [values[0] for values in rows_of(decoded, 60)] == ["m9", "m0", "m1", "m2", "m3"]


def test_single_rows_of_a_columnar_message_are_refused_by_their_place():
    decoded = decode_results([columns([row("a"), row("b", start=10**15), row("c")])], WINDOWS)
    assert [(r.message, r.reason, r.rows, r.count) for r in decoded.rejects] == [(0, Reason.OUT_OF_RANGE, (1,), 1)]
    assert rows_of(decoded, 60) == [row("a"), row("c")]


def test_a_columnar_message_with_plain_strings_is_read_too():
    batch = pa.record_batch(
        [c.cast(pa.string()) if pa.types.is_dictionary(c.type) else c for c in table([row()]).to_batches()[0].columns],
        names=table([row()]).schema.names,
    )
    message = to_ipc(batch.replace_schema_metadata({WINDOW_KEY: "60"}))
    assert rows_of(decode_results([message], WINDOWS), 60) == [row()]
