"""`meterpipe worker`: builds the adapters around one worker and runs it in this process."""

import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import click

from meterpipe import __version__
from meterpipe.adapters import logging as logs
from meterpipe.adapters.http import HttpServer, ListenError, probes
from meterpipe.adapters.prometheus import CONTENT_TYPE, PrometheusTelemetry
from meterpipe.cli.errors import FAILED, OK, Failed
from meterpipe.cli.spec import read_worker_config
from meterpipe.spec.connections import WorkerConfig
from meterpipe.worker.frame import STALE_AFTER, Health, Stopped, run, stop_on_signals
from meterpipe.worker.ports import Worker
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger("meterpipe.worker")

KINDS = {
    "aggregator": "meterpipe.adapters.aggregator:Aggregator",
    "validation": "meterpipe.adapters.validation:Validation",
    "sink": "meterpipe.adapters.sink:Sink",
    "archiver": "meterpipe.adapters.archiver:Archiver",
    "ingest": "meterpipe.adapters.ingest.worker:Ingest",
    "router": "meterpipe.adapters.router:Router",
    "alarms": "meterpipe.adapters.alarms:Alarms",
    "notifier": "meterpipe.adapters.notifier:Notifier",
    "activity": "meterpipe.adapters.activity:Activity",
}

STDERR = 2
Build = Callable[[WorkerConfig, Telemetry], Worker]


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.option(
    "--config", type=click.Path(path_type=Path), required=True,
    help="The pipeline and its connections (YAML or JSON); - is standard input.",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(0, 65535), default=None,
    help="Port of /metrics, /live and /ready instead of spec.monitoring.port; 0 takes a free one and logs it.",
)  # fmt: skip
@click.option("--host", default="0.0.0.0", show_default=True, help="Address to listen on; :: for IPv6.")
@click.option(
    "--stale-after", type=click.FloatRange(min=1), default=STALE_AFTER, show_default=True,
    help="Seconds without a step after which /live fails.",
)  # fmt: skip
def worker(kind: str, config: Path, port: int | None, host: str, stale_after: float) -> None:
    """Run one worker in this process until SIGTERM or SIGINT; it then finishes, commits and leaves.

    \b
    meterpipe worker aggregator --config worker.yaml --port 0

    `meterpipe run` and the operator start these for you. A second SIGINT leaves at once; SIGUSR1 prints where every
    thread is. Exit codes: 0 stopped, 1 crashed, 2 bad configuration.
    """
    settings = read_worker_config(config)
    pipeline = settings.pipeline
    name = f"{pipeline.metadata.namespace}/{pipeline.metadata.name}"
    monitoring = pipeline.spec.monitoring
    logs.configure(monitoring.log_level, worker=kind, pipeline=name)
    faulthandler.enable(STDERR)
    faulthandler.register(signal.SIGUSR1, STDERR, all_threads=True)
    chosen = monitoring.port if port is None else port
    sys.exit(_serve(kind, settings, name, chosen, host, Health(stale_after=stale_after)))


def _serve(kind: str, settings: WorkerConfig, name: str, port: int, host: str, health: Health) -> int:
    """Listen, build the worker, run it; everything opened is closed on every way out. Gives back the exit code."""
    with ExitStack() as opened:
        telemetry = _telemetry(kind, settings, name, opened)
        try:
            server = HttpServer(probes(health, telemetry.exposition, CONTENT_TYPE), port, host)
        except ListenError as problem:
            raise Failed(str(problem), "choose another --port, or 0 for a free one") from problem
        opened.callback(server.close)
        log.info("listening on %s:%d", host, server.port, extra={"port": server.port, "pid": os.getpid()})
        stop = opened.enter_context(stop_on_signals())
        try:
            built = _build(kind)(settings, telemetry)
            stop.looping = True
            return run(built, telemetry, stop.event, health)
        except Stopped:
            return FAILED if stop.event.is_set() else OK
        except Exception:
            log.exception("%s could not start", kind)
            return FAILED


def _telemetry(kind: str, settings: WorkerConfig, name: str, opened: ExitStack) -> PrometheusTelemetry:
    """Metrics, and spans where the pipeline asks for them."""
    endpoint = settings.pipeline.spec.monitoring.traces
    spans = None
    if endpoint is not None:
        from meterpipe.adapters.tracing import otlp_tracer  # imported by need: it costs a third of a second

        tracer = otlp_tracer(endpoint, f"meterpipe-{kind}", **{"service.version": __version__, "pipeline": name})
        opened.callback(tracer.close)
        spans = tracer.span
    telemetry = PrometheusTelemetry(spans)
    telemetry.gauge(Metric.INFO, 1, pipeline=name, worker=kind, version=__version__)
    return telemetry


def _build(kind: str) -> Build:
    """The worker's class, imported by need: each brings clients the others do not use."""
    module, attribute = KINDS[kind].split(":")
    build: Build = getattr(import_module(module), attribute)
    return build
