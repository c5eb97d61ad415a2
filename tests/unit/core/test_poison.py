"""Input that could hurt more than itself: each becomes a dead letter of bounded size, and nothing overflows."""

import numpy as np
import pytest
from meterpipe.core.aggregates import NONE, Aggregates, encode_columns, from_ipc
from meterpipe.core.codecs import KEY_BYTES, Decoder, admit_in
from meterpipe.core.deadletters import DETAIL_CHARS, ROWS_BYTES, Origin, Reason, Reject, headers_of
from meterpipe.core.envelope_codec import split_envelope
from meterpipe.core.readings import FIRST_MS, LAST_MS, KeyTable
from meterpipe.spec.models import KeyRule

from tests.unit.core.test_codecs import batch_of

ORIGIN = Origin("readings", 3, 4711)


def decode(*values, admit=None):
    decoder, keys = Decoder(), KeyTable()
    return decoder.decode(values, keys, admit) if admit else decoder.decode(values, keys)


def envelope_of(*rows):
    [(message, _)] = split_envelope(batch_of([(m, "E", "P", ts, v, 0, 0, 0) for m, ts, v in rows]), 10**9)
    return message


def test_an_envelope_in_the_wrong_partition_is_one_dead_letter_however_many_meters_it_holds():
    message = envelope_of(*((f"m{i}", i, 1.0) for i in range(1000)))
    decoded = decode(message, admit=admit_in(1, 2, KeyRule.METER))
    [reject] = decoded.rejects
    assert reject.reason is Reason.WRONG_PARTITION
    assert reject.count + len(decoded.readings) == 1000
    assert f"and {reject.count - 1} more like it" in reject.detail


@pytest.mark.parametrize("ts", [FIRST_MS - 1, LAST_MS + 1, -(2**63), 2**63 - 1])
def test_a_time_no_calendar_holds_is_refused_row_by_row(ts):
    decoded = decode(envelope_of(("a", 1000, 1.0), ("a", ts, 2.0), ("a", 2000, 3.0)))
    assert decoded.readings.value.tolist() == [1.0, 3.0]
    assert [(r.reason, r.rows) for r in decoded.rejects] == [(Reason.OUT_OF_RANGE, (1,))]


@pytest.mark.parametrize("event_time", [LAST_MS + 1, FIRST_MS - 1, 2**70])
def test_a_control_record_cannot_move_time_out_of_the_calendar(event_time):
    decoded = decode(b'{"meterpipe.eventTime":%d}' % event_time)
    assert decoded.controls == []
    assert [r.reason for r in decoded.rejects] == [Reason.MISSING_FIELD]


@pytest.mark.parametrize("meter", ["x" * KEY_BYTES, "🙂" * (KEY_BYTES // 4)])
def test_a_name_longer_than_any_name_is_refused_in_either_format(meter):
    json = f'{{"gateway":"{meter}","metricType":"E","metricAttribute":"P","timestamp":0,"value":1}}'
    for message in (json.encode(), envelope_of((meter, 0, 1.0))):
        decoded = decode(message)
        assert [r.reason for r in decoded.rejects] == [Reason.OUT_OF_RANGE]
        assert not len(decoded.readings)


def test_results_of_meters_with_long_names_still_fit_into_messages():
    n = 2000
    keys = KeyTable((f"{'ü' * 1900}{i}", "E", "P") for i in range(n))
    one, ids = np.ones(n), np.arange(n)
    rows = Aggregates(ids.astype(np.int32), ids * 60_000, ids + 1, one, one, one, one, one)
    messages = list(encode_columns(rows, keys, 60))
    assert max(map(len, messages)) <= 900_000
    tables = [from_ipc(message)[1] for message in messages]
    assert [start for table in tables for start in table.column("window_start").to_pylist()] == (ids * 60_000).tolist()
    assert list(encode_columns(NONE, keys, 60)) == []


def test_the_headers_of_a_dead_letter_fit_into_the_room_they_have():
    scattered = tuple(range(0, 200_000, 2))
    headers = headers_of(Reject(0, Reason.OUT_OF_RANGE, "x" * 10**6, scattered), ORIGIN)
    assert sum(len(name) + len(value) for name, value in headers) < DETAIL_CHARS * 4 + ROWS_BYTES + 1000
    assert dict(headers)["count"] == b"100000"
    assert "rows" not in dict(headers)


def test_rows_of_a_dead_letter_are_told_in_short():
    headers = dict(headers_of(Reject(0, Reason.OUT_OF_RANGE, "no", (0, 1, 2, 3, 7, 9, 10)), ORIGIN))
    assert headers["rows"] == b"0-3,7,9-10"
