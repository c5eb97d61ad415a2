"""run, status, down, clean, services: the pipeline on this machine."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from meterpipe.adapters.progress import Progress
from meterpipe.cli.errors import Failed
from meterpipe.cli.spec import read_pipeline
from meterpipe.local import process
from meterpipe.local.__main__ import HOLDER, services
from meterpipe.local.errors import LocalError
from meterpipe.local.live import Live
from meterpipe.local.paths import DEFAULT_DATA, DataDir
from meterpipe.local.services import RECIPES
from meterpipe.local.services import down as stop_services
from meterpipe.local.session import RUN, Session, session
from meterpipe.local.signals import sigterm_interrupts
from meterpipe.local.status import Status, gather
from meterpipe.local.view import View, view

__all__ = ["clean", "down", "run", "services", "status"]

LOOK_EVERY = 1.0  # seconds between two looks at the workers
RUN_PATIENCE = 90.0  # seconds a `run` gets to stop its workers and services

dir_option = click.option(
    "--dir", "root", type=click.Path(file_okay=False, path_type=Path), default=DEFAULT_DATA, show_default=True,
    help="Data directory: services' data, logs, state.",
)  # fmt: skip
secrets_option = click.option(
    "--secrets", type=click.Path(file_okay=False, path_type=Path), default=Path("secrets"), show_default=True,
    help="Folder with a folder of files for each secretName of the pipeline.",
)  # fmt: skip


@contextmanager
def local_errors() -> Iterator[None]:
    """LocalError as the command line says it."""
    try:
        yield
    except LocalError as error:
        raise Failed(error.problem, error.way_out) from error


@click.command()
@click.option("-f", "--file", type=click.Path(path_type=Path), required=True, help="The pipeline.")
@dir_option
@secrets_option
@click.option(
    "--aggregators", type=click.IntRange(0, 64), help="Aggregator processes. Default: the pipeline's replicas."
)
def run(file: Path, root: Path, secrets: Path, aggregators: int | None) -> None:
    """Run a pipeline on this machine until Ctrl-C: services, topics, tables, workers, live figures.

    \b
    meterpipe run -f manifests/pipelines/minimal.yaml
    meterpipe run -f pipeline.yaml --dir /var/tmp/meters --aggregators 2

    What the pipeline names no address of (kafka.bootstrapServers, cassandra.contactPoints, lake.endpoint) is embedded.
    A worker that crashes is started again. The data stays; the next run goes on where this one stopped.
    """
    pipeline = read_pipeline(file)
    with local_errors(), sigterm_interrupts(), view(Console()) as screen:
        try:
            with session(pipeline, DataDir(root), secrets=secrets, aggregators=aggregators, say=screen.say) as running:
                screen.say(
                    f"pipeline {pipeline.metadata.name} runs; Ctrl-C stops it, logs are in {running.data.root}/logs"
                )
                with closing(Progress(running.config)) as progress:
                    watch(running, Live(running.metrics, progress.lag_or_none), screen)
        except KeyboardInterrupt:
            screen.say("stopped")


def watch(running: Session, live: Live, screen: View) -> None:
    """Keep the workers running and show how far they are, until interrupted."""
    looked = 0.0
    while True:
        for line in running.supervisor.tick():
            screen.say(line)
        if time.monotonic() - looked >= LOOK_EVERY:
            looked = time.monotonic()
            screen.show(live.look())
        time.sleep(0.1)


@click.command()
@dir_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def status(root: Path, as_json: bool) -> None:
    """Show services, workers, lag and balance of a data directory.

    \b
    meterpipe status
    meterpipe status --json | jq .balance
    """
    with local_errors():
        state = gather(DataDir(root.absolute()))
    if as_json:
        click.echo(json.dumps(state.as_dict(), indent=2))
    else:
        _print(state, Console())


@click.command()
@dir_option
def down(root: Path) -> None:
    """Stop whatever runs in a data directory, also what a killed run left. The data stays."""
    with local_errors():
        stopped = stop_everything(DataDir(root.absolute()))
    click.echo(f"stopped: {', '.join(stopped)}" if stopped else f"nothing runs in {root}")


@click.command()
@dir_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def clean(root: Path, yes: bool) -> None:
    """Stop everything and delete the data directory: topics, tables, lake, logs. There is no way back."""
    data = DataDir(root.absolute())
    if not data.root.exists():
        click.echo(f"there is no {root}")
        return
    if not data.marker.exists():
        raise Failed(f"{root} is no data directory of Meterpipe: nothing is deleted", "check --dir")
    if not yes:
        click.confirm(f"Delete {data.root} with all its data?", abort=True)
    with local_errors():
        stop_everything(data)
    shutil.rmtree(data.root)
    click.echo(f"deleted {root}")


def stop_everything(data: DataDir) -> list[str]:
    """Ask a running session to stop, then stop what is left; names of what ran."""
    running = list(process.find_all(data))
    for owner in (RUN, HOLDER):
        if found := process.find(data, owner):
            found.stop(RUN_PATIENCE)
    left = {name: found for name, found in process.find_all(data).items() if name not in RECIPES}
    for found in left.values():
        found.stop(20)
    stop_services(data)
    return running


def _print(state: Status, console: Console) -> None:
    console.print(f"{state.directory}: pipeline {state.pipeline or '-'}", highlight=False)
    table = Table(box=None, pad_edge=False)
    for title in ("process", "state", "pid", "address", "readings", "lag"):
        table.add_column(title, justify="right" if title in ("readings", "lag", "pid") else "left")
    for service in state.services:
        word = "[green]up[/]" if service.answers else "[red]starting[/]" if service.pid else "down"
        table.add_row(service.name, word, _shown(service.pid), service.address or "-", "", "")
    for worker in state.workers:
        word = "[green]up[/]" if worker.readings is not None else "[red]starting[/]" if worker.pid else "down"
        figures = (_shown(worker.readings), _shown(worker.lag))
        table.add_row(worker.name, word, _shown(worker.pid), worker.metrics, *figures)
    console.print(table)
    if state.lag:
        console.print("lag: " + ", ".join(f"{kind} {count:,}" for kind, count in state.lag.items()), highlight=False)
    if state.balance:
        console.print("balance: " + ", ".join(f"{k} {v:,}" for k, v in state.balance.items()), highlight=False)


def _shown(number: int | None) -> str:
    return "-" if number is None else f"{number}"
