"""HTTP: POST /v1/readings, and the pages that say how to use it."""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from meterpipe.adapters.ingest.gate import BusyError, Gate, UndeliveredError
from meterpipe.adapters.ingest.tokens import Tokens
from meterpipe.core.ingest import answers
from meterpipe.core.ingest.answers import Answer, RefusalError
from meterpipe.core.ingest.formats import BodyFormat
from meterpipe.core.ingest.manual import page
from meterpipe.core.ingest.rows import Parsed, admit_prefixes, screen
from meterpipe.core.ingest.unpack import BrokenEncodingError, TooLargeError, UnknownEncodingError, unpack
from meterpipe.spec.ingest import GatewayGroup, Ingest
from meterpipe.spec.models import Readings as ReadingsSpec
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger(__name__)

ADAPTER = "http"
BODY_SECONDS = 30.0
"""Time a client has to send a body."""
IDLE_SECONDS = 75
"""Time an idle connection is kept: longer than load balancers keep theirs, so that none is closed under a request."""
BODIES = 16
"""Bodies of full size that may be on their way at once; of smaller ones as many more."""
RETRY_S = 2
PATH = "/v1/readings"


class Served(NamedTuple):
    """What the requests need."""

    gate: Gate
    tokens: Tokens
    formats: Mapping[str, BodyFormat]
    telemetry: Telemetry


class Readings:
    """POST /v1/readings."""

    def __init__(
        self, spec: Ingest, readings: ReadingsSpec, served: Served, wall: Callable[[], float] = time.time
    ) -> None:
        self._served, self._wall = served, wall
        self._limit = spec.http.max_body
        self._room = BODIES * self._limit
        self._held = 0  # bytes of bodies that are being read
        self._max_ahead = readings.max_ahead
        self.taken = 0

    async def post(self, request: Request) -> Response:
        """Answer once the readings are durable, or are known not to be."""
        self.taken += 1
        try:
            answer = await self._take(request)
        except RefusalError as refused:
            answer = refused.answer
        except ClientDisconnect:
            answer = answers.problem(HTTPStatus.BAD_REQUEST, "the client went away")
        self._served.telemetry.count(Metric.INGEST_REQUESTS, adapter=ADAPTER, status=str(answer.status.value))
        return response_of(answer)

    async def _take(self, request: Request) -> Answer:
        group = self._served.tokens.group_of(request.headers.get("authorization"))
        if group is None:
            detail = "a bearer token of a gateway group is wanted"
            raise RefusalError(answers.problem(HTTPStatus.UNAUTHORIZED, detail, ("WWW-Authenticate", "Bearer")))
        form = self._format(request.headers.get("content-type"))
        self._check_room()
        parsed, began = await self._read(request, form, group)
        self._check_room()  # others came while this one was read
        try:
            await self._served.gate.submit(parsed.rows)
        except UndeliveredError as error:
            detail = f"Kafka has not confirmed in time ({error}); send the request again: no reading will count twice"
            raise RefusalError(answers.retry(HTTPStatus.SERVICE_UNAVAILABLE, detail, RETRY_S)) from error
        self._served.telemetry.observe(Metric.INGEST_ACK_SECONDS, time.perf_counter() - began, adapter=ADAPTER)
        return answers.partly(parsed) if parsed.refused else answers.accepted(len(parsed.rows))

    def _format(self, content_type: str | None) -> BodyFormat:
        media_type = (content_type or "application/json").partition(";")[0].strip().lower()
        form = self._served.formats.get(media_type)
        if form is None:
            known = ", ".join(self._served.formats)
            detail = f"Content-Type {media_type!r} is not taken; there are {known}"
            raise RefusalError(answers.problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail))
        return form

    def _check_room(self) -> None:
        try:
            self._served.gate.check()
        except BusyError as busy:
            answer = answers.retry(HTTPStatus.TOO_MANY_REQUESTS, str(busy), busy.retry_after)
            raise RefusalError(answer) from busy

    async def _read(self, request: Request, form: BodyFormat, group: GatewayGroup) -> tuple[Parsed, float]:
        """The readings of the body, and when it was all there. All bodies under way are bounded together."""
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for part in self._pieces(request):
                    size += len(part)
                    self._held += len(part)
                    if size > self._limit:
                        raise RefusalError(self._too_large())
                    if self._held > self._room:
                        detail = "the bodies of too many requests are on their way"
                        raise RefusalError(answers.retry(HTTPStatus.TOO_MANY_REQUESTS, detail, RETRY_S))
                    parts.append(part)
            began = time.perf_counter()
            body = self._unpacked(b"".join(parts), request.headers.get("content-encoding"))
            return self._judged(form.parse(body, request.query_params), form, group), began
        except TimeoutError:
            detail = f"the body did not arrive within {BODY_SECONDS:.0f} s"
            raise RefusalError(answers.problem(HTTPStatus.REQUEST_TIMEOUT, detail, ("Connection", "close"))) from None
        finally:
            self._held -= size

    async def _pieces(self, request: Request) -> AsyncIterator[bytes]:
        """The body as it comes; nothing of one that says itself that it is too large."""
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._limit:
            raise RefusalError(self._too_large())
        async for part in request.stream():
            if part:
                yield part

    def _too_large(self, detail: str = "") -> Answer:
        detail = detail or f"the body is larger than {self._limit} bytes"
        return answers.problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{detail}; send several requests")

    def _unpacked(self, body: bytes, encoding: str | None) -> bytes:
        try:
            return unpack(body, encoding, self._limit)
        except UnknownEncodingError as error:
            raise RefusalError(answers.problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, str(error))) from error
        except TooLargeError as error:
            raise RefusalError(self._too_large(str(error))) from error
        except BrokenEncodingError as error:
            raise RefusalError(answers.problem(HTTPStatus.BAD_REQUEST, str(error))) from error

    def _judged(self, parsed: Parsed, form: BodyFormat, group: GatewayGroup) -> Parsed:
        """Without what the group may not send and what is ahead of time."""
        latest = int(self._wall() * 1000) + self._max_ahead * 1000
        judged = screen(parsed, admit_prefixes(group.meter_prefixes), latest, form.names)
        for reason, count in judged.refused.items():
            self._served.telemetry.count(Metric.INGEST_REFUSED, count, adapter=ADAPTER, reason=reason)
        return judged


