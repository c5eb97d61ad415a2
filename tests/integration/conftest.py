"""Real services for the integration tests, started once and shared by all sessions and xdist workers of a checkout.

    kafka, cassandra, s3     connections to the shared services
    pipeline(...)            a WorkerConfig of a pipeline with a name of its own: topics, bucket and tables made
    redis                    a Redis of the module, and its folder
    own_services(*names)     services of this test alone, for tests that stop or kill them

A process of its own (`meterpipe.local hold`) keeps the shared services; it stops them when the last session is gone,
however it went. With KEEP_SERVICES=1 they stay up for the next session, until one without it, or until
`python -m meterpipe.local down --dir DIR/data` (DIR: test-services/… in the cache folder).
"""

import fcntl
import hashlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from meterpipe.adapters.s3 import ensure_bucket
from meterpipe.adapters.schema import apply_schema
from meterpipe.adapters.topics import ensure_topics
from meterpipe.local import process
from meterpipe.local.__main__ import HOLDER
from meterpipe.local.paths import DataDir, cache_dir
from meterpipe.local.services import RECIPES, Connections, down, up
from meterpipe.spec.connections import (
    CassandraConnection,
    KafkaConnection,
    LakeConnection,
    RedisConnection,
    WorkerConfig,
)
from meterpipe.spec.models import MeterPipeline

START_SECONDS = 600.0  # the S3 server is built from source the first time
CHECKOUT = Path(__file__).resolve().parents[2]
SHARED = (
    cache_dir()
    / "test-services"
    / hashlib.sha256(os.environ.get("METERPIPE_TEST_SERVICES", str(CHECKOUT)).encode()).hexdigest()[:12]
)  # METERPIPE_TEST_SERVICES=WORD: checkouts that say the same word share them


@pytest.fixture(scope="session")
def services() -> Iterator[Connections]:
    """Where the shared services are."""
    SHARED.mkdir(parents=True, exist_ok=True)
    users, keep = SHARED / "users.lock", SHARED / "keep"
    with users.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # waits while a holder is stopping the services
        if os.environ.get("KEEP_SERVICES") == "1":
            keep.touch()
        else:
            keep.unlink(missing_ok=True)
        yield _shared_connections(users, keep)


@pytest.fixture(scope="session")
def kafka(services: Connections) -> KafkaConnection:
    return services.kafka


@pytest.fixture(scope="session")
def cassandra(services: Connections) -> CassandraConnection:
    return services.cassandra


@pytest.fixture(scope="session")
def s3(services: Connections) -> LakeConnection:
    return services.lake


class PipelineFactory(Protocol):
    def __call__(self, spec: dict[str, Any] | None = None, *, schema: bool = True, topics: bool = True) -> WorkerConfig:
        """A pipeline with a name of its own; `spec` as in YAML, e.g. {"aggregator": {"grace": 0}}."""


@pytest.fixture
def pipeline(services: Connections) -> PipelineFactory:
    def make(spec: dict[str, Any] | None = None, *, schema: bool = True, topics: bool = True) -> WorkerConfig:
        config = new_config(services, spec)
        if topics:
            ensure_topics(config)
        ensure_bucket(services.lake, config.pipeline.spec.lake.bucket)
        if schema:
            apply_schema(config)
        return config

    return make


@pytest.fixture
def own_services(tmp_path: Path) -> Iterator[Callable[..., tuple[DataDir, Connections]]]:
    """Start services of this test alone: `data, connections = own_services("s3")`; gone with the test."""
    data = DataDir(tmp_path / "services").create()

    def make(*names: str) -> tuple[DataDir, Connections]:
        return data, up(data, tethered=True, only=names or RECIPES.keys())

    yield make
    down(data)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DataDir, RedisConnection]]:
    """A Redis of this module, and the folder by which it can be stopped."""
    data = DataDir(tmp_path_factory.mktemp("redis") / "services").create()
    connection = up(data, tethered=True, only=["redis"]).redis
    assert connection is not None
    yield data, connection
    down(data)


def new_config(services: Connections, spec: dict[str, Any] | None = None) -> WorkerConfig:
    """A WorkerConfig with a pipeline of its own name; nothing is created."""
    resource = {
        "apiVersion": "meterpipe.io/v1alpha1",
        "kind": "MeterPipeline",
        "metadata": {"name": f"t{secrets.token_hex(5)}"},
        "spec": spec or {},
    }
    return WorkerConfig(
        pipeline=MeterPipeline.model_validate(resource),
        kafka=services.kafka,
        cassandra=services.cassandra,
        lake=services.lake,
    )


def _shared_connections(users: Path, keep: Path) -> Connections:
    """Of the running holder, or of one started now; sessions that come meanwhile wait for it."""
    data = DataDir(SHARED / "data")
    with (SHARED / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not process.find(data, HOLDER):
            data.connections.unlink(missing_ok=True)
            _start_holder(data, users, keep)
    return Connections.model_validate_json(data.connections.read_bytes())


def _start_holder(data: DataDir, users: Path, keep: Path) -> None:
    log = SHARED / "holder.log"
    argv = [sys.executable, "-m", "meterpipe.local", "hold", "--dir", data.root, "--users", users, "--keep", keep]
    with log.open("w") as out:
        holder = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    deadline = time.monotonic() + START_SECONDS
    while not data.connections.exists():
        if holder.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the services did not start:\n{log.read_text()}")
        time.sleep(0.1)
