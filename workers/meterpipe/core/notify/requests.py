"""What the HTTP API of thresholds and open alarms is asked and answers. Problems have the form of RFC 9457."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import msgspec

from meterpipe.core.alarms.events import Place
from meterpipe.core.alarms.thresholds import (
    BadThresholdError,
    Threshold,
    check_threshold,
    encode_threshold_key,
)
from meterpipe.core.ingest.answers import JSON, PROBLEM, Answer
from meterpipe.core.readings import Key

THRESHOLDS, ALARMS = "/v1/thresholds", "/v1/alarms"
MOST, USUAL = 10_000, 1000
"""Of a list: what may be asked for, and what is given if nothing is said."""
BODY_BYTES = 65_536
_FIELD = re.compile(r"`\$\.(\w+)`|unknown field `(\w+)`")
_encode = msgspec.json.Encoder().encode


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing wrong with a request."""

    detail: str
    field: str | None = None
    value: Any = None


class _Problem(msgspec.Struct, omit_defaults=True):
    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...] = ()


class RequestError(Exception):
    """A request that cannot be done; carries its answer."""

    def __init__(self, status: HTTPStatus, detail: str, *faults: Fault, headers: tuple[tuple[str, str], ...] = ()):
        super().__init__(detail)
        body = _encode(_Problem(status.phrase, status.value, detail, faults))
        self.answer = Answer(status, body, PROBLEM, headers)


class Told(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A threshold with whom it is for, and its record if that is known."""

    meter: str
    metric: str
    attribute: str
    lower: float | None = None
    upper: float | None = None
    hysteresis: float | None = None
    min_duration: float | None = None
    record: Place | None = None


def told(key: Key, threshold: Threshold, record: Place | None = None) -> Told:
    """As the API shows it."""
    return Told(*key, threshold.lower, threshold.upper, threshold.hysteresis, threshold.min_duration, record)


def ok(document: object) -> Answer:
    """A good answer."""
    return Answer(HTTPStatus.OK, _encode(document), JSON)


NO_CONTENT = Answer(HTTPStatus.NO_CONTENT, b"", JSON)


def key_of(raw_path: bytes) -> Key:
    """Whom a path below THRESHOLDS names: three parts, percent-encoded, '*' standing for any. Raises RequestError."""
    parts = raw_path.decode("ascii", errors="replace").removeprefix(THRESHOLDS + "/").split("/")
    if len(parts) != 3:
        raise RequestError(HTTPStatus.NOT_FOUND, f"wanted is {THRESHOLDS}/METER/METRIC/ATTRIBUTE; '/' in a name is %2F")
    try:
        meter, metric, attribute = (unquote(part, errors="strict") for part in parts)
    except UnicodeDecodeError as error:
        fault = Fault("is no UTF-8", "path", raw_path.decode("ascii", errors="replace"))
        raise RequestError(HTTPStatus.BAD_REQUEST, "the path is no UTF-8", fault) from error
    key = (meter, metric, attribute)
    try:
        encode_threshold_key(key)
    except BadThresholdError as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, str(error), _named(str(error), {})) from error
    return key


def threshold_of(body: bytes) -> Threshold:
    """The threshold in a body. Raises RequestError that names field and value."""
    try:
        return check_threshold(msgspec.json.decode(body, type=Threshold))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, "this is no threshold", _fault(error, _plain(body))) from error
    except BadThresholdError as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, "this is no threshold", _named(str(error), _plain(body))) from error


def limit_of(query: Mapping[str, str]) -> int:
    """How many items a list may have. Raises RequestError."""
    text = query.get("limit")
    if text is None:
        return USUAL
    if text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MOST:
        return int(text)
    fault = Fault(f"must be a number from 1 to {MOST}", "limit", text)
    raise RequestError(HTTPStatus.BAD_REQUEST, "limit makes no sense", fault)


def _plain(body: bytes) -> Mapping[str, Any]:
    """The body as it is, for showing values; empty if it is no object."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _fault(error: Exception, given: Mapping[str, Any]) -> Fault:
    found = _FIELD.search(str(error))
    field = next((name for name in found.groups() if name), None) if found else None
    return Fault(str(error), field, given.get(field) if field else None)


def _named(text: str, given: Mapping[str, Any]) -> Fault:
    """Of a text that may begin with `field: `."""
    field, colon, detail = text.partition(": ")
    if not colon or not field.isidentifier():
        return Fault(text)
    return Fault(detail, field, given.get(field))