def response_of(answer: Answer) -> Response:
    """The answer as the framework wants it."""
    return Response(answer.body, answer.status, dict(answer.headers), answer.content_type)


def application(readings: Readings, described: Mapping[str, Any]) -> Starlette:
    """The routes. `described`: the OpenAPI document."""
    text, reference = msgspec.json.encode(described), page(described).encode()

    async def openapi(_request: Request) -> Response:
        return Response(text, media_type=answers.JSON)

    async def manual(_request: Request) -> Response:
        return Response(reference, media_type="text/html; charset=utf-8")

    return Starlette(
        routes=[Route(PATH, readings.post, methods=["POST"]), Route("/openapi.json", openapi), Route("/", manual)],
        exception_handlers={HTTPException: _unrouted, Exception: _crashed},
    )


async def _unrouted(_request: Request, error: Exception) -> Response:
    """No such path or method."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    headers = tuple((error.headers or {}).items())
    return response_of(answers.problem(status, f"{status.phrase}; the manual is at /", *headers))


async def _crashed(_request: Request, _error: Exception) -> Response:
    """A bug: the server logs it and closes the connection; other requests go on."""
    return response_of(answers.problem(HTTPStatus.INTERNAL_SERVER_ERROR, "see the log of the server"))


class ListenError(Exception):
    """The address cannot be listened on. Says which and why."""


def listener(host: str, port: int, shared: bool, field: str = "spec.ingest.http.port") -> socket.socket:
    """A bound socket; `field` is what says the port.

    `shared`: other processes listen on the same port, the kernel spreads connections over them.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ListenError(f"cannot listen on {host}:{port} ({field}): {error}") from error
    return bound


class _Server(uvicorn.Server):
    """Uvicorn, leaving the signals to the worker's frame."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpAdapter:
    """Serves an application on the running event loop."""

    def __init__(self, app: Starlette, bound: socket.socket, readings: Readings) -> None:
        self._readings = readings
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=int(BODY_SECONDS),
        )
        self._server = _Server(config)
        self._bound = bound
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to accept connections, from within the loop."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve(sockets=[self._bound]))

    @property
    def taken(self) -> int:
        """Requests so far."""
        return self._readings.taken

    def ready(self) -> bool:
        """Whether connections are accepted."""
        return self._server.started and self._task is not None and not self._task.done()

    async def close(self) -> None:
        """Accept nothing more, answer what was asked, end."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._bound.close()
