"""Alarms as they are told on the topic: the contract with whoever reads it. Pure."""

from enum import StrEnum
from hashlib import blake2b

import msgspec


class AlarmKind(StrEnum):
    """What an alarm is about. The order is that of the columns of state: new ones go to the end."""

    OVER = "OVER"
    UNDER = "UNDER"
    FLATLINE = "FLATLINE"
    SPIKE = "SPIKE"
    REVERSE_FLOW = "REVERSE_FLOW"
    NIGHT_LEAK = "NIGHT_LEAK"
    SILENCE = "SILENCE"


class AlarmState(StrEnum):
    """What an event says of its alarm."""

    RAISED = "raised"
    CLEARED = "cleared"


class Place(msgspec.Struct, frozen=True):
    """A record of a topic: which topic is known."""

    partition: int
    offset: int


class Alarm(msgspec.Struct, frozen=True, rename="camel"):
    """One event: an alarm was raised, or cleared. `id` and `state` together are the key of idempotency.

    Times are RFC 3339 in UTC with milliseconds, all of event time. One alarm is open at a time for each channel (meter,
    metric, attribute) and kind, and its two events have one `id`.
    """

    id: str
    state: AlarmState
    kind: AlarmKind
    meter: str
    metric: str
    attribute: str
    at: str
    """Of this change."""
    raised_at: str
    value: float | None = None
    """Of the reading that made the change; of a night its minimum; none where time alone did."""
    limit: float | None = None
    """The bound that was crossed, where there is one."""
    threshold: Place | None = None
    """The record of the threshold that was used."""
    reading: Place | None = None
    """The message that held the reading."""


def alarm_id(meter: str, metric: str, attribute: str, kind: AlarmKind, raised_at: str) -> str:
    """A stable name of one alarm: 32 hexadecimal digits."""
    parts = msgspec.json.encode([meter, metric, attribute, kind.value, raised_at])
    return blake2b(parts, digest_size=16).hexdigest()


def encode_alarm(alarm: Alarm) -> bytes:
    """As JSON."""
    return msgspec.json.encode(alarm)


def decode_alarm(value: bytes) -> Alarm:
    """What `encode_alarm` made. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(value, type=Alarm)
