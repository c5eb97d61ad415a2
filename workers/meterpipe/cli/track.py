"""track: how long a pipeline takes."""

import sys
import time
from typing import Any

import click

from meterpipe.adapters.topic_reader import Start
from meterpipe.adapters.track import Track
from meterpipe.cli.console import from_option, reading
from meterpipe.cli.errors import Failed
from meterpipe.cli.lines import print_json, print_table
from meterpipe.cli.target import kafka_target, target_options
from meterpipe.cli.times import shown
from meterpipe.core.tracking import Tracker

_count = click.IntRange(min=1)
STAGES = {"results": "results on Kafka", "rows": "rows in Cassandra", "lakeRows": "rows in the lake"}


@click.command()
@click.option("--results", type=_count, help="Stop once so many results have come.")
@click.option("--rows", type=_count, help="Stop once Cassandra has so many rows.")
@click.option("--lake-rows", type=_count, help="Stop once the lake has so many readings.")
@from_option
@click.option("-e", "--exit", "ending", is_flag=True, help="Stop at the end of what is there now.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Give up after so many seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; show no progress.")
@target_options
def track(
    results: int | None,
    rows: int | None,
    lake_rows: int | None,
    start: Start,
    ending: bool,
    timeout: float | None,
    as_json: bool,
    **where: Any,
) -> None:
    """Measure a pipeline: time from the first reading to so many results and rows, and each window's delay.

    \b
    meterpipe track --rows 100000                  then start a replay elsewhere
    meterpipe track --from beginning --exit        what has been, as far as Kafka still holds it
    meterpipe track --timeout 60 --json            the next minute

    The delay of a window is counted from the arrival of the reading (or control record) that completes it, i.e. brings
    event time to its end and the grace: grace and pauses of the meters are no delay. A result's time is that of its
    Kafka record, written right before its commit; rows count once the sink or archiver has committed them, looked at
    every half second. Exit code 1: --timeout came first. Ctrl-C ends it with what there is.
    """
    config = kafka_target(**where)
    spec = config.pipeline.spec.aggregator
    tracker = Tracker(spec.windows, spec.grace, {"results": results, "rows": rows, "lakeRows": lake_rows})
    wanted = any((results, rows, lake_rows))
    with reading(config) as reader:
        following = Track(config, reader, tracker)
        try:
            finished = _follow(following, tracker, start, ending, timeout, wanted, as_json)
        finally:
            following.close()
    summary = tracker.summary()
    if as_json:
        print_json(summary | {"firstReading": shown(tracker.first)})
    else:
        _print(summary)
    if not finished:
        raise Failed("not reached: " + ", ".join(_missing(tracker)), "`meterpipe lag` tells which worker is behind")


def _follow(
    following: Track, tracker: Tracker, start: Start, ending: bool, timeout: float | None, wanted: bool, quiet: bool
) -> bool:
    """Whether what was wanted has been reached, or nothing was."""
    begun = told = time.monotonic()
    live = not quiet and sys.stderr.isatty()
    try:
        for _ in following.run(start, ending):
            now = time.monotonic()
            if wanted and tracker.done:
                return True
            if timeout is not None and now - begun > timeout:
                return not wanted
            if live and now - told > 1:
                counts = ", ".join(f"{tracker.counts[stage].count:,} {text}" for stage, text in STAGES.items())
                click.echo(f"\r{tracker.readings:,} readings, {counts} ", err=True, nl=False)
                told = now
    except KeyboardInterrupt:
        return True
    finally:
        if live:
            click.echo(err=True)
    return tracker.done


def _missing(tracker: Tracker) -> list[str]:
    return [
        f"{tracker.counts[stage].wanted:,} {text} ({tracker.counts[stage].count:,} so far)"
        for stage, text in STAGES.items()
        if not tracker.counts[stage].done
    ]


def _print(summary: dict[str, Any]) -> None:
    first = shown(summary["firstReading"]) or "none came"
    click.echo(f"first reading: {first}; readings: {summary['readings']:,}")
    stages = [
        {
            "stage": text,
            "count": told["count"],
            "wanted": told["wanted"],
            "seconds after the first reading": told["seconds"],
        }
        for stage, text in STAGES.items()
        for told in [summary[stage]]
    ]
    print_table(stages)
    rows = []
    for window, told in summary["windows"].items():
        for what, name in (("result", "delayMs"), ("row", "rowDelayMs")):
            if told[name]:
                rows.append({"window": f"{window} s", "delay in ms until": what} | told[name])
    print_table(rows)
    if unexplained := sum(told["unexplained"] for told in summary["windows"].values()):
        click.echo(f"{unexplained:,} windows were completed by the clock, or before tracking began: no delay", err=True)
