"""Figures read from what workers really put out."""

import pytest
from meterpipe.adapters.prometheus import PrometheusTelemetry
from meterpipe.worker.telemetry import Metric
from meterpipe_operator.autoscale.figures import ASKED, Figures, parsed, pod_of, rate, targets
from meterpipe_operator.autoscale.policy import Sample


def test_the_metrics_that_are_asked_for_are_those_of_the_workers():
    assert set(ASKED) <= set(Metric)


def test_the_exposition_of_a_worker_is_read_with_lags_summed_over_partitions():
    telemetry = PrometheusTelemetry(None)
    telemetry.count(Metric.RECORDS, 12)
    telemetry.count(Metric.READINGS, 3.4e7)
    telemetry.count(Metric.BUSY, 1.5)
    telemetry.gauge(Metric.PARTITIONS, 2)
    telemetry.gauge(Metric.LAG, 5, topic="a{b} c", partition="0")
    telemetry.gauge(Metric.LAG, 7, topic='with "quotes"', partition="1")
    telemetry.gauge(Metric.LAG, float("nan"), topic="t", partition="2")
    found = parsed(telemetry.exposition().decode())
    assert found[Metric.READINGS] == 3.4e7
    pod = pod_of("x", found)
    assert (pod.name, pod.records, pod.busy, pod.lag, pod.partitions) == ("x", 12, 1.5, 12, 2)


def look(at, **readings):
    return Figures(Sample(at, ()), readings)


def test_the_rate_counts_pods_seen_twice_and_none_that_began_again():
    assert rate(look(0, a=10, b=50), look(10, a=110, b=5, c=1000)) == pytest.approx(10)
    assert rate(look(5), look(5)) == 0


def pod(name, phase="Running", **status):
    ports = [{"name": "other", "containerPort": 1}, {"name": "metrics", "containerPort": 8080}]
    spec = {"containers": [{"ports": ports}]}
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": phase, **status}}


def test_only_pods_that_run_are_asked_at_the_port_they_name():
    leaving = pod("c", podIP="10.0.0.3")
    leaving["metadata"]["deletionTimestamp"] = "now"
    found = targets([pod("a", podIP="10.0.0.1"), pod("b", "Pending"), leaving, pod("d", podIP="fd00::1")])
    assert found == [("a", "http://10.0.0.1:8080/metrics"), ("d", "http://[fd00::1]:8080/metrics")]
