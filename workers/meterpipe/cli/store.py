"""get, schema: the medium-term store."""

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import click
import msgspec
from cassandra import InvalidRequest
from cassandra.cluster import NoHostAvailable
from rich.console import Console
from rich.table import Table

from meterpipe.adapters.cassandra import StoreUnreachableError, connect
from meterpipe.adapters.schema import SchemaConflictError, apply_schema, needed, verify_schema
from meterpipe.adapters.store_reader import StoreReader, Window, matching
from meterpipe.cli.errors import BadInput, Failed
from meterpipe.cli.target import target as named
from meterpipe.cli.target import target_options
from meterpipe.cli.times import EXAMPLES, parse_time
from meterpipe.core.readings import Key
from meterpipe.core.store_schema import Schema, plan, wanted
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of

__all__ = ["get", "schema"]

NUMBERS = ("count", "min", "max", "sum", "avg", "first", "last")
UNREACHABLE = "is it running (`meterpipe status`)? `meterpipe run -f pipeline.yaml` starts one"


def target(spec: Path | None, config: Path | None, root: Path, secrets: Path) -> WorkerConfig:
    """The configuration the options name. BadInput if it has no Cassandra."""
    found = named(spec, config, root, secrets)
    if found.cassandra is None:
        raise BadInput("cassandra: the configuration does not say where Cassandra is", "add contactPoints and port")
    return found


@contextmanager
def failing_clearly(config: WorkerConfig) -> Iterator[None]:
    """What goes wrong with a store, said with the way out."""
    try:
        yield
    except (StoreUnreachableError, NoHostAvailable) as problem:
        raise Failed(f"Cassandra does not answer: {problem}", UNREACHABLE) from problem
    except SchemaConflictError as problem:
        raise Failed(str(problem)) from problem
    except InvalidRequest as problem:
        lacking = "; ".join(verify_schema(config))
        raise Failed(lacking or f"Cassandra refused the query: {problem}") from problem


@click.group()
def schema() -> None:
    """Create or show the tables in Cassandra."""


@schema.command("apply")
@target_options
@click.option("--dry-run", is_flag=True, help="Only tell what would be changed.")
@click.option("--json", "as_json", is_flag=True, help="Print the changes as JSON.")
def apply(spec: Path | None, config: Path | None, root: Path, secrets: Path, dry_run: bool, as_json: bool) -> None:
    """Create keyspace and tables, or extend them; nothing is ever dropped. A second time changes nothing.

    \b
    meterpipe schema apply -f pipeline.yaml --dry-run
    meterpipe schema apply --config worker.yaml
    """
    settings = target(spec, config, root, secrets)
    with failing_clearly(settings):
        changes = apply_schema(settings, dry_run)
    if as_json:
        click.echo(msgspec.json.encode({"changes": changes, "applied": not dry_run}))
    else:
        click.echo("\n".join(changes) or f"nothing to change in keyspace {names_of(settings.pipeline).keyspace}")


@schema.command("show")
@target_options
def show(spec: Path | None, config: Path | None, root: Path, secrets: Path) -> None:
    """Print the CQL that makes keyspace and tables. Needs no Cassandra.

    \b
    meterpipe schema show -f pipeline.yaml | cqlsh
    """
    settings = target(spec, config, root, secrets)
    for change in plan(wanted(settings.pipeline, needed(settings).datacenter), Schema()):
        click.echo(f"{change.cql};")


class Moment(click.ParamType[datetime]):
    """A date, a time, or epoch milliseconds. Without a zone it stays naive, and is read in --tz."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Raises the usual usage error."""
        try:
            return parse_time(value)
        except ValueError:
            self.fail(f"{value!r} is no time: give {EXAMPLES}", param, ctx)


