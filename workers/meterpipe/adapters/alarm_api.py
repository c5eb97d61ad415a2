"""HTTP API of thresholds and open alarms: a server on a thread of its own, so that no request waits for the lanes."""

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from itertools import islice

import msgspec
import uvicorn
from cassandra import DriverException
from cassandra.cluster import NoHostAvailable, Session
from confluent_kafka import KafkaException
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from meterpipe import __version__
from meterpipe.adapters.ingest.tokens import Tokens
from meterpipe.adapters.open_alarms import OpenAlarmsReader
from meterpipe.adapters.threshold_view import ThresholdView
from meterpipe.adapters.thresholds import ThresholdWriter
from meterpipe.adapters.topic_reader import NoTopicError
from meterpipe.core.alarms.thresholds import Threshold
from meterpipe.core.ingest.answers import JSON, Answer
from meterpipe.core.notify import requests
from meterpipe.core.notify.document import document
from meterpipe.core.notify.requests import ALARMS, BODY_BYTES, THRESHOLDS, RequestError, told
from meterpipe.core.readings import Key
from meterpipe.spec.connections import NotifierConnection, WorkerConfig
from meterpipe.spec.ingest import GatewayGroup
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger(__name__)

BODY_SECONDS = 30.0
CLOSE_SECONDS = 10.0
RETRY = ("Retry-After", "2")
FIELD = "spec.alarms.notifier.api.port"


class _Anything(PathConvertor):
    """Names may hold line breaks, too."""

    regex = "(?s:.*)"


register_url_convertor("anything", _Anything())


class AlarmDesk:
    """What requests ask for, done. For any number of threads. `session`: of Cassandra, None while there is none."""

    def __init__(self, config: WorkerConfig, session: Callable[[], Session | None]) -> None:
        self._config, self._session = config, session
        self._table = config.pipeline.spec.alarms.notifier.open_alarms
        self._keyspace = names_of(config.pipeline).keyspace
        self._view: ThresholdView | None = None
        self._writer: ThresholdWriter | None = None
        self._lock = threading.Lock()

    def thresholds(self, meter: str | None, most: int) -> Answer:
        """A list of them."""
        rows = self._seen().some(meter, most + 1)
        return requests.ok({"items": [told(*row) for row in rows[:most]], "more": len(rows) > most})

    def threshold(self, key: Key) -> Answer:
        """The one of exactly this name."""
        found = self._seen().one(key)
        if found is None:
            raise RequestError(HTTPStatus.NOT_FOUND, f"there is no threshold {'/'.join(key)}")
        return requests.ok(told(key, *found))

    def change(self, key: Key, threshold: Threshold | None) -> Answer:
        """Set it, or take it away; done when Kafka has acknowledged it."""
        self._written().write([(key, threshold)])
        return requests.NO_CONTENT if threshold is None else requests.ok(told(key, threshold))

    def alarms(self, meter: str | None, most: int) -> Answer:
        """The open ones."""
        if not self._table:
            raise RequestError(HTTPStatus.NOT_FOUND, "no table of open alarms is kept: spec.alarms.notifier.openAlarms")
        session = self._session()
        if session is None:
            detail = "Cassandra has not answered yet"
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=(RETRY,))
        rows = list(islice(OpenAlarmsReader(session, self._keyspace).alarms(meter), most + 1))
        return requests.ok({"items": rows[:most], "more": len(rows) > most})

    def close(self) -> None:
        """Leave the brokers."""
        if self._view is not None:
            self._view.close()

    def _seen(self) -> ThresholdView:
        with self._lock:
            self._view = self._view or ThresholdView(self._config)
            return self._view

    def _written(self) -> ThresholdWriter:
        with self._lock:
            self._writer = self._writer or ThresholdWriter(self._config)
            return self._writer


