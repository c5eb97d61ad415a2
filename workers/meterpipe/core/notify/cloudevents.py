"""An alarm as a CloudEvent 1.0 in the structured JSON form."""

from typing import NamedTuple

import msgspec

from meterpipe.core.alarms.events import Alarm

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
TYPE = "io.meterpipe.alarm"


class Notice(NamedTuple):
    """What is sent. `id` is the same whenever the same event is sent: the receiver's key for telling repeats."""

    id: str
    body: bytes


class _CloudEvent(msgspec.Struct, frozen=True):
    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    data: msgspec.Raw


def source_of(namespace: str, pipeline: str) -> str:
    """The `source` of all events of a pipeline."""
    return f"/meterpipe/{namespace}/{pipeline}"


def notice(event: Alarm, payload: bytes, source: str) -> Notice:
    """The CloudEvent of an event; `payload` is its JSON, which becomes `data` as it is."""
    key = f"{event.id}/{event.state}"
    told = _CloudEvent(
        "1.0", key, source, f"{TYPE}.{event.state}", event.meter, event.at, "application/json", msgspec.Raw(payload)
    )
    return Notice(key, msgspec.json.encode(told))
