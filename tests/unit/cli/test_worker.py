"""`meterpipe worker`: what is built around a worker, and how the process ends."""

import io
import json
import logging
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from meterpipe.cli import worker as wiring
from meterpipe.cli.main import cli
from meterpipe.spec.connections import WorkerConfig
from meterpipe.worker.telemetry import Metric, Telemetry

CONFIG = {
    "pipeline": {
        "apiVersion": "meterpipe.io/v1alpha1",
        "kind": "MeterPipeline",
        "metadata": {"name": "demo"},
    },
    "kafka": {"bootstrapServers": "127.0.0.1:1"},
}


class Probe:
    """A worker that asks its own HTTP server and then has itself stopped."""

    kind = "probe"
    port: int
    answers: dict[str, tuple[int, str]]

    def __init__(self, config: WorkerConfig, telemetry: Telemetry) -> None:
        assert config.pipeline.metadata.name == "demo"
        telemetry.count(Metric.READINGS, 5)
        Probe.answers = {"starting": self._get("/ready")}
        self.steps = 0

    def _get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{Probe.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def step(self) -> int:
        self.steps += 1
        if self.steps == 2:
            Probe.answers |= {path: self._get(path) for path in ("/live", "/ready", "/metrics")}
            signal.raise_signal(signal.SIGTERM)
        return 3

    def close(self) -> None:
        logging.getLogger("meterpipe.probe").info("closed")

    def ready(self) -> bool:
        return True


class Broken(Probe):
    def step(self) -> int:
        raise RuntimeError("broken step")


class Unbuildable:
    def __init__(self, config: WorkerConfig, telemetry: Telemetry) -> None:
        raise RuntimeError("no such keyspace")


class StoppedEarly:
    def __init__(self, config: WorkerConfig, telemetry: Telemetry) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal came too late")


@pytest.fixture(autouse=True)
def _process_state_put_back() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook)
    yield
    root.handlers[:], sys.excepthook = before[0], before[2]
    root.setLevel(before[1])
    logging.captureWarnings(False)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("Probe", "Broken", "Unbuildable", "StoppedEarly"):
        monkeypatch.setitem(wiring.KINDS, name.lower(), f"{__name__}:{name}")
    monkeypatch.setattr(wiring.worker.params[0].type, "choices", list(wiring.KINDS))
    listen = wiring.HttpServer

    def noted(*args: object) -> object:
        server = listen(*args)  # type: ignore[arg-type]
        Probe.port = server.port
        return server

    monkeypatch.setattr(wiring, "HttpServer", noted)
    file = tmp_path / "worker.json"
    file.write_text(json.dumps(CONFIG))
    return file


def run(kind: str, config: Path) -> Result:
    return CliRunner().invoke(cli, ["worker", kind, "--config", str(config), "--port", "0", "--host", "127.0.0.1"])


def logged(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in io.StringIO(result.stderr)]


def test_a_worker_runs_until_told_to_stop_and_says_so(config: Path):
    result = run("probe", config)
    assert result.exit_code == 0, result.stderr
    messages = [str(line["message"]) for line in logged(result)]
    assert messages == [
        f"listening on 127.0.0.1:{Probe.port}",
        "probe started",
        "SIGTERM: finishing, committing, leaving",
        "closed",
        "probe stopped",
    ]


def test_the_free_port_taken_is_logged_as_a_field(config: Path):
    first = logged(run("probe", config))[0]
    assert (first["port"], first["worker"], first["pipeline"]) == (Probe.port, "probe", "local/demo")


def test_probes_and_metrics_are_answered_while_it_runs(config: Path):
    run("probe", config)
    assert (Probe.answers["starting"][0], Probe.answers["/live"][0], Probe.answers["/ready"][0]) == (503, 200, 200)
    metrics = Probe.answers["/metrics"][1]
    assert "meterpipe_readings_total 5.0" in metrics
    assert "meterpipe_records_total 3.0" in metrics
    assert 'meterpipe_worker_info{pipeline="local/demo",version="' in metrics


def test_a_crash_is_exit_code_1_with_its_trace(config: Path):
    result = run("broken", config)
    assert result.exit_code == 1
    assert "broken step" in str(logged(result)[-1]["exception"])


def test_a_worker_that_cannot_start_is_exit_code_1_with_its_trace(config: Path):
    result = run("unbuildable", config)
    assert result.exit_code == 1
    assert "no such keyspace" in str(logged(result)[-1]["exception"])


def test_a_worker_stopped_while_starting_ends_well(config: Path):
    assert run("stoppedearly", config).exit_code == 0


def test_a_port_that_is_taken_is_told_with_a_way_out(config: Path):
    server = wiring.HttpServer({}, 0, "127.0.0.1")
    try:
        args = ["worker", "probe", "--config", str(config), "--host", "127.0.0.1", "--port", str(server.port)]
        result = CliRunner().invoke(cli, args)
    finally:
        server.close()
    assert result.exit_code == 1
    assert "-> choose another --port" in result.stderr


def test_a_wrong_config_is_exit_code_2(config: Path):
    config.write_text("{}")
    result = run("sink", config)
    assert result.exit_code == 2
    assert "pipeline: required, but missing" in result.stderr


def test_an_unknown_kind_is_told_the_known_ones(config: Path):
    result = run("xyzzy", config)
    assert result.exit_code == 2
    assert "aggregator" in result.stderr
