"""Telemetry as Prometheus metrics and, where a tracer is given, OpenTelemetry spans."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from meterpipe.worker.telemetry import Kind, Metric, Waiting, checked, read_or_nan

Value = str | int | float

CONTENT_TYPE = CONTENT_TYPE_LATEST
# A write to a healthy store takes milliseconds; beyond half a minute it is a retry, not a write.
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


# Opens a trace span: name, links (W3C traceparents), attributes. See `adapters.tracing`.
Spans = Callable[[str, Sequence[str], dict[str, Value]], AbstractContextManager[object]]


class PrometheusTelemetry:
    """The Telemetry port on a registry of its own, so that several workers may live in one process."""

    def __init__(self, spans: Spans | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # `…_created` series say nothing that the counters' resets do not
        self.waiting = Waiting()
        self._spans = spans
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._counters = {m: Counter(**self._definition(m)) for m in Metric if m.kind is Kind.COUNTER}
        self._gauges = {m: Gauge(**self._definition(m)) for m in Metric if m.kind is Kind.GAUGE}
        self._histograms = {
            m: Histogram(**self._definition(m), buckets=SECONDS_BUCKETS) for m in Metric if m.kind is Kind.HISTOGRAM
        }

    def _definition(self, metric: Metric) -> dict[str, Any]:
        return {
            "name": str(metric),
            "documentation": metric.help,
            "labelnames": metric.labels,
            "registry": self._registry,
        }

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format, of type CONTENT_TYPE."""
        return generate_latest(self._registry)

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        values = checked(metric, Kind.COUNTER, labels)
        counter = self._counters[metric]
        (counter.labels(*values) if values else counter).inc(amount)

    def gauge(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""
        self.gauge_from(metric, lambda: value, **labels)

    def gauge_from(self, metric: Metric, read: Callable[[], float], **labels: str) -> None:
        """Have a gauge call `read` at each scrape."""
        values = checked(metric, Kind.GAUGE, labels)
        gauge = self._gauges[metric]
        (gauge.labels(*values) if values else gauge).set_function(lambda: read_or_nan(read))

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Add one observation to a histogram."""
        values = checked(metric, Kind.HISTOGRAM, labels)
        histogram = self._histograms[metric]
        (histogram.labels(*values) if values else histogram).observe(value)

    def forget(self, metric: Metric, **labels: str) -> None:
        """Drop a labelled series."""
        values = checked(metric, metric.kind, labels)
        {**self._counters, **self._gauges, **self._histograms}[metric].remove(*values)

    def span(self, name: str, links: Sequence[str] = (), **attributes: Value) -> AbstractContextManager[object]:
        """A span around one batch; nothing without a tracer."""
        return self._spans(name, links, attributes) if self._spans else nullcontext()
