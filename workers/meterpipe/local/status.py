"""What runs in a data directory, how far it is, and where its readings went."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from confluent_kafka import KafkaException
from pydantic import ValidationError

from meterpipe.adapters.progress import Progress
from meterpipe.local import process
from meterpipe.local.errors import LocalError
from meterpipe.local.paths import DataDir
from meterpipe.local.probes import listens
from meterpipe.local.scrape import scrape, total
from meterpipe.local.services import RECIPES, USUAL, Connections
from meterpipe.local.session import RUN, kind_of
from meterpipe.spec.connections import WorkerConfig
from meterpipe.worker.telemetry import Metric


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One embedded service."""

    name: str
    pid: int | None
    address: str | None
    answers: bool


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker process. Figures are since its start; None while it does not answer."""

    name: str
    kind: str
    pid: int | None
    metrics: str
    readings: int | None = None
    lag: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """All there is to say. `lag` and `balance` are None while Kafka does not answer or nothing ran yet."""

    directory: str
    pipeline: str | None
    supervisor: int | None
    """Pid of the `meterpipe run` or `demo` that runs here."""
    services: tuple[ServiceState, ...]
    workers: tuple[WorkerState, ...]
    lag: dict[str, int] | None
    balance: dict[str, int] | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def gather(data: DataDir) -> Status:
    """Look at everything once."""
    config = _config(data.config)
    supervisor = process.find(data, RUN)
    lag, balance = _progress(config) if config else (None, None)
    return Status(
        directory=str(data.root),
        pipeline=config.pipeline.metadata.name if config else None,
        supervisor=supervisor.pid if supervisor else None,
        services=tuple(_services(data)),
        workers=tuple(_workers(data)),
        lag=lag,
        balance=balance,
    )


def _config(path: Path) -> WorkerConfig | None:
    try:
        return WorkerConfig.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise LocalError(
            f"{path} was written by another version of Meterpipe", "run the pipeline again, it is written anew"
        ) from error


def _services(data: DataDir) -> list[ServiceState]:
    addresses = {}
    if data.connections.exists():
        found = Connections.model_validate_json(data.connections.read_bytes())
        addresses = {
            "kafka": found.kafka.bootstrap_servers,
            "cassandra": f"{found.cassandra.contact_points[0]}:{found.cassandra.port}",
            "s3": (found.lake.endpoint or "").removeprefix("http://"),
        }
        if found.registry:
            addresses["registry"] = urlsplit(found.registry.url).netloc
        if found.redis:
            addresses["redis"] = f"{found.redis.host}:{found.redis.port}"
    states = []
    for name in RECIPES:
        running = process.find(data, name)
        if running is None and name not in USUAL:
            continue
        address = addresses.get(name) if running else None
        answers = address is not None and listens(int(address.rpartition(":")[2]))
        states.append(ServiceState(name, running.pid if running else None, address, answers))
    return states


def _workers(data: DataDir) -> list[WorkerState]:
    metrics: dict[str, int] = json.loads(data.workers.read_text()) if data.workers.exists() else {}
    states = []
    for name, port in metrics.items():
        running = process.find(data, name)
        state = WorkerState(name, kind_of(name), running.pid if running else None, f"127.0.0.1:{port}")
        if running and (samples := scrape(port)):
            readings, lag = int(total([samples], Metric.READINGS)), int(total([samples], Metric.LAG))
            state = WorkerState(state.name, state.kind, state.pid, state.metrics, readings, lag)
        states.append(state)
    return states


def _progress(config: WorkerConfig) -> tuple[dict[str, int] | None, dict[str, int] | None]:
    host, _, port = config.kafka.bootstrap_servers.split(",")[0].rpartition(":")
    if host == "127.0.0.1" and not listens(int(port)):  # spares the client's complaints
        return None, None
    progress = Progress(config)
    try:
        balance = progress.balance()
        lag = {kind: progress.lag(kind) for kind in progress.kinds}
    except KafkaException:
        return None, None
    finally:
        progress.close()
    counts: dict[str, int] = msgspec.to_builtins(balance)
    return lag, counts
