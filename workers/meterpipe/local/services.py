"""Kafka, Cassandra, an S3 server and, where they are asked for, a schema registry and Redis, in one data directory.

By hand, for development: `meterpipe services up --dir DIR` (or `python -m meterpipe.local up --dir DIR`) prints the
connections as JSON and leaves the services running; `… down --dir DIR` stops them. The data stays; a later `up` finds
it at the same ports.
"""

import fcntl
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from signal import SIGTERM
from types import MappingProxyType
from typing import Protocol

from meterpipe.local import cassandra, kafka, ports, process, redis, registry, s3, tools
from meterpipe.local.errors import LocalError
from meterpipe.local.paths import DataDir
from meterpipe.local.program import Program
from meterpipe.local.signals import uninterrupted
from meterpipe.spec.base import Model
from meterpipe.spec.connections import (
    CassandraConnection,
    KafkaConnection,
    LakeConnection,
    RedisConnection,
    RegistryConnection,
)

START_SECONDS = 90.0
Say = Callable[[str], None]


class Connections(Model):
    """Where the services are: a WorkerConfig without its pipeline."""

    kafka: KafkaConnection
    cassandra: CassandraConnection
    lake: LakeConnection
    registry: RegistryConnection | None = None
    """None where it was not asked for."""
    redis: RedisConnection | None = None
    """Likewise."""


class Recipe(Protocol):
    """What each service module has."""

    NAME: str
    PORTS: tuple[str, ...]
    PATIENCE: float

    def prepare(self, data: DataDir, ports: dict[str, int], /) -> Program:
        """Write the service's files and tell how to start it."""


RECIPES: MappingProxyType[str, Recipe] = MappingProxyType({m.NAME: m for m in (kafka, cassandra, s3, registry, redis)})
USUAL = (kafka.NAME, cassandra.NAME, s3.NAME)
"""What every pipeline needs."""


def up(data: DataDir, *, tethered: bool, only: Collection[str] = USUAL, say: Say = lambda _: None) -> Connections:
    """Start what does not run yet of the services `only`, wait until all answer, and tell where they are.

    Tethered services end with this process. When one fails, those started here are stopped again.
    """
    data = data.create()
    with _alone(data):
        absent = [recipe for name, recipe in RECIPES.items() if name in only and not process.find(data, name)]
        names = [port for recipe in RECIPES.values() for port in recipe.PORTS]
        ports.forget_taken(data, [port for recipe in absent for port in recipe.PORTS])
        numbers = ports.reserve(data, names)
        try:
            _start(data, absent, numbers, tethered, say)
        except BaseException:
            with uninterrupted():
                _stop(data, absent)
            raise
        connections = Connections(
            kafka=kafka.connection(numbers),
            cassandra=cassandra.connection(numbers),
            lake=s3.connection(data, numbers),
            registry=registry.connection(data, numbers) if process.find(data, registry.NAME) else None,
            redis=redis.connection(data, numbers) if process.find(data, redis.NAME) else None,
        )
        data.connections.write_text(connections.model_dump_json(by_alias=True, indent=2))
    return connections


def down(data: DataDir, only: Collection[str] = RECIPES.keys()) -> list[str]:
    """Stop the services of the directory, whoever started them; the names of those that ran."""
    if not data.root.is_dir():
        return []
    with _alone(data):
        stopped = _stop(data, [recipe for name, recipe in RECIPES.items() if name in only])
        if not any(process.find(data, name) for name in RECIPES):
            data.connections.unlink(missing_ok=True)
    return stopped


def _start(data: DataDir, absent: list[Recipe], numbers: dict[str, int], tethered: bool, say: Say) -> None:
    """Prepare in parallel, start each as soon as it is prepared (by this thread: see tether), wait until all answer."""
    waiting: dict[str, tuple[Program, float]] = {}
    with ThreadPoolExecutor(len(RECIPES)) as pool, _unless_interrupted():
        preparing = {pool.submit(recipe.prepare, data, numbers) for recipe in absent}
        while preparing or waiting:
            for prepared in [future for future in preparing if future.done()]:
                preparing.remove(prepared)
                program = prepared.result()
                process.start(program.command, data, tethered=tethered)
                waiting[program.name] = program, time.monotonic()
                say(f"{program.name}: starting")
            for program, since in list(waiting.values()):
                if _is_up(data, program, time.monotonic() - since):
                    say(f"{program.name}: ready after {time.monotonic() - since:.1f} s")
                    del waiting[program.name]
            time.sleep(0.05)


@contextmanager
def _unless_interrupted() -> Iterator[None]:
    """Leaving early, by an error or Ctrl-C, waits for no build."""
    try:
        yield
    except BaseException:
        tools.stop_all()
        raise


def _is_up(data: DataDir, program: Program, seconds: float) -> bool:
    """Whether it answers; an error once it has ended or taken too long."""
    if program.answers():
        return True
    tail, log = process.log_tail(data, program.name), data.log(program.name)
    if not process.find(data, program.name):
        raise LocalError(f"{program.name} ended while starting:\n{tail}", f"see {log}")
    if seconds > START_SECONDS:
        problem = f"{program.name} does not answer after {START_SECONDS:.0f} s:\n{tail}"
        raise LocalError(problem, f"see {log}; on a busy machine try again")
    return False


def _stop(data: DataDir, recipes: list[Recipe]) -> list[str]:
    """SIGTERM to all, so that they stop at the same time, then wait for each."""
    running = [(recipe, found) for recipe in recipes if (found := process.find(data, recipe.NAME))]
    for _, found in running:
        found.signal(SIGTERM)
    for recipe, found in running:
        found.stop(recipe.PATIENCE)
        data.pid(recipe.NAME).unlink(missing_ok=True)
    return [recipe.NAME for recipe, _ in running]


@contextmanager
def _alone(data: DataDir) -> Iterator[None]:
    """One process at a time starts or stops services of a directory."""
    with data.in_use.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
