import json

from meterpipe.core.alarms.events import Alarm, AlarmKind, AlarmState, Place, encode_alarm
from meterpipe.core.notify.cloudevents import notice, source_of
from meterpipe.spec.notifier import AlarmKind as Posted


def test_an_alarm_is_told_as_a_structured_cloud_event():
    alarm = Alarm(
        id="ab12",
        state=AlarmState.RAISED,
        kind=AlarmKind.OVER,
        meter="house-7",
        metric="ELECTRICITY",
        attribute="ACTIVE_POWER",
        at="2026-01-01T00:00:00.000Z",
        raised_at="2026-01-01T00:00:00.000Z",
        value=9.5,
        limit=9.0,
        threshold=Place(3, 17),
        reading=Place(3, 99),
    )
    payload = encode_alarm(alarm)
    told = notice(alarm, payload, source_of("town", "meters"))
    assert told.id == "ab12/raised"
    assert json.loads(told.body) == {
        "specversion": "1.0",
        "id": "ab12/raised",
        "source": "/meterpipe/town/meters",
        "type": "io.meterpipe.alarm.raised",
        "subject": "house-7",
        "time": "2026-01-01T00:00:00.000Z",
        "datacontenttype": "application/json",
        "data": json.loads(payload),
    }


def test_fields_of_an_event_that_are_new_are_passed_on():
    payload = b'{"id":"x","state":"cleared","more":[1]}'
    alarm = Alarm("x", AlarmState.CLEARED, AlarmKind.SPIKE, "m", "E", "A", "t", "t")
    assert json.loads(notice(alarm, payload, "s").body)["data"]["more"] == [1]


def test_the_specification_knows_the_kinds_that_there_are():
    assert [kind.value for kind in Posted] == [kind.value for kind in AlarmKind]
