"""activity, uplinks: when meters were heard, and how often, read from Redis."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from meterpipe.adapters.activity_store import ACTIVITY_ERRORS, ActivityStore
from meterpipe.cli.beginning import UNITS
from meterpipe.cli.errors import FAILED, BadInput, Failed
from meterpipe.cli.lines import print_json, print_table
from meterpipe.cli.options import Instant
from meterpipe.cli.target import target, target_options
from meterpipe.cli.times import EXAMPLES, shown
from meterpipe.spec.connections import WorkerConfig

SHOWN = 20
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


class Span(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """A span of time such as 15m; in milliseconds."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Raises the usual usage error."""
        if isinstance(value, int):
            return value
        if not (found := re.fullmatch(r"(\d{1,6})([smhd])", value)):
            self.fail(f"{value!r} is no span of time: give a number and s, m, h or d, e.g. 15m", param, ctx)
        return int(found[1]) * UNITS[found[2]] * 1000


@click.command()
@click.argument("meter", required=False)
@click.option("--silent-for", type=Span(), help="Show meters not heard for so long, e.g. 1h; the longest silent first.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=SHOWN, show_default=True, help="Meters at most.")
@as_json_option
@target_options
def activity(meter: str | None, silent_for: int | None, limit: int, as_json: bool, **where: Any) -> None:
    """Show when meters were heard last: one with its channels, those heard last, or those that are silent.

    \b
    meterpipe activity house-7
    meterpipe activity
    meterpipe activity --silent-for 1h -n 100 --json

    Times are those of readings. Exit code 1: the meter was never heard, or is forgotten.
    """
    if meter is not None and silent_for is not None:
        raise BadInput("--silent-for asks for meters, and one is named", "leave one of them out")
    with _store(target(**where)) as store:
        if meter is not None:
            _show_meter(store, meter, as_json)
            return
        now = int(time.time() * 1000)
        found = store.newest(limit) if silent_for is None else store.heard_until(now - silent_for, limit)
        rows = [{"meter": name, "heard": shown(ts), "ago": _ago(now - ts)} for name, ts in found]
        if as_json:
            print_json({"known": store.size(), "meters": rows})
        else:
            print_table(rows)
            click.echo(f"{len(rows):,} of {store.size():,} meters", err=True)


@click.command()
@click.argument("meter")
@click.option("--from", "since", type=Instant(), help=f"First moment: {EXAMPLES}. Default: all that is kept.")
@click.option("--to", "until", type=Instant(), help="Moment after the last, likewise.")
@as_json_option
@target_options
def uplinks(meter: str, since: int | None, until: int | None, as_json: bool, **where: Any) -> None:
    """Show how many readings a meter sent, window by window.

    \b
    meterpipe uplinks house-7
    meterpipe uplinks house-7 --from 2024-01-01T06:00:00Z --to 2024-01-01T07:00:00Z --json

    A window in which nothing came is not there. Exit code 1: there is none.
    """
    config = target(**where)
    with _store(config) as store:
        found = store.uplinks(meter, since, until)
    rows = [{"start": shown(start), "count": count} for start, count in found]
    if as_json:
        print_json({"meter": meter, "window": config.pipeline.spec.activity.uplinks.window, "uplinks": rows})
    else:
        print_table(rows)
    if not rows:
        click.echo(f"no windows of {meter!r}", err=True)
        raise click.exceptions.Exit(FAILED)


def _show_meter(store: ActivityStore, meter: str, as_json: bool) -> None:
    heard = store.last_heard(meter)
    rows = [
        {"metric": one.metric, "attribute": one.attribute, "time": shown(one.ts), "value": one.value}
        for one in store.channels(meter)
    ]
    if as_json:
        print_json({"meter": meter, "heard": shown(heard), "channels": rows})
    elif heard is not None:
        click.echo(f"{meter}: heard {shown(heard)}, {_ago(int(time.time() * 1000) - heard)} ago")
        print_table(rows)
    if heard is None:
        click.echo(f"{meter!r} was never heard, or is forgotten", err=True)
        raise click.exceptions.Exit(FAILED)


@contextmanager
def _store(config: WorkerConfig) -> Iterator[ActivityStore]:
    if config.redis is None:
        raise Failed("this pipeline tracks no activity", "it is switched on by spec.activity.enabled")
    store = ActivityStore(config)
    try:
        yield store
    except ACTIVITY_ERRORS as problem:
        where = f"{config.redis.host}:{config.redis.port}"
        raise Failed(f"Redis at {where}: {problem}", "is it running? see `meterpipe status`") from problem
    finally:
        store.close()


def _ago(ms: int) -> str:
    """The largest unit and the one below it."""
    seconds = max(0, ms // 1000)
    parts: list[str] = []
    for unit in ("d", "h", "m", "s"):
        count, seconds = divmod(seconds, UNITS[unit])
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])
