"""OpenTelemetry spans around batches, exported over OTLP/HTTP, and the W3C context in Kafka headers.

A batch is made of messages of many traces, so their contexts become links of the batch's span, not its parent.
"""

import logging
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

HEADER = "traceparent"
EXPORT_TIMEOUT = 3  # seconds; also bounds how long a stopping worker waits for a collector that is away
MAX_LINKS = 32  # of one span; a batch may hold messages of thousands of traces
_propagator = TraceContextTextMapPropagator()


class Tracer:
    """Opens spans and exports them in the background; a collector that is away costs spans, never readings."""

    def __init__(self, exporter: SpanExporter, service: str, **resource: str) -> None:
        identity = {"service.name": service, "service.instance.id": f"{socket.gethostname()}-{os.getpid()}"}
        self._provider = TracerProvider(resource=Resource.create(identity | resource), shutdown_on_exit=False)
        self._processor = BatchSpanProcessor(exporter)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("meterpipe")

    def span(
        self, name: str, links: Sequence[str], attributes: Mapping[str, str | int | float]
    ) -> AbstractContextManager[trace.Span]:
        """A span, current within it; an exception through it is recorded on it."""
        return self._tracer.start_as_current_span(name, attributes=attributes, links=_links(links))

    def close(self) -> None:
        """Export what is left."""
        self._provider.shutdown()


def otlp_tracer(endpoint: str, service: str, **resource: str) -> Tracer:
    """A tracer to a collector. `endpoint` without a path gets OTLP's usual one, /v1/traces."""
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)  # one line a lost batch, not one a retry
    has_path = urlsplit(endpoint).path.strip("/")
    url = endpoint if has_path else f"{endpoint.rstrip('/')}/v1/traces"
    return Tracer(OTLPSpanExporter(endpoint=url, timeout=EXPORT_TIMEOUT), service, **resource)


def traceparents(messages: Iterable[Any], limit: int = MAX_LINKS) -> list[str]:
    """Different `traceparent` headers of the first `limit` messages (anything with `headers()`), for a span's links.

    Looks at few messages because reading a header costs more than decoding a reading.
    """
    found: dict[str, None] = {}
    for message, _ in zip(messages, range(limit), strict=False):
        for name, value in message.headers() or ():
            if name == HEADER and value:
                found[value.decode("ascii", "replace") if isinstance(value, bytes) else value] = None
    return list(found)


def current_traceparent() -> list[tuple[str, bytes]]:
    """The Kafka header that hands the current span on; empty outside a span."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return [(HEADER, carrier[HEADER].encode())] if HEADER in carrier else []


def _links(traceparents: Iterable[str]) -> list[trace.Link]:
    """Links to valid contexts; what is no `traceparent` is left out."""
    contexts = (trace.get_current_span(_propagator.extract({HEADER: text})).get_span_context() for text in traceparents)
    return [trace.Link(context) for context in contexts if context.is_valid]
