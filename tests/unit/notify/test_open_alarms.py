from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.alarms.events import Alarm, AlarmKind, AlarmState, Place
from meterpipe.core.open_alarms import COLUMNS, changes, fits

AT = "2026-01-01T00:00:00.000Z"


def event(state, meter="m", number=0, **more):
    return Alarm(str(number), AlarmState(state), AlarmKind.OVER, meter, "E", "P", AT, AT, **more)


def test_a_raised_alarm_is_a_row_and_a_cleared_one_deletes_it():
    raised = event("raised", value=3.0, limit=2.0, threshold=Place(1, 2), reading=Place(1, 3))
    (change,) = changes([(41, raised)])
    assert (change.key, change.written) == (("m", "E", "P", "OVER"), 42)
    assert dict(zip(COLUMNS, change.row, strict=True)) == {
        "meter": "m",
        "metric": "E",
        "attribute": "P",
        "kind": "OVER",
        "id": "0",
        "raised_at": datetime(2026, 1, 1, tzinfo=UTC),
        "value": 3.0,
        "limit_value": 2.0,
        "threshold_partition": 1,
        "threshold_offset": 2,
        "reading_partition": 1,
        "reading_offset": 3,
    }
    (change,) = changes([(42, event("cleared"))])
    assert (change.written, change.row) == (43, None)


class Table:
    """What Cassandra keeps: of each row the newest write, of equal ones the deletion."""

    def __init__(self):
        self.rows = {}

    def apply(self, change):
        there = self.rows.get(change.key)
        if there is None or change.written > there.written:
            self.rows[change.key] = change

    def open(self):
        return {key: change.row for key, change in self.rows.items() if change.row is not None}


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["raised", "cleared"])), max_size=30),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8),
    st.data(),
)
def test_however_events_are_batched_and_delivered_again_the_table_is_what_the_last_of_each_says(log, repeats, data):
    events = [(offset, event(state, meter, offset)) for offset, (meter, state) in enumerate(log)]
    batches = [events[a:b] for a, b in repeats] + [events]
    written = [change for batch in batches for change in changes(batch)]
    table = Table()
    for change in data.draw(st.permutations(written)):
        table.apply(change)
    last = {alarm.meter: alarm for _, alarm in events}
    assert {key[0]: row[4] for key, row in table.open().items()} == {
        meter: alarm.id for meter, alarm in last.items() if alarm.state is AlarmState.RAISED
    }


def test_keys_that_cassandra_cannot_take_are_told_apart():
    assert fits(event("raised", "x" * 1000))
    assert not fits(event("raised", "ü" * 40_000))
    assert not fits(event("raised", ""))
