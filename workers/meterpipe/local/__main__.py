"""`meterpipe services …`, and the same as `python -m meterpipe.local …`."""

import fcntl
import os
import shutil
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

import click

from meterpipe.local import process
from meterpipe.local.errors import LocalError
from meterpipe.local.paths import DEFAULT_DATA, DataDir
from meterpipe.local.services import RECIPES, USUAL, down, up

HOLDER = "holder"
_dir = click.option(
    "--dir", "root", type=click.Path(path_type=Path), default=DEFAULT_DATA, show_default=True, help="Data directory."
)


@click.group("services", context_settings={"help_option_names": ["-h", "--help"]})
def services() -> None:
    """Kafka, Cassandra, S3, a schema registry and Redis on this machine, for development and tests."""


@services.command("up")
@_dir
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(list(RECIPES)),
    help="Start this one only; may be repeated. Default: Kafka, Cassandra and S3.",
)
def up_command(root: Path, only: tuple[str, ...]) -> None:
    """Start the services, leave them running, print where they are as JSON.

    Example: meterpipe services up --dir /tmp/dev > /tmp/dev.json
    """
    try:
        connections = up(DataDir(root), tethered=False, only=only or USUAL, say=_say)
    except LocalError as error:
        raise click.ClickException(str(error)) from error
    click.echo(connections.model_dump_json(by_alias=True, indent=2))


@services.command("down")
@_dir
def down_command(root: Path) -> None:
    """Stop the services of a data directory. The data stays."""
    data = DataDir(root.absolute())
    if holder := process.find(data, HOLDER):
        holder.stop(60)
    stopped = down(data)
    _say(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


@services.command("hold", hidden=True)
@_dir
@click.option("--users", type=click.Path(path_type=Path), required=True)
@click.option("--keep", type=click.Path(path_type=Path), required=True)
def hold_command(root: Path, users: Path, keep: Path) -> None:
    """Start the services afresh; stop them when nobody has `users` locked any more and `keep` does not exist.

    The kernel unlocks for a user who died, so test sessions share one set of services and leave nothing behind.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    shutil.rmtree(root, ignore_errors=True)
    data = DataDir(root).create()
    process.note(data, HOLDER, os.getpid())
    with users.open("w") as lock:
        try:
            up(data, tethered=True, say=_say)
            while not stopping.wait(0.5):
                if not keep.exists() and _unused(lock.fileno()):
                    break
        finally:
            down(data)
            data.pid(HOLDER).unlink(missing_ok=True)


def _unused(lock: int) -> bool:
    """Whether nobody holds the lock; it is ours then, and newcomers wait until this process is gone."""
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    services(prog_name="python -m meterpipe.local")
