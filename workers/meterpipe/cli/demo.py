"""demo: the whole pipeline on real data, with the proof that its numbers are right."""

from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

import meterpipe
from meterpipe.cli.errors import Failed
from meterpipe.cli.local import dir_option, local_errors, secrets_option
from meterpipe.cli.spec import read_pipeline
from meterpipe.local.demo import MOST_DAYS, Wish, load_households, perform, plan
from meterpipe.local.paths import DataDir
from meterpipe.local.replayed import DAY_MS, Replayed
from meterpipe.local.session import session
from meterpipe.local.signals import sigterm_interrupts
from meterpipe.local.verdict import show
from meterpipe.local.view import view

INTERRUPTED = 130  # exit code of a shell's commands that Ctrl-C ended


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
