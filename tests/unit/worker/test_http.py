"""The HTTP of a worker, asked over a real socket."""

import http.client
import socket
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from meterpipe.adapters.http import Answer, HttpServer, ListenError, probes
from meterpipe.worker.frame import Health


class Served:
    """A server on a free port of this machine, and the health it tells."""

    def __init__(self) -> None:
        self.now = 0.0
        self.health = Health(lambda: self.now, stale_after=30)
        routes = dict(probes(self.health, lambda: b"a 1\n", "text/plain; version=0.0.4"))
        routes["/broken"] = lambda: Answer(HTTPStatus.OK, b"x" * (1 // 0))
        self.server = HttpServer(routes, port=0, host="127.0.0.1")

    def get(self, path: str, method: str = "GET") -> tuple[int, bytes, str | None]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.getheader("content-type")
        finally:
            connection.close()


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.server.close()


def test_metrics_are_served_with_their_type(served: Served):
    assert served.get("/metrics") == (200, b"a 1\n", "text/plain; version=0.0.4")


def test_a_query_is_no_other_path(served: Served):
    assert served.get("/metrics?name[]=a")[0] == 200


def test_a_starting_worker_is_live_but_not_ready(served: Served):
    assert (served.get("/live")[0], served.get("/ready")[0]) == (200, 503)


def test_a_working_worker_is_live_and_ready(served: Served):
    served.health.stepped()
    served.health.set_ready(True)
    assert (served.get("/live")[0], served.get("/ready")[0]) == (200, 200)


def test_a_hanging_worker_is_told_with_the_time_it_hangs(served: Served):
    served.health.stepped()
    served.health.set_ready(True)
    served.now = 31
    assert served.get("/live")[:2] == (503, b"no step for 31 s, allowed are 30 s\n")
    assert served.get("/ready")[0] == 503


def test_an_unknown_path_is_told_the_known_ones(served: Served):
    status, body, _ = served.get("/")
    assert status == 404
    assert b"/metrics /live /ready" in body


def test_head_is_answered_without_a_body(served: Served):
    assert served.get("/metrics", "HEAD")[:2] == (200, b"")


def test_a_route_that_fails_harms_no_other(served: Served):
    assert served.get("/broken")[0] == 500
    assert served.get("/metrics")[0] == 200


def test_a_closed_server_frees_its_port(served: Served):
    served.server.close()
    with socket.create_server(("127.0.0.1", served.server.port)):
        pass
    served.server = HttpServer({}, 0, "127.0.0.1")


def test_a_port_that_is_taken_is_named(served: Served):
    with pytest.raises(ListenError, match=rf"cannot listen on 127\.0\.0\.1:{served.server.port}: "):
        HttpServer({}, served.server.port, "127.0.0.1")
