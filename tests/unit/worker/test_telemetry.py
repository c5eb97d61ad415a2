"""One contract for all telemetry; what the adapter adds to it."""

import math
import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import pytest
from meterpipe.adapters.prometheus import PrometheusTelemetry
from meterpipe.worker.telemetry import Kind, Memory, Metric, Silent, Telemetry, Waiting

GAUGES = [metric for metric in Metric if metric.kind is Kind.GAUGE]


class Probe(Protocol):
    """Telemetry, and what it stands at."""

    telemetry: Telemetry

    def value(self, metric: Metric, **labels: str) -> float | None:
        """The value of a series; None if it does not exist."""

    def observations(self, metric: Metric) -> tuple[int, float]:
        """Count and sum of a histogram."""


class MemoryProbe:
    def __init__(self) -> None:
        self.telemetry = Memory()

    def value(self, metric: Metric, **labels: str) -> float | None:
        exists = self.telemetry.has(metric, **labels) or not metric.labels
        return self.telemetry.value(metric, **labels) if exists else None

    def observations(self, metric: Metric) -> tuple[int, float]:
        seen = self.telemetry.observations.get((metric,), [])
        return len(seen), sum(seen)


class PrometheusProbe:
    def __init__(self) -> None:
        self.telemetry = PrometheusTelemetry()

    def samples(self) -> dict[str, float]:
        lines = self.telemetry.exposition().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def value(self, metric: Metric, **labels: str) -> float | None:
        inside = ",".join(f'{name}="{labels[name]}"' for name in sorted(metric.labels))
        return self.samples().get(f"{metric}{{{inside}}}" if inside else str(metric))

    def observations(self, metric: Metric) -> tuple[int, float]:
        samples = self.samples()
        return int(samples[f"{metric}_count"]), samples[f"{metric}_sum"]


@pytest.fixture(params=[MemoryProbe, PrometheusProbe])
def probe(request: pytest.FixtureRequest) -> Probe:
    made: Probe = request.param()
    return made


def test_counts_add_up(probe: Probe):
    probe.telemetry.count(Metric.LATE)
    probe.telemetry.count(Metric.LATE, 2.5)
    assert probe.value(Metric.LATE) == 3.5


def test_a_counter_without_labels_is_there_from_the_start(probe: Probe):
    assert probe.value(Metric.RECORDS) == 0


def test_labelled_series_are_kept_apart(probe: Probe):
    probe.telemetry.count(Metric.DEAD_LETTERS, 2, reason="no-zone")
    probe.telemetry.count(Metric.DEAD_LETTERS, 3, reason="not-json")
    assert probe.value(Metric.DEAD_LETTERS, reason="no-zone") == 2
    assert probe.value(Metric.DEAD_LETTERS, reason="not-json") == 3
    assert probe.value(Metric.DEAD_LETTERS, reason="other") is None


def test_a_counter_never_falls(probe: Probe):
    with pytest.raises(ValueError, match="only"):
        probe.telemetry.count(Metric.LATE, -1)


def test_a_gauge_is_what_it_was_set_to_last(probe: Probe):
    probe.telemetry.gauge(Metric.PARTITIONS, 4)
    probe.telemetry.gauge(Metric.PARTITIONS, 2)
    assert probe.value(Metric.PARTITIONS) == 2


def test_a_gauge_from_a_reader_is_what_the_reader_says_now(probe: Probe):
    now = [1.0]
    probe.telemetry.gauge_from(Metric.COMMIT_AGE, lambda: now[0])
    now[0] = 7.0
    assert probe.value(Metric.COMMIT_AGE) == 7


def test_a_gauge_may_change_from_reader_to_value_and_back(probe: Probe):
    probe.telemetry.gauge_from(Metric.LAG, lambda: 5, topic="t", partition="0")
    probe.telemetry.gauge(Metric.LAG, 9, topic="t", partition="0")
    assert probe.value(Metric.LAG, topic="t", partition="0") == 9
    probe.telemetry.gauge_from(Metric.LAG, lambda: 6, topic="t", partition="0")
    assert probe.value(Metric.LAG, topic="t", partition="0") == 6


def test_a_reader_that_fails_reads_nan_and_harms_no_other(probe: Probe):
    probe.telemetry.gauge_from(Metric.COMMIT_AGE, lambda: 1 / 0)
    probe.telemetry.gauge(Metric.PARTITIONS, 3)
    value = probe.value(Metric.COMMIT_AGE)
    assert value is not None
    assert math.isnan(value)
    assert probe.value(Metric.PARTITIONS) == 3


def test_a_forgotten_series_is_gone_and_others_stay(probe: Probe):
    for partition in ("0", "1"):
        probe.telemetry.gauge(Metric.OPEN_READINGS, 5, partition=partition)
    probe.telemetry.forget(Metric.OPEN_READINGS, partition="0")
    assert probe.value(Metric.OPEN_READINGS, partition="0") is None
    assert probe.value(Metric.OPEN_READINGS, partition="1") == 5


