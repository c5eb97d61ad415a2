"""The figures of running workers, read from their /metrics."""

import http.client
from collections.abc import Iterable, Mapping

from prometheus_client.parser import text_string_to_metric_families

from meterpipe.worker.telemetry import Metric

Labels = tuple[tuple[str, str], ...]
Samples = Mapping[tuple[str, Labels], float]


def parse(text: str) -> Samples:
    """Samples of an exposition by name and sorted labels."""
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def scrape(port: int) -> Samples | None:
    """The samples of the worker at a port of this machine; None if it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/metrics")
        return parse(connection.getresponse().read().decode())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def total(workers: Iterable[Samples], metric: Metric, **labels: str) -> float:
    """Sum of a metric over workers and over the labels that are not given."""
    wanted = set(labels.items())
    return sum(
        value
        for samples in workers
        for (name, found), value in samples.items()
        if name == metric and wanted <= set(found)
    )
