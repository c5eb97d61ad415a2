"""The Grafana dashboards: well formed, of metrics that exist, and each query finds something in a real Prometheus."""

import json
import re
import shutil
import socket
import subprocess
import tarfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import layers
from cluster.store import Store, cache_root
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from meterpipe.adapters.http import Answer, HttpServer
from meterpipe.adapters.prometheus import CONTENT_TYPE, PrometheusTelemetry
from meterpipe.worker.telemetry import Kind, Metric
from test_manifests import missing

from charts import CHART

FILES = sorted((CHART / "dashboards").glob("*.json"))
WORKERS = ("aggregator", "sink", "archiver")
VALUES = {"partition": "0", "topic": "readings", "reason": "not-json", "window": "60", "table": "metrics_aggregates_60"}
SETTINGS = {"$__rate_interval": "10s", "$pipeline": ".*"}
NOT_OURS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def loaded(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def queries(file: Path) -> list[str]:
    return [target["expr"] for panel in loaded(file)["panels"] for target in panel.get("targets", [])]


QUERIES = [(file.stem, query) for file in FILES for query in queries(file)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dashboard_is_what_grafana_takes(file: Path) -> None:
    register_default_plugins()
    given = loaded(file)
    understood = json.loads(JSONEncoder().encode(Dashboard.from_json(given)))
    assert list(missing(given, understood)) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_have_their_own_place_and_number(file: Path) -> None:
    panels = loaded(file)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    assert all(panel.get("description") for panel in panels if panel["type"] != "row")


@pytest.mark.parametrize(("dashboard", "query"), QUERIES)
def test_a_query_asks_only_for_metrics_that_exist(dashboard: str, query: str) -> None:
    asked = set(re.findall(r"\b(?:meterpipe|process)_\w+", query))
    known = {str(m) for m in Metric} | {f"{m}_bucket" for m in Metric if m.kind is Kind.HISTOGRAM} | NOT_OURS
    assert asked
    assert asked <= known


def test_what_one_has_to_watch_is_on_a_dashboard() -> None:
    guide = (CHART.parent.parent / "docs" / "operations.md").read_text()
    watched = set(re.findall(r"`(meterpipe_\w+)`", guide.partition("## Watch")[2].partition("\n## ")[0]))
    shown = " ".join(query for _, query in QUERIES)
    assert watched
    assert {metric for metric in watched | {Metric.ROWS} if metric not in shown} == set()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that scrapes workers of two pipelines, whose every metric moves."""
    work = tmp_path_factory.mktemp("prometheus")
    stop = threading.Event()
    told = [(telemetry_of(worker, pipeline), worker) for pipeline in ("a/one", "b/one") for worker in WORKERS]
    servers = [HttpServer({"/metrics": lambda t=t: answer(t)}, 0, "127.0.0.1") for t, _ in told]  # type: ignore[misc]
    mover = threading.Thread(target=move, args=([t for t, _ in told], stop))
    mover.start()
    targets = [f"127.0.0.1:{server.port}" for server in servers]
    scraping = {"job_name": "pods", "static_configs": [{"targets": targets}]}
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scraping]}
    (work / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = (program(work), f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/data")
    with (work / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)
            stop.set()
            mover.join()
            for server in servers:
                server.close()


def program(work: Path) -> str:
    """Return the path of this machine's Prometheus, else of the one in the test image."""
    if found := shutil.which("prometheus"):
        return found
    layer = layers.debian("prometheus")(Store(cache_root()))
    with tarfile.open(layer) as tar:
        tar.extract("./usr/bin/prometheus", work)
    return str(work / "usr" / "bin" / "prometheus")


def telemetry_of(worker: str, pipeline: str) -> PrometheusTelemetry:
    telemetry = PrometheusTelemetry()
    telemetry.gauge(Metric.INFO, 1, pipeline=pipeline, worker=worker, version="1")
    return telemetry


def answer(telemetry: PrometheusTelemetry) -> Answer:
    return Answer(HTTPStatus.OK, telemetry.exposition(), CONTENT_TYPE)


def move(telemetries: list[PrometheusTelemetry], stop: threading.Event) -> None:
    """Count on and on."""
    while not stop.wait(0.2):
        for telemetry in telemetries:
            for metric in set(Metric) - {Metric.INFO}:
                labels = {label: VALUES.get(label, "some") for label in metric.labels}
                if metric.kind is Kind.COUNTER:
                    telemetry.count(metric, 0.1, **labels)
                elif metric.kind is Kind.GAUGE:
                    telemetry.gauge(metric, 0.1, **labels)
                else:
                    telemetry.observe(metric, 0.1, **labels)


@pytest.mark.parametrize(("dashboard", "query"), QUERIES)
def test_prometheus_finds_series_for_a_query(prometheus: str, dashboard: str, query: str) -> None:
    for name, value in SETTINGS.items():
        query = query.replace(name, value)
    assert "$" not in query
    address = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    end = time.monotonic() + 60
    found: list[Any] = []
    while not found and time.monotonic() < end:
        time.sleep(0.2)
        try:
            with urllib.request.urlopen(address, timeout=10) as response:
                found = json.load(response)["data"]["result"]
        except urllib.error.HTTPError as error:
            pytest.fail(error.read().decode())
        except urllib.error.URLError:
            continue
    assert found
    assert all(float(series["value"][1]) >= 0 for series in found)
