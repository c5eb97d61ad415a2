"""Spans of batches, and the W3C context that comes and goes in Kafka headers."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from meterpipe.adapters.tracing import MAX_LINKS, Tracer, current_traceparent, otlp_tracer, traceparents
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


class Message:
    """As much of a Kafka message as is looked at."""

    def __init__(self, *headers: tuple[str, bytes | str | None]) -> None:
        self._headers = list(headers) or None

    def headers(self):
        return self._headers


class Exported:
    """A tracer that exports to memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer = Tracer(self.exporter, "meterpipe-sink", pipeline="local/demo")

    def spans(self):
        self.tracer.close()
        return self.exporter.get_finished_spans()


def test_a_span_carries_name_attributes_and_who_made_it():
    exported = Exported()
    with exported.tracer.span("write", [], {"rows": 3}):
        pass
    (span,) = exported.spans()
    assert (span.name, dict(span.attributes)) == ("write", {"rows": 3})
    assert span.resource.attributes["service.name"] == "meterpipe-sink"
    assert span.resource.attributes["pipeline"] == "local/demo"


def test_contexts_of_messages_become_links():
    exported = Exported()
    with exported.tracer.span("consume", [TRACEPARENT], {}):
        pass
    (span,) = exported.spans()
    (link,) = span.links
    assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == (TRACE, SPAN)
    assert span.parent is None


@pytest.mark.parametrize("broken", ["", "x", "00-0-0-00", f"00-{'0' * 32}-{SPAN}-01"])
def test_a_broken_context_is_left_out(broken):
    exported = Exported()
    with exported.tracer.span("consume", [broken, TRACEPARENT], {}):
        pass
    assert len(exported.spans()[0].links) == 1


def test_spans_within_spans_are_their_children():
    exported = Exported()
    with exported.tracer.span("step", [], {}), exported.tracer.span("commit", [], {}):
        pass
    inner, outer = exported.spans()
    assert inner.parent.span_id == outer.context.span_id


def test_an_exception_is_recorded_and_passes_through():
    exported = Exported()
    with pytest.raises(KeyError), exported.tracer.span("commit", [], {}):
        raise KeyError
    (span,) = exported.spans()
    assert [event.name for event in span.events] == ["exception"]
    assert not span.status.is_ok


def test_the_context_of_the_current_span_goes_on_in_a_header():
    exported = Exported()
    with exported.tracer.span("produce", [], {}):
        ((name, value),) = current_traceparent()
    (span,) = exported.spans()
    assert name == "traceparent"
    assert value.decode().startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-")


def test_outside_a_span_there_is_no_header():
    assert current_traceparent() == []


def test_headers_of_messages_are_gathered_once_each():
    messages = [
        Message(),
        Message(("content-type", b"application/json")),
        Message(("traceparent", TRACEPARENT.encode())),
        Message(("traceparent", TRACEPARENT)),
        Message(("traceparent", None)),
        Message(("traceparent", b"\xff")),
    ]
    assert traceparents(messages) == [TRACEPARENT, "�"]


def test_few_messages_of_a_batch_are_looked_at():
    messages = iter([Message(("traceparent", str(n))) for n in range(MAX_LINKS + 5)])
    assert len(traceparents(messages)) == MAX_LINKS


@pytest.mark.parametrize(("given", "asked"), [("", "/v1/traces"), ("/", "/v1/traces"), ("/own/path", "/own/path")])
def test_spans_are_posted_to_the_collector(monkeypatch: pytest.MonkeyPatch, given: str, asked: str):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    posted: list[tuple[str, str | None]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            posted.append((self.path, self.headers["content-type"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        tracer = otlp_tracer(f"http://127.0.0.1:{server.server_port}{given}", "meterpipe-sink")
        with tracer.span("write", [], {"rows": 3}):
            pass
        tracer.close()
        answering.join()
    assert posted == [(asked, "application/x-protobuf")]