class AlarmApi:
    """The routes, behind tokens."""

    def __init__(self, desk: AlarmDesk, tokens: Tokens, anonymous: bool, telemetry: Telemetry) -> None:
        self._desk, self._tokens, self._telemetry = desk, tokens, telemetry
        text = msgspec.json.encode(document(__version__, anonymous))

        async def described(_request: Request) -> Response:
            return Response(text, media_type=JSON)

        self.app = Starlette(
            routes=[
                Route("/openapi.json", described),
                Route(THRESHOLDS, self._handled(self._list_thresholds), methods=["GET"]),
                Route(ALARMS, self._handled(self._list_alarms), methods=["GET"]),
                Route(
                    THRESHOLDS + "/{rest:anything}",
                    self._handled(self._one_threshold),
                    methods=["GET", "PUT", "DELETE"],
                ),
            ],
            exception_handlers={HTTPException: _unrouted, Exception: _crashed},
        )

    def _handled(self, work: Callable[[Request, bytes], Answer]) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint around what is done for a request, in a thread, once its body is there."""

        async def endpoint(request: Request) -> Response:
            try:
                if self._tokens.group_of(request.headers.get("authorization")) is None:
                    detail = "a bearer token is wanted"
                    raise RequestError(HTTPStatus.UNAUTHORIZED, detail, headers=(("WWW-Authenticate", "Bearer"),))
                answer = await run_in_threadpool(_guarded, work, request, await _body(request))
            except RequestError as refused:
                answer = refused.answer
            self._telemetry.count(Metric.API_REQUESTS, status=str(answer.status.value))
            return _response(answer)

        return endpoint

    def _list_thresholds(self, request: Request, _body: bytes) -> Answer:
        return self._desk.thresholds(request.query_params.get("meter"), requests.limit_of(request.query_params))

    def _list_alarms(self, request: Request, _body: bytes) -> Answer:
        return self._desk.alarms(request.query_params.get("meter"), requests.limit_of(request.query_params))

    def _one_threshold(self, request: Request, body: bytes) -> Answer:
        key = requests.key_of(request.scope["raw_path"])
        if request.method == "DELETE":
            return self._desk.change(key, None)
        if request.method != "PUT":
            return self._desk.threshold(key)
        media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if media_type != JSON:
            raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type {media_type!r} is not taken: {JSON}")
        return self._desk.change(key, requests.threshold_of(body))


class ApiServer:
    """The API, served until it is closed."""

    def __init__(
        self, config: WorkerConfig, telemetry: Telemetry, session: Callable[[], Session | None], bound: socket.socket
    ) -> None:
        """Raises TokenError."""
        spec, secrets = config.pipeline.spec.alarms.notifier.api, config.notifier or NotifierConnection()
        clerks = GatewayGroup(name="api", secret_name=spec.secret_name or "none")
        files = {clerks.name: secrets.api_tokens_file} if secrets.api_tokens_file else {}
        tokens = Tokens([clerks] if files or not spec.anonymous else [], files, spec.anonymous)
        self._desk = AlarmDesk(config, session)
        settings = uvicorn.Config(
            AlarmApi(self._desk, tokens, spec.anonymous, telemetry).app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(CLOSE_SECONDS),
        )
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._server.run, args=([bound],), name="api", daemon=True)
        self._thread.start()
        log.info("thresholds and open alarms at %s:%d", *bound.getsockname()[:2])

    def ready(self) -> bool:
        """Whether connections are accepted."""
        return self._server.started and self._thread.is_alive()

    def close(self) -> None:
        """Accept nothing more, answer what was asked, end."""
        self._server.should_exit = True
        self._thread.join(CLOSE_SECONDS)
        self._desk.close()


def _guarded(work: Callable[[Request, bytes], Answer], request: Request, body: bytes) -> Answer:
    """What Kafka and Cassandra may do to a request is an answer, too."""
    try:
        return work(request, body)
    except (KafkaException, NoTopicError) as error:
        detail = f"Kafka does not do it: {_text(error)}; send the request again"
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=(RETRY,)) from error
    except (DriverException, NoHostAvailable) as error:
        detail = f"Cassandra does not answer: {type(error).__name__}"
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=(RETRY,)) from error


def _text(error: Exception) -> str:
    return error.args[0].str() if isinstance(error, KafkaException) else str(error)


async def _body(request: Request) -> bytes:
    """All of it. Raises RequestError if it is too large or does not come."""
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > BODY_BYTES:
                    detail = f"the body is larger than {BODY_BYTES} bytes"
                    raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=(("Connection", "close"),))
    except TimeoutError:
        detail = f"the body did not arrive within {BODY_SECONDS:.0f} s"
        raise RequestError(HTTPStatus.REQUEST_TIMEOUT, detail, headers=(("Connection", "close"),)) from None
    except ClientDisconnect:
        raise RequestError(HTTPStatus.BAD_REQUEST, "the client went away") from None
    return body


def _response(answer: Answer) -> Response:
    media_type = answer.content_type if answer.body else None
    return Response(answer.body, answer.status, dict(answer.headers), media_type)


async def _unrouted(_request: Request, error: Exception) -> Response:
    """No such path or method."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    headers = tuple((error.headers or {}).items())
    return _response(RequestError(status, f"{status.phrase}; see /openapi.json", headers=headers).answer)


async def _crashed(_request: Request, _error: Exception) -> Response:
    """A bug: the server logs it and closes the connection; other requests go on."""
    return _response(RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, "see the log of the worker").answer)
