"""The `meterpipe` command: a table of commands, each imported only when it is asked for."""

import os
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.abc import MetaPathFinder
from typing import Any, NamedTuple

import click

from meterpipe import __version__
from meterpipe.cli.errors import Failed


class Entry(NamedTuple):
    """Where a command lives (`module:attribute`), and what the overview says of it."""

    target: str
    summary: str


SECTIONS: Mapping[str, Mapping[str, Entry]] = {
    "On this machine": {
        "demo": Entry("meterpipe.cli.demo:demo", "Run the whole pipeline on real household data and check the result."),
        "run": Entry("meterpipe.cli.local:run", "Run a pipeline: real Kafka, Cassandra and S3, and the workers."),
        "status": Entry("meterpipe.cli.local:status", "Show what runs, how far it is and what it balances to."),
        "down": Entry("meterpipe.cli.local:down", "Stop everything; the data stays."),
        "clean": Entry("meterpipe.cli.local:clean", "Stop everything and delete the data."),
        "services": Entry("meterpipe.cli.local:services", "Start or stop Kafka, Cassandra and S3 alone."),
    },
    "Specification": {
        "validate": Entry("meterpipe.cli.spec:validate", "Check MeterPipeline files."),
        "explain": Entry("meterpipe.cli.spec:explain", "Explain a field: type, default, bounds, meaning."),
        "crd": Entry("meterpipe.cli.spec:crd", "Print the CustomResourceDefinition."),
        "render": Entry("meterpipe.cli.render:render", "Print what the operator would apply on Kubernetes."),
    },
    "Readings": {
        "replay": Entry("meterpipe.cli.produce:replay", "Send the readings of a data set to Kafka."),
        "generate": Entry("meterpipe.cli.produce:generate", "Send generated readings, with defects, to Kafka."),
        "flush": Entry("meterpipe.cli.produce:flush", "Tell the aggregator that event time has reached an instant."),
    },
    "Console": {
        "tail": Entry("meterpipe.cli.console:tail", "Print readings or results as they come."),
        "query": Entry(
            "meterpipe.cli.query:query", "Show readings by an SQL condition, as they come or of a span of time."
        ),
        "alarm": Entry("meterpipe.cli.alarm:alarm", "Set thresholds of alarms; print alarms, as they come or open."),
        "lag": Entry("meterpipe.cli.console:lag", "Show how far behind each kind of worker is."),
        "track": Entry("meterpipe.cli.track:track", "Measure how long readings take to become results and rows."),
        "dead-letters": Entry("meterpipe.cli.dead_letters:dead_letters", "List, show or replay what was refused."),
        "topics": Entry("meterpipe.cli.topics:topics", "List, create or plan the topics on Kafka."),
    },
    "Stores": {
        "activity": Entry("meterpipe.cli.activity:activity", "Show when meters were heard last, and which are silent."),
        "uplinks": Entry("meterpipe.cli.activity:uplinks", "Show how many readings a meter sent, window by window."),
        "get": Entry("meterpipe.cli.store:get", "Read the windows of a meter from Cassandra."),
        "schema": Entry("meterpipe.cli.store:schema", "Create or show the tables in Cassandra."),
        "lake": Entry("meterpipe.cli.lake:lake", "Compact, vacuum or count the lake."),
    },
    "Processes": {
        "worker": Entry("meterpipe.cli.worker:worker", "Run one worker in this process."),
        "operator": Entry("meterpipe.cli.operator:operator", "Reconcile the pipelines of a Kubernetes cluster."),
        "reset": Entry("meterpipe.cli.reset:reset", "Bring a worker's state and its offsets back together."),
    },
}
COMMANDS: Mapping[str, str] = {name: entry.target for section in SECTIONS.values() for name, entry in section.items()}


class LazyGroup(click.Group):
    """A group whose commands are imported when used: the overview is fast, a broken module breaks its command only."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the overview."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None if there is none of that name."""
        target = COMMANDS.get(cmd_name)
        return load(target) if target else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest command in the error."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            near = get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "see 'meterpipe --help' for all commands."
            raise click.UsageError(f"no such command '{name}': {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The overview, by section, without importing a single command."""
        width = max(map(len, COMMANDS))
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), entry.summary) for name, entry in entries.items()])


def load(target: str) -> click.Command:
    """The command at `module:attribute`; a package that is not installed is named with the way to install it."""
    module, attribute = target.split(":")
    try:
        command = getattr(import_module(module), attribute)
    except ModuleNotFoundError as problem:
        if (problem.name or "").startswith("meterpipe"):
            raise
        raise Failed(
            f"this command needs the Python package '{problem.name}', which is not installed",
            "install all of Meterpipe: pip install 'meterpipe[local,operator]'",
        ) from problem
    if not isinstance(command, click.Command):
        raise TypeError(f"{target} is no command")
    return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or input. NO_COLOR=1 turns colours off.",
)
@click.version_option(__version__, "-V", "--version", message="meterpipe %(version)s")
def cli() -> None:
    """Smart-metering data platform: readings in, exact windows, store and lake out, declared in one MeterPipeline.

    \b
    Start here:
      meterpipe demo                        everything, on real data, on this machine
      meterpipe validate -f pipeline.yaml   check your own pipeline
      meterpipe explain spec.aggregator     what a field means
    """


class WithoutPandas(MetaPathFinder):
    """Keeps pyarrow from importing pandas at its first conversion: a second of CPU for what no command uses."""

    def find_spec(self, fullname: str, *_: Any) -> None:
        """Refuse pandas, leave all else to the next finder."""
        if fullname == "pandas":
            raise ModuleNotFoundError("not used by meterpipe", name=fullname)


def main(args: Sequence[str] | None = None, **extra: Any) -> Any:
    """Run the command line. Colours are off when NO_COLOR is set to anything (no-color.org)."""
    sys.meta_path.insert(0, WithoutPandas())
    if os.environ.get("NO_COLOR"):
        extra["color"] = False
    return cli.main(args=args, prog_name="meterpipe", **extra)


if __name__ == "__main__":
    main()
