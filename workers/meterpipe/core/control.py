"""The control record: "event time has reached T". It is in the log itself, so every reader of the log sees it alike."""

from typing import Annotated

import msgspec

from meterpipe.core.readings import FIRST_MS, LAST_MS

CONTROL_HEADER = ("meterpipe", b"control")


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"event_time": "meterpipe.eventTime"}):
    """Event time of the partition has reached `event_time`, UTC ms."""

    event_time: Annotated[int, msgspec.Meta(ge=FIRST_MS, le=LAST_MS)]


def encode_control(event_time: int) -> bytes:
    """The record's value: `{"meterpipe.eventTime":T}`. Its key is null; it is sent to each partition.

    Readers refuse a T outside the years 1 to 9999.
    """
    return msgspec.json.encode(Control(event_time))


_decoder = msgspec.json.Decoder(Control)


def decode_control(value: bytes) -> Control | None:
    """The control record in `value`, or None if it is something else."""
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
