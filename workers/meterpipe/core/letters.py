"""Dead letters as they are read back, and the record that says which of them have been replayed.

That record is in the partition of the letters it names, written in the transaction that sends their payloads, so it
lives at least as long as they do and there is no other place to keep in step.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from meterpipe.core.deadletters import Origin

Headers = Iterable[tuple[str, bytes | None]] | None
REPLAYED_HEADER = ("meterpipe", b"replayed")
FROM_HEADER = "replayed-from"
"""Header of a replayed message: `<dead-letter topic>/<partition>/<offset>`, for people."""
LINE = 16


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter without its payload. `at` is when it was written, UTC ms."""

    partition: int
    offset: int
    at: int
    key: bytes | None
    size: int
    reason: str
    detail: str
    count: int
    source: str
    """The topic it was read from; of an edge adapter, whatever that calls a topic."""
    origin: Origin | None
    """Where on Kafka it was read; None if it never was there."""
    rows: str | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Its name: partition and offset in the topic of dead letters."""
        return self.partition, self.offset


def letter_of(place: tuple[int, int], at: int, key: bytes | None, size: int, headers: Headers) -> Letter | None:
    """The letter at `place`; None if the headers are not those of one."""
    found = {name: (value or b"").decode(errors="replace") for name, value in headers or ()}
    if "reason" not in found:
        return None
    source = found.get("topic", "")
    return Letter(
        *place,
        at=at,
        key=key,
        size=size,
        reason=found["reason"],
        detail=found.get("detail", ""),
        count=_number(found, "count") or 1,
        source=source,
        origin=_origin(source, found),
        rows=found.get("rows"),
    )


def _origin(topic: str, found: Mapping[str, str]) -> Origin | None:
    partition, offset = _number(found, "partition"), _number(found, "offset")
    return None if partition is None or offset is None else Origin(topic, partition, offset)


def _number(found: Mapping[str, str], name: str) -> int | None:
    text = found.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else None


class Replayed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"offsets": "meterpipe.replayed"}):
    """Letters of the partition that have been replayed, by offset."""

    offsets: list[int]


def encode_replayed(offsets: Collection[int]) -> bytes:
    """The record's value: `{"meterpipe.replayed":[3,4]}`."""
    return msgspec.json.encode(Replayed(sorted(offsets)))


def decode_replayed(value: bytes | None, headers: Headers) -> list[int] | None:
    """The offsets named, or None if it is another record."""
    if REPLAYED_HEADER not in list(headers or ()):
        return None
    try:
        return msgspec.json.decode(value or b"", type=Replayed).offsets
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant: by name, by reason, by source; without any of these, all. `places` narrow the rest."""

    places: frozenset[tuple[int, int]] = frozenset()
    reasons: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    since: int | None = None

    def __contains__(self, letter: Letter) -> bool:
        return (
            (not self.places or letter.place in self.places)
            and (not self.reasons or letter.reason in self.reasons)
            and (not self.sources or letter.source in self.sources)
            and (self.since is None or letter.at >= self.since)
        )


def text_of(payload: bytes) -> str | None:
    """The payload as text, if it is one that a terminal can show."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return None
    return text if all(char.isprintable() or char in "\n\r\t" for char in text) else None


def hex_of(payload: bytes) -> str:
    """As `hexdump -C` shows it: offset, bytes, and what of them is ASCII."""
    lines = []
    for at in range(0, len(payload), LINE):
        piece = payload[at : at + LINE]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        lines.append(f"{at:08x}  {piece[:8].hex(' '):<23}  {piece[8:].hex(' '):<23}  |{shown}|")
    return "\n".join(lines)
