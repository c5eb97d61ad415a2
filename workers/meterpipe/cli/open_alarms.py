"""alarm open: the table of open alarms."""

from datetime import datetime
from itertools import islice
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from meterpipe.adapters.cassandra import connect
from meterpipe.adapters.open_alarms import OpenAlarm, OpenAlarmsReader
from meterpipe.adapters.schema import missing_of_alarms, needed
from meterpipe.cli.errors import BadInput, Failed
from meterpipe.cli.store import failing_clearly, target
from meterpipe.cli.target import target_options
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of

COLUMNS = ("meter", "metric", "attribute", "kind", "raised", "value", "limit")


@click.command("open")
@click.argument("meter", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="Most alarms to print.")
@click.option("--json", "as_json", is_flag=True, help="Print an alarm a line, as JSON.")
@target_options
def open_alarms(meter: str | None, limit: int, as_json: bool, **where: Any) -> None:
    """Show the alarms that are raised and not cleared, of a meter or of all, from Cassandra.

    \b
    meterpipe alarm open
    meterpipe alarm open house-7 --json
    """
    config = target(**where)
    notifier = config.pipeline.spec.alarms.notifier
    if not config.pipeline.spec.alarms.enabled or not notifier.open_alarms:
        way_out = "set spec.alarms.enabled and spec.alarms.notifier.openAlarms to true"
        raise BadInput("this pipeline keeps no table of open alarms", way_out)
    with failing_clearly(config):
        rows = _read(config, meter, limit + 1)
    shown = sorted(rows[:limit], key=lambda alarm: (alarm.meter, alarm.metric, alarm.attribute, alarm.kind))
    if as_json:
        for alarm in shown:
            click.echo(msgspec.json.encode(alarm))
    elif shown:
        _print(shown)
    if len(rows) > limit:
        click.echo(f"more than {limit} alarms are open: the rest is not shown, see --limit", err=True)
    if not rows:
        click.echo("no alarm is open" + (f" at meter {meter!r}" if meter is not None else ""), err=True)


def _read(config: WorkerConfig, meter: str | None, most: int) -> list[OpenAlarm]:
    session = connect(needed(config))
    try:
        if lacking := missing_of_alarms(session, config):
            raise Failed("; ".join(lacking))
        return list(islice(OpenAlarmsReader(session, names_of(config.pipeline).keyspace).alarms(meter), most))
    finally:
        session.cluster.shutdown()


def _print(alarms: list[OpenAlarm]) -> None:
    table = Table()
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in ("value", "limit") else "left", no_wrap=name == "raised")
    for alarm in alarms:
        raised = datetime.fromisoformat(alarm.raised_at).isoformat(timespec="seconds").replace("+00:00", "Z")
        numbers = ("" if number is None else f"{number:g}" for number in (alarm.value, alarm.limit))
        table.add_row(alarm.meter, alarm.metric, alarm.attribute, alarm.kind, raised, *numbers)
    console = Console()
    console.width = console.width if console.is_terminal else 160
    console.print(table)
