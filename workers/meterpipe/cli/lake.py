"""lake: look at the long-term store, and keep it in good order."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Column, Table

from meterpipe.adapters.lake import LAKE_ERRORS, WrongTableError, count_rows, explain, open_existing, rows_by_date
from meterpipe.adapters.lake_jobs import NoLakeError, Progress, accept_loss, compact, progress, vacuum
from meterpipe.adapters.s3 import location_of
from meterpipe.cli.errors import Failed
from meterpipe.cli.target import target, target_options

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")


@click.group()
def lake() -> None:
    """Look at the lake, the Delta table of all readings, and keep it in good order.

    \b
    meterpipe lake count
    meterpipe lake show -f pipeline.yaml
    meterpipe lake compact --date 2024-01-15

    Without -f or --config: the pipeline of `meterpipe run` in this folder.
    """


@lake.command()
@target_options
@as_json_option
def count(as_json: bool, **where: Any) -> None:
    """Count the readings in the lake, from its log alone: no data is read."""
    location = location_of(target(**where))
    with _lake_errors(location.table_uri):
        table = open_existing(location)
        rows = count_rows(table) if table else 0
    click.echo(json.dumps({"table": location.table_uri, "rows": rows}) if as_json else rows)


@lake.command()
@target_options
@as_json_option
def show(as_json: bool, **where: Any) -> None:
    """Show what the lake holds by date, and how far each partition of the readings topic is archived."""
    config = target(**where)
    location = location_of(config)
    with _lake_errors(location.table_uri):
        table = open_existing(location)
        dates = rows_by_date(table) if table else {}
        try:
            partitions: list[Progress] | None = list(progress(config, table).values())
        except KafkaException as problem:
            partitions = None
            click.echo(f"Kafka does not answer, so no progress is shown: {explain(problem)}", err=True)
    if as_json:
        click.echo(json.dumps(_shown(location.table_uri, table.version() if table else None, dates, partitions)))
        return
    console = Console(width=None if Console().is_terminal else 100)
    version = f"version {table.version()}" if table else "no table yet"
    console.print(f"{location.table_uri} ({version})", highlight=False, soft_wrap=True)
    console.print(_dates(dates))
    if partitions is not None:
        console.print(_partitions(partitions))


@lake.command(name="compact")
@click.option(
    "--date", "dates", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", multiple=True,
    help="A date (UTC) to compact; may be repeated. Default: all.",
)  # fmt: skip
@target_options
@as_json_option
def compact_command(dates: Sequence[datetime], as_json: bool, **where: Any) -> None:
    """Merge the files of each date, sorted by meter and time. Archivers and readers may run meanwhile.

    The old files stay for readers of older versions until `meterpipe lake vacuum`.
    """
    location = location_of(target(**where))
    with _lake_errors(location.table_uri):
        done = compact(location, [date.strftime("%Y-%m-%d") for date in dates] or None)
    if as_json:
        click.echo(json.dumps({"dates": done.dates, "filesBefore": done.files_before, "filesAfter": done.files_after}))
    else:
        click.echo(f"{done.files_before} files of {done.dates} dates became {done.files_after}")


@lake.command(name="vacuum")
@click.option(
    "--older-than", "hours", type=click.IntRange(min=24), default=168, show_default=True,
    help="Hours for which files that left the table are kept: how far back readers can go.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@target_options
@as_json_option
def vacuum_command(hours: int, dry_run: bool, as_json: bool, **where: Any) -> None:
    """Delete files that are no longer part of the table, and uploads that never became one."""
    location = location_of(target(**where))
    with _lake_errors(location.table_uri):
        files = vacuum(location, hours, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps({"deleted": [] if dry_run else files, "found": files}))
    else:
        click.echo(f"{len(files)} files {'would be' if dry_run else 'were'} deleted")


@lake.command(name="accept-loss")
@click.option(
    "--partition", "partitions", type=click.IntRange(min=0), multiple=True,
    help="A partition with a gap; may be repeated. Default: all that have one.",
)  # fmt: skip
@click.confirmation_option(prompt="Readings are missing in the lake for good. Go on behind the gap?")
@target_options
@as_json_option
def accept_loss_command(partitions: Sequence[int], as_json: bool, **where: Any) -> None:
    """Go on archiving behind a gap: messages expired in Kafka before they were archived (OffsetsExpired).

    `meterpipe lake show` names the gaps. Running archivers go on within half a minute.
    """
    config = target(**where)
    with _lake_errors(location_of(config).table_uri):
        try:
            done = accept_loss(config, partitions)
        except KafkaException as problem:
            raise Failed(f"Kafka at {config.kafka.bootstrap_servers} does not answer: {explain(problem)}") from problem
    if as_json:
        click.echo(json.dumps([_partition(found) for found in done]))
        return
    for found in done:
        click.echo(f"partition {found.partition}: going on behind the gap. {found.gap}")
    if not done:
        click.echo("no partition has a gap; nothing was changed")


@contextmanager
def _lake_errors(uri: str) -> Iterator[None]:
    """Errors of the lake in plain words."""
    try:
        yield
    except (NoLakeError, WrongTableError) as problem:
        raise Failed(str(problem)) from problem
    except LAKE_ERRORS as problem:
        raise Failed(f"the lake {uri}: {explain(problem)}", "is it running (`meterpipe status`)?") from problem


def _shown(
    uri: str, version: int | None, dates: dict[str, tuple[int, int, int]], partitions: list[Progress] | None
) -> dict[str, Any]:
    by_date = [{"date": d, "files": f, "rows": r, "bytes": b} for d, (f, r, b) in dates.items()]
    return {
        "table": uri,
        "version": version,
        "rows": sum(rows for _, rows, _ in dates.values()),
        "dates": by_date,
        "partitions": None if partitions is None else [_partition(found) for found in partitions],
    }


def _partition(found: Progress) -> dict[str, Any]:
    return {
        "partition": found.partition,
        "archivedBefore": found.version,
        "logBegin": found.low,
        "logEnd": found.high,
        "lag": found.lag,
        "condition": found.gap.condition.value if found.gap else None,
        "lost": found.gap.lost if found.gap else 0,
    }


def _dates(dates: dict[str, tuple[int, int, int]]) -> Table:
    shown = Table("date", *(_number(name) for name in ("files", "rows", "MB")), box=None, show_footer=False)
    for date, (files, rows, size) in dates.items():
        shown.add_row(date, f"{files:,}", f"{rows:,}", f"{size / 1e6:,.1f}")
    totals = [sum(column) for column in zip(*dates.values(), strict=True)] or [0, 0, 0]
    shown.add_row("all", f"{totals[0]:,}", f"{totals[1]:,}", f"{totals[2] / 1e6:,.1f}", style="bold")
    return shown


def _partitions(partitions: list[Progress]) -> Table:
    shown = Table(
        _number("partition"), _number("archived before"), _number("log"), _number("lag"), "condition", box=None
    )
    for found in partitions:
        shown.add_row(
            str(found.partition),
            "-" if found.version is None else str(found.version),
            f"{found.low}..{found.high}",
            f"{found.lag:,}",
            f"[red]{found.gap.condition.value}: {found.gap.lost:,} offsets lost[/red]" if found.gap else "ok",
        )
    return shown


def _number(title: str) -> Column:
    return Column(title, justify="right")