def test_forgetting_what_is_not_there_is_nothing(probe: Probe):
    probe.telemetry.forget(Metric.OPEN_READINGS, partition="0")


def test_a_series_that_always_exists_cannot_be_forgotten(probe: Probe):
    with pytest.raises(ValueError, match="label"):
        probe.telemetry.forget(Metric.LATE)


def test_a_forgotten_series_may_come_back(probe: Probe):
    probe.telemetry.gauge_from(Metric.OPEN_READINGS, lambda: 1, partition="0")
    probe.telemetry.forget(Metric.OPEN_READINGS, partition="0")
    probe.telemetry.gauge(Metric.OPEN_READINGS, 2, partition="0")
    assert probe.value(Metric.OPEN_READINGS, partition="0") == 2


def test_observations_are_counted_and_summed(probe: Probe):
    for seconds in (0.002, 0.5, 100):
        probe.telemetry.observe(Metric.WRITE_SECONDS, seconds)
    assert probe.observations(Metric.WRITE_SECONDS) == (3, pytest.approx(100.502))


def test_the_wrong_verb_is_refused(probe: Probe):
    with pytest.raises(ValueError, match="is a gauge, not a counter"):
        probe.telemetry.count(Metric.PARTITIONS)
    with pytest.raises(ValueError, match="is a counter, not a gauge"):
        probe.telemetry.gauge(Metric.LATE, 1)
    with pytest.raises(ValueError, match="is a counter, not a histogram"):
        probe.telemetry.observe(Metric.LATE, 1)


@pytest.mark.parametrize("labels", [{}, {"topic": "t"}, {"topic": "t", "partition": "0", "more": "x"}])
def test_wrong_labels_are_refused(probe: Probe, labels: dict[str, str]):
    with pytest.raises(ValueError, match="has the labels"):
        probe.telemetry.gauge(Metric.LAG, 1, **labels)


def test_an_exception_passes_through_a_span(probe: Probe):
    with pytest.raises(KeyError), probe.telemetry.span("commit", readings=3):
        raise KeyError


def test_every_metric_can_be_told(probe: Probe):
    tell = {
        Kind.COUNTER: probe.telemetry.count,
        Kind.GAUGE: probe.telemetry.gauge,
        Kind.HISTOGRAM: probe.telemetry.observe,
    }
    for metric in Metric:
        tell[metric.kind](metric, 1, **dict.fromkeys(metric.labels, "x"))


def test_no_count_is_lost_between_threads():
    probe = PrometheusProbe()
    threads = [threading.Thread(target=_count_a_lot, args=(probe.telemetry,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert probe.value(Metric.RETRIES) == 4000


def _count_a_lot(telemetry: Telemetry) -> None:
    for _ in range(1000):
        telemetry.count(Metric.RETRIES)


def test_the_names_of_metrics_follow_prometheus():
    for metric in Metric:
        assert re.fullmatch(r"meterpipe_[a-z_]+", metric)
        assert metric.endswith("_total") == (metric.kind is Kind.COUNTER)


def test_the_exposition_holds_every_unlabelled_metric_and_nothing_created():
    text = PrometheusTelemetry().exposition().decode()
    assert all(f"\n{metric} " in text or f"\n{metric}_count " in text for metric in Metric if not metric.labels)
    assert "_created" not in text
    assert "process_cpu_seconds_total" in text


def test_two_telemetries_do_not_mix():
    first, second = PrometheusProbe(), PrometheusProbe()
    first.telemetry.count(Metric.LATE)
    assert second.value(Metric.LATE) == 0


def test_spans_go_to_the_tracer_with_links_and_attributes():
    opened: list[tuple[str, list[str], dict[str, str | int | float]]] = []

    @contextmanager
    def spans(name, links, attributes) -> Iterator[None]:
        opened.append((name, list(links), attributes))
        yield

    with PrometheusTelemetry(spans).span("commit", links=["00-x"], readings=3):
        pass
    assert opened == [("commit", ["00-x"], {"readings": 3})]


def test_silent_telemetry_takes_everything():
    silent: Telemetry = Silent()
    silent.count(Metric.LATE)
    with silent.span("x"), silent.waiting:
        pass
    assert isinstance(silent.span("x"), AbstractContextManager)


def test_only_the_time_asleep_counts_as_waiting():
    wall, working = iter([10.0, 12.0, 20.0, 21.0]), iter([1.0, 1.5, 2.0, 3.5])
    waiting = Waiting(lambda: next(wall), lambda: next(working))
    with waiting:
        pass
    assert waiting.seconds == 1.5
    with waiting:
        pass
    assert waiting.seconds == 1.5, "a clock that runs unevenly never makes it shrink"
