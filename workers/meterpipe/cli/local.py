"""demo, run, status, down, clean, services: the pipeline on this machine."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

import meterpipe
from meterpipe.cli.errors import Failed
from meterpipe.cli.spec import read_pipeline
from meterpipe.local import process
from meterpipe.local.__main__ import HOLDER, services
from meterpipe.local.demo import MOST_DAYS, Wish, load_households, perform, plan
from meterpipe.local.errors import LocalError
from meterpipe.local.live import Live
from meterpipe.local.paths import DEFAULT_DATA, DataDir
from meterpipe.local.replayed import DAY_MS, Replayed
from meterpipe.local.services import RECIPES
from meterpipe.local.services import down as stop_services
from meterpipe.local.session import RUN, session
from meterpipe.local.signals import sigterm_interrupts
from meterpipe.local.status import Status, gather
from meterpipe.local.verdict import show
from meterpipe.local.view import view

__all__ = ["clean", "demo", "down", "run", "services", "status"]

LOOK_EVERY = 1.0  # seconds between two looks at the workers
INTERRUPTED = 130  # exit code of a shell's commands that Ctrl-C ended
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
                live, looked = Live(running.metrics), 0.0
                while True:
                    for line in running.supervisor.tick():
                        screen.say(line)
                    if time.monotonic() - looked >= LOOK_EVERY:
                        looked = time.monotonic()
                        screen.show(live.look())
                    time.sleep(0.1)
        except KeyboardInterrupt:
            screen.say("stopped")


@click.command()
@click.option(
    "-f", "--file", type=click.Path(path_type=Path), default=None, help="Another pipeline than the demo's own."
)
@dir_option
@secrets_option
@click.option(
    "--households", type=click.IntRange(2, 100_000), default=100, show_default=True,
    help="Two real ones; the others are derived from them.",
)  # fmt: skip
@click.option(
    "--days", type=click.IntRange(1, MOST_DAYS), default=28, show_default=True, help="Days from 2012-10-13 on."
)
@click.option(
    "--aggregators", type=click.IntRange(1, 64), help="Aggregator processes. Default: the pipeline's replicas."
)
def demo(file: Path | None, root: Path, secrets: Path, households: int, days: int, aggregators: int | None) -> None:
    """Run everything on real household data and check every window against a recomputation.

    \b
    meterpipe demo                    100 households, 28 days
    meterpipe demo --days 56          the same directory again: only the days that are missing are sent
    meterpipe demo --dir /tmp/d --households 1000 --aggregators 2

    Half-hourly electricity of two London households (UK Power Networks, Low Carbon London, CC BY 4.0) goes into Kafka;
    windows come out in Cassandra, all readings in the lake. Exit code 0 if everything balances and equals, else 1.
    """
    pipeline, data = read_pipeline(file or _demo_file()), DataDir(root.absolute())
    console = Console()
    with local_errors(), sigterm_interrupts():
        todo = plan(data, pipeline.metadata.name, Wish(households, days))
        with view(console) as screen:
            try:
                base = load_households()
                screen.say(_intention(todo))
                with session(pipeline, data, secrets=secrets, aggregators=aggregators, say=screen.say) as running:
                    verdict = perform(running, base, todo, screen)
            except KeyboardInterrupt:
                raise click.exceptions.Exit(INTERRUPTED) from None
    console.print()
    show(verdict, console)
    if verdict.problems:
        raise Failed("the pipeline's numbers are not what they must be", f"see the logs in {data.root / 'logs'}")


def _intention(todo: Replayed) -> str:
    count = (todo.until - todo.since) // DAY_MS
    if not count:
        return "all readings asked for were sent by an earlier run; checking what the stores hold"
    first = datetime.fromtimestamp(todo.since / 1000, UTC).date()
    return f"replaying {todo.households} households, {count} days from {first}"


def _demo_file() -> Path:
    """The demo's pipeline: packaged, or of the checkout."""
    for folder in (Path(meterpipe.__file__).parent, Path(meterpipe.__file__).parents[2]):
        if (path := folder / "manifests" / "pipelines" / "demo.yaml").exists():
            return path
    raise Failed("the demo's pipeline is not installed", "give one with -f")


@click.command()
@dir_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def status(root: Path, as_json: bool) -> None:
    """Show services, workers, lag and balance of a data directory.

    \b
    meterpipe status
    meterpipe status --json | jq .balance
    """
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
