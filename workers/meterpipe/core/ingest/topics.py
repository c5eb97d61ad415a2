"""MQTT messages to rows: what the topic names is put into the payload's JSON, which is then read like any other.

It is put last: of a field that is there twice the last counts, so a payload cannot speak for another meter.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from meterpipe.core.codecs import admit_any
from meterpipe.core.deadletters import DETAIL_CHARS, Headers, Reason
from meterpipe.core.ingest.formats import problem_of
from meterpipe.core.ingest.rows import MAX_READINGS, Parsed, Rows, rows_of_json, screen
from meterpipe.core.json_codec import JsonDecoder
from meterpipe.spec.models import Readings as ReadingsSpec

KNOWN_TOPICS = 200_000
_RAW = msgspec.json.Decoder(list[msgspec.Raw])
_TOO_MANY = f"more than {MAX_READINGS} readings"


class Refused(NamedTuple):
    """A message of which some readings, or all, are refused; `detail` is of the first."""

    message: int
    reason: Reason
    detail: str
    readings: int


class Template:
    """A topic template such as `meters/{meter}/{metric}/{attribute}`."""

    def __init__(self, template: str) -> None:
        self._levels = template.split("/")
        self.filter = "/".join("+" if _is_part(level) else level for level in self._levels)

    def parts(self, topic: str) -> dict[str, str] | None:
        """What `topic` says by the template; None if it is another topic."""
        words = topic.split("/")
        if len(words) != len(self._levels):
            return None
        found = {}
        for level, word in zip(self._levels, words, strict=True):
            if _is_part(level):
                found[level[1:-1]] = word
            elif level != word:
                return None
        return found


class MessageDecoder:
    """Decodes messages of one pipeline, many at a time."""

    def __init__(self, template: Template, spec: ReadingsSpec) -> None:
        self._template, self._names = template, spec.fields.model_dump()
        self._decoder = JsonDecoder(self._names, spec.timezone)
        self._tails: dict[str, bytes | None] = {}

    def decode(self, messages: Sequence[tuple[str, bytes]], latest: int) -> tuple[Rows, list[Refused]]:
        """Rows of (topic, payload) in order, and what is refused. `latest`: UTC ms, later ones are not taken."""
        values: list[bytes] = []
        owners: list[int] = []
        refused: list[Refused] = []
        for number, (topic, payload) in enumerate(messages):
            tail = self._tail(topic)
            text = payload.strip()
            if tail is None:
                refused.append(Refused(number, Reason.MALFORMED, f"topic {topic} is not as the template", 1))
            elif text[:1] == b"{" and text[-1:] == b"}":
                values.append(text[:-1] + tail)
                owners.append(number)
            elif isinstance(found := _objects(text), str):
                refused.append(Refused(number, Reason.MALFORMED, found, 1))
            else:
                values += [one[:-1] + tail for one in found]
                owners += [number] * len(found)
        columns, rejects = self._decoder.decode(values, np.arange(len(values), dtype=np.int32))
        problems = [problem_of(reject, reject.message, self._names) for reject in rejects]
        parsed = screen(Parsed(rows_of_json(columns), problems), admit_any, latest, self._names, told=len(values))
        return parsed.rows, refused + _by_message(parsed, owners)

    def _tail(self, topic: str) -> bytes | None:
        """What ends the JSON of a reading of this topic, made once."""
        if topic not in self._tails:
            if len(self._tails) >= KNOWN_TOPICS:
                self._tails.clear()
            parts = self._template.parts(topic)
            self._tails[topic] = None if parts is None else self._encoded(parts)
        return self._tails[topic]

    def _encoded(self, parts: dict[str, str]) -> bytes:
        fields = msgspec.json.encode({self._names[part]: word for part, word in parts.items()})
        return b"," + fields[1:]


def letter_headers(refused: Refused, topic: str) -> Headers:
    """The headers of the dead letter of an MQTT message; its value is the untouched payload."""
    return [
        ("reason", refused.reason.value.encode()),
        ("detail", refused.detail[:DETAIL_CHARS].encode(errors="replace")),
        ("adapter", b"mqtt"),
        ("topic", topic.encode()),
        ("count", str(refused.readings).encode()),
    ]


def _is_part(level: str) -> bool:
    return level.startswith("{")


def _objects(text: bytes) -> list[bytes] | str:
    """The objects of a JSON array, or why there are none."""
    if text[:1] != b"[":
        return "the payload is no JSON object and no array of them"
    if text.count(b",") > 20 * MAX_READINGS:
        return _TOO_MANY
    try:
        found = [bytes(raw) for raw in _RAW.decode(text)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return str(error)
    if len(found) > MAX_READINGS:
        return _TOO_MANY
    return found if all(one[:1] == b"{" for one in found) else "the array holds what is no object"


def _by_message(parsed: Parsed, owners: list[int]) -> list[Refused]:
    """The problems of each message as one, with the reason of the first."""
    found: dict[int, Refused] = {}
    for problem in parsed.problems:
        number = owners[problem.index or 0]
        known = found.get(number)
        count = known.readings + 1 if known else 1
        found[number] = (known or Refused(number, problem.reason, problem.detail, 1))._replace(readings=count)
    return list(found.values())
