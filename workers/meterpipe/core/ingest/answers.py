"""What a request is answered: status, headers and JSON. Problems have the form of RFC 9457."""

from http import HTTPStatus
from typing import NamedTuple

import msgspec

from meterpipe.core.ingest.rows import Parsed, Problem

JSON = "application/json"
PROBLEM = "application/problem+json"
_encode = msgspec.json.Encoder().encode


class Answer(NamedTuple):
    """One response."""

    status: HTTPStatus
    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()


class RefusalError(Exception):
    """A request that goes no further; carries its answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class _Accepted(msgspec.Struct):
    accepted: int


class _ProblemDocument(msgspec.Struct, omit_defaults=True):
    """RFC 9457, with the counts and places of readings as extensions."""

    title: str
    status: int
    detail: str
    accepted: int | None = None
    refused: int | None = None
    errors: list[Problem] | None = None


def accepted(count: int) -> Answer:
    """All readings are durable."""
    return Answer(HTTPStatus.ACCEPTED, _encode(_Accepted(count)), JSON)


def partly(parsed: Parsed) -> Answer:
    """Some are refused, the others are durable."""
    count, refused, told = len(parsed.rows), parsed.refused.total(), parsed.told()
    detail = f"{refused} refused, {count} accepted"
    if len(told) < refused:
        detail += f"; the first {len(told)} are told"
    document = _ProblemDocument(
        "Readings refused", HTTPStatus.BAD_REQUEST, detail, accepted=count, refused=refused, errors=told
    )
    return Answer(HTTPStatus.BAD_REQUEST, _encode(document), PROBLEM)


def problem(status: HTTPStatus, detail: str, *headers: tuple[str, str]) -> Answer:
    """Nothing of the request was taken."""
    return Answer(status, _encode(_ProblemDocument(status.phrase, status.value, detail)), PROBLEM, headers)


def retry(status: HTTPStatus, detail: str, seconds: int) -> Answer:
    """The request may be repeated as it is."""
    return problem(status, detail, ("Retry-After", str(seconds)))
