"""The HTTP a worker answers: /metrics, /live, /ready. One small server on threads of its own."""

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from meterpipe.worker.frame import Health

log = logging.getLogger("meterpipe.http")

TEXT = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """What a path gives back."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT


Routes = Mapping[str, Callable[[], Answer]]


class ListenError(Exception):
    """The address cannot be listened on. Says which and why."""


class HttpServer:
    """Answers `routes` at host:port until closed. Port 0 takes a free one; `port` says which."""

    def __init__(self, routes: Routes, port: int, host: str = "0.0.0.0") -> None:
        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        try:
            self._server = Server((host, port), _handler(routes))
        except (OSError, OverflowError) as problem:
            raise ListenError(f"cannot listen on {host}:{port}: {problem}") from problem
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def probes(health: Health, metrics: Callable[[], bytes], metrics_type: str) -> Routes:
    """The three paths of a worker."""

    def live() -> Answer:
        if health.live():
            return Answer(HTTPStatus.OK, b"live\n")
        text = f"no step for {health.since_step():.0f} s, allowed are {health.stale_after:.0f} s\n"
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, text.encode())

    def ready() -> Answer:
        if health.ready():
            return Answer(HTTPStatus.OK, b"ready\n")
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"not ready\n")

    return {
        "/metrics": lambda: Answer(HTTPStatus.OK, metrics(), metrics_type),
        "/live": live,
        "/ready": ready,
    }


def _handler(routes: Routes) -> type[BaseHTTPRequestHandler]:
    """A request handler for these paths."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30  # seconds an idle connection is kept

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, with_body: bool) -> None:
            route = routes.get(self.path.partition("?")[0])
            if route is None:
                answer = Answer(HTTPStatus.NOT_FOUND, f"paths: {' '.join(routes)}\n".encode())
            else:
                answer = _safely(self.path, route)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if with_body:
                self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            log.debug(format, *args)

    return Handler


def _safely(path: str, route: Callable[[], Answer]) -> Answer:
    """What the route gives; a failing one is logged and answered with 500, the connection stays usable."""
    try:
        return route()
    except Exception:
        log.exception("%s failed", path)
        return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"see the log\n")