class Zone(click.ParamType[tzinfo]):
    """An IANA zone."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tzinfo:
        """Raises the usual usage error."""
        try:
            return UTC if value == "UTC" else ZoneInfo(value)
        except (OSError, ValueError):
            self.fail(f"{value!r} is no IANA time zone: give one such as Europe/Paris", param, ctx)


@click.command()
@click.argument("meter")
@click.option("--metric", help="Only this metric, e.g. ELECTRICITY.")
@click.option("--attribute", help="Only this attribute, e.g. ACTIVE_POWER. With --metric no search is needed: faster.")
@click.option("--window", type=int, help="Size of the windows in seconds. Default: the pipeline's smallest.")
@click.option("--from", "since", type=Moment(), required=True, help="Windows that start at or after this time.")
@click.option("--to", "until", type=Moment(), help="Windows that start before this time. Default: a day after --from.")
@click.option(
    "--tz", type=Zone(), default="UTC", show_default=True, help="Zone of times shown, and of those given without."
)
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="Most rows to print.")
@click.option("--json", "form", flag_value="json", help="Print a JSON array.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV with a header.")
@target_options
def get(
    meter: str,
    metric: str | None,
    attribute: str | None,
    window: int | None,
    since: datetime,
    until: datetime | None,
    tz: tzinfo,
    limit: int,
    form: str | None,
    **where: Any,
) -> None:
    """Read the windows of a meter from Cassandra, in order of time.

    \b
    meterpipe get MAC000002 --window 3600 --from 2012-10-13 --to 2012-10-14
    meterpipe get house-7 --metric ELECTRICITY --attribute ACTIVE_POWER --from 2026-01-01T00:00 --tz Europe/Paris --json
    """
    config = target(**where)
    sizes = config.pipeline.spec.aggregator.windows
    size = sizes[0] if window is None else window
    if size not in sizes:
        raise BadInput(
            f"--window {size}: the pipeline has windows of {', '.join(map(str, sizes))} s", "give one of these"
        )
    start, end = _range(since, until, tz)
    with failing_clearly(config):
        session = connect(needed(config))
        try:
            names = names_of(config.pipeline)
            reader = StoreReader(session, names.keyspace, {size: names.table(size) for size in sizes})
            channels, rows = _read(reader, (meter, metric, attribute), size, (start, end), limit + 1)
        finally:
            session.cluster.shutdown()
    _print(rows[:limit], size, tz, form)
    if len(rows) > limit:
        click.echo(f"more than {limit} rows: the rest is not shown, see --limit", err=True)
    if not rows:
        shown = ", ".join("/".join(channel) for channel in channels)
        click.echo(f"no windows of {size} s from {_iso(start, tz)} to {_iso(end, tz)} of {shown}", err=True)


def _range(since: datetime, until: datetime | None, tz: tzinfo) -> tuple[int, int]:
    """UTC ms. A default end is one day on, by the calendar of the zone."""
    first = since if since.tzinfo else since.replace(tzinfo=tz)
    last = first + timedelta(days=1) if until is None else until if until.tzinfo else until.replace(tzinfo=tz)
    if first >= last:
        raise BadInput(f"--from {first.isoformat()} is not before --to {last.isoformat()}", "exchange them")
    zero = datetime(1970, 1, 1, tzinfo=UTC)
    return (first - zero) // timedelta(milliseconds=1), (last - zero) // timedelta(milliseconds=1)


def _read(
    reader: StoreReader, asked: tuple[str, str | None, str | None], size: int, span: tuple[int, int], limit: int
) -> tuple[list[Key], list[Window]]:
    """The channels asked for and their rows. Failed if there is no such meter or channel."""
    meter, metric, attribute = asked
    if metric is not None and attribute is not None:
        channel = (meter, metric, attribute)
        if rows := list(islice(reader.windows(channel, size, *span), limit)):
            return [channel], rows
    known = reader.channels(meter)
    channels = matching(known, metric, attribute)
    if not channels:
        _unknown(reader, meter, known)
    rows = [row for channel in channels for row in islice(reader.windows(channel, size, *span), limit)]
    return channels, rows[:limit]


def _unknown(reader: StoreReader, meter: str, known: Sequence[Key]) -> NoReturn:
    if known:
        there = ", ".join(f"{metric}/{attribute}" for _, metric, attribute in known)
        raise Failed(f"meter {meter!r} has no such channel", f"it has {there}")
    meters = reader.some_meters()
    near = get_close_matches(meter, meters, n=3, cutoff=0.5) or meters[:3]
    way_out = (
        f"near it: {', '.join(near)}" if near else "the tables are empty: has a window closed yet (`meterpipe status`)?"
    )
    raise Failed(f"no rows of meter {meter!r}", way_out)


def _print(rows: Sequence[Window], size: int, tz: tzinfo, form: str | None) -> None:
    if form == "json":
        records = [asdict(row) | {"start": _iso(row.start, tz), "window": size} for row in rows]
        click.echo(msgspec.json.format(msgspec.json.encode(records), indent=2))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(f.name for f in fields(Window))
        writer.writerows((asdict(row) | {"start": _iso(row.start, tz)}).values() for row in rows)
    elif rows:
        console = Console()
        console.width = console.width if console.is_terminal else 240
        console.print(_table(rows, size, tz))


def _table(rows: Sequence[Window], size: int, tz: tzinfo) -> Table:
    several = len({row.channel for row in rows}) > 1
    table = Table(title=f"windows of {size} s" if several else f"{'/'.join(rows[0].channel)}, windows of {size} s")
    for name in ("metric", "attribute") if several else ():
        table.add_column(name)
    table.add_column("start", no_wrap=True)
    for name in NUMBERS:
        table.add_column(name, justify="right")
    revised = any(row.revision for row in rows)
    if revised:
        table.add_column("revision", justify="right")
    for row in rows:
        cells = [
            *(row.channel[1:] if several else ()),
            _iso(row.start, tz),
            *(_short(getattr(row, name)) for name in NUMBERS),
        ]
        table.add_row(*cells, *([str(row.revision)] if revised else []))
    return table


def _short(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.4f}".rstrip("0").rstrip(".")


def _iso(moment: int, tz: tzinfo) -> str:
    """RFC 3339 in the zone; seconds are enough for the starts of windows."""
    shown = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=moment)).astimezone(tz)
    return shown.isoformat(timespec="seconds").replace("+00:00", "Z")
