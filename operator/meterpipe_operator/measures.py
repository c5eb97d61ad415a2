"""The operator's own metrics, for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Measures:
    """What the operator does, counted."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._reconciles = Counter(
            "meterpipe_operator_reconciles", "Pipelines looked after", ["result"], registry=self._registry
        )
        for result in ("done", "again"):
            self._reconciles.labels(result)
        self._seconds = Histogram(
            "meterpipe_operator_reconcile_seconds", "Time one pipeline took", registry=self._registry
        )

    def reconciled(self, seconds: float, failed: bool) -> None:
        """A pipeline was looked after; `failed`: it has to be tried again."""
        self._reconciles.labels("again" if failed else "done").inc()
        self._seconds.observe(seconds)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Have a gauge call `read` whenever it is asked for."""
        Gauge(f"meterpipe_operator_{name}", text, registry=self._registry).set_function(read)

    def exposition(self) -> bytes:
        """All of them as text."""
        return generate_latest(self._registry)
