"""alarm: the thresholds of a pipeline, and alarms as they come."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from confluent_kafka import KafkaException

from meterpipe.adapters.thresholds import ThresholdWriter, read_thresholds
from meterpipe.adapters.topic_reader import Start
from meterpipe.cli.beginning import Beginning
from meterpipe.cli.console import channel_options, reading
from meterpipe.cli.errors import BadInput, Failed
from meterpipe.cli.lines import Lines, print_json, print_table
from meterpipe.cli.open_alarms import open_alarms
from meterpipe.cli.target import kafka_target, target_options
from meterpipe.core.alarms.events import Alarm, AlarmKind, Place, decode_alarm
from meterpipe.core.alarms.sheet import read_sheet
from meterpipe.core.alarms.thresholds import BadThresholdError, Threshold, check_threshold, encode_threshold_key
from meterpipe.core.readings import Key
from meterpipe.core.row_filter import Wanted
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of

HEADINGS = ("at", "state", "kind", "meter", "metric", "attribute", "value", "limit", "raisedAt")
_json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group()
def alarm() -> None:
    """Set, remove or list the thresholds of alarms; print alarms as they come, or those that are open.

    '*' stands for any meter, metric or attribute; of those that fit the most specific counts.
    """


alarm.add_command(open_alarms)


@alarm.command("set")
@click.argument("meter")
@click.argument("metric")
@click.argument("attribute")
@click.option("--lower", type=float, help="UNDER is raised below this value.")
@click.option("--upper", type=float, help="OVER is raised above this value.")
@click.option("--hysteresis", type=float, help="How far back inside a value must be to clear the alarm.")
@click.option("--min-duration", type=float, help="Seconds of event time a value must be outside first.")
@target_options
def set_(
    meter: str,
    metric: str,
    attribute: str,
    lower: float | None,
    upper: float | None,
    hysteresis: float | None,
    min_duration: float | None,
    **where: Any,
) -> None:
    """Set the threshold of a meter, metric and attribute; running workers go by it within 2 seconds.

    \b
    meterpipe alarm set house-7 ELECTRICITY ACTIVE_POWER --upper 5 --hysteresis 0.5
    meterpipe alarm set '*' WATER '*' --upper 40 --min-duration 600

    It takes the place of the one that was set for these names. What is not given is the pipeline's default
    (spec.alarms.thresholds).
    """
    key = meter, metric, attribute
    threshold = Threshold(lower, upper, hysteresis, min_duration)
    with _bad_as("the threshold"):
        check_threshold(threshold)
        encode_threshold_key(key)
    _write(_target(where), {key: threshold})
    click.echo(f"set: {_shown(key)} {_said(threshold)}")


@alarm.command()
@click.argument("meter")
@click.argument("metric")
@click.argument("attribute")
@target_options
def rm(meter: str, metric: str, attribute: str, **where: Any) -> None:
    """Remove the threshold that was set for exactly these names; its alarms are cleared by the next readings."""
    config, key = _target(where), (meter, metric, attribute)
    if key not in _thresholds(config):
        raise Failed(f"no threshold is set for {_shown(key)}", "`meterpipe alarm list` prints those there are")
    _write(config, {key: None})
    click.echo(f"removed: {_shown(key)}")


@alarm.command("list")
@_json_option
@target_options
def list_(as_json: bool, **where: Any) -> None:
    """Print all thresholds, with the record (partition:offset) that alarms name as the one used."""
    found = _thresholds(_target(where))
    rows = [_row(key, *found[key]) for key in sorted(found)]
    if as_json:
        print_json(rows)
        return
    print_table([row | {"record": f"{row['record']['partition']}:{row['record']['offset']}"} for row in rows])
    if not rows:
        click.echo("no thresholds", err=True)


@alarm.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@target_options
def import_(file: Path, **where: Any) -> None:
    """Set all thresholds of a CSV file; none of them if a line is wrong.

    The first line names the columns: meter, metric, attribute, and of lower, upper, hysteresis, minDuration those there
    are. An empty cell is none; a line with neither lower nor upper removes the threshold of its names.
    """
    try:
        changes = read_sheet(file.read_text(encoding="utf-8-sig"))
    except OSError as problem:
        raise BadInput(f"{file}: {problem.strerror}") from problem
    except (BadThresholdError, UnicodeDecodeError) as problem:
        raise BadInput(f"{file}: {problem}", "nothing was changed: put it right and import it again") from problem
    _write(_target(where), changes)
    removed = sum(threshold is None for threshold in changes.values())
    click.echo(f"set: {len(changes) - removed:,}" + (f", removed: {removed:,}" if removed else ""))


@alarm.command()
@channel_options
@click.option(
    "--kind", "kinds", type=click.Choice([kind.value for kind in AlarmKind]), multiple=True,
    help="Only alarms of this kind. May be repeated.",
)  # fmt: skip
@click.option(
    "--from", "start", type=Beginning(), default="end", show_default=True,
    help="Where to begin, by when Kafka took the event: beginning, end, -10, 15m (ago), or a time.",
)  # fmt: skip
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Stop after so many events.")
@click.option("-e", "--exit", "ending", is_flag=True, help="Stop at the end of what is there now.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line, as it is on the topic.")
@target_options
def tail(
    meter: tuple[str, ...],
    metric: tuple[str, ...],
    attribute: tuple[str, ...],
    kinds: tuple[str, ...],
    start: Start,
    limit: int | None,
    ending: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """Print alarms as they are raised and cleared. Ctrl-C ends it.

    \b
    meterpipe alarm tail
    meterpipe alarm tail --from beginning --exit --kind OVER --json | jq .meter
    """
    config, wanted = _target(where), Wanted(meter, metric, attribute)
    lines, left = Lines(HEADINGS), limit
    with reading(config) as reader:
        places = reader.places([names_of(config.pipeline).alarms])
        starts = reader.offsets(places, start)
        batches = reader.read(starts, reader.ends(places)) if ending else reader.follow(starts)
        try:
            for messages in batches:
                found = _chosen((message.value() for message in messages), wanted, kinds)[:left]
                _print(found, lines, as_json)
                if left is not None and (left := left - len(found)) <= 0:
                    return
        except KeyboardInterrupt:
            click.echo(err=True)


def _chosen(values: Iterator[bytes | None], wanted: Wanted, kinds: tuple[str, ...]) -> list[Alarm]:
    found = []
    for value in values:
        try:
            event = decode_alarm(value or b"")
        except msgspec.MsgspecError as problem:
            click.echo(f"not shown, since it is no alarm: {problem}", err=True)
            continue
        if (not kinds or event.kind in kinds) and wanted.names(event.meter, event.metric, event.attribute):
            found.append(event)
    return found


def _print(events: list[Alarm], lines: Lines, as_json: bool) -> None:
    if events:
        rows = [msgspec.to_builtins(event) for event in events]
        texts = [json.dumps(row, ensure_ascii=False) for row in rows] if as_json else lines.of(rows)
        click.echo("\n".join(texts))


def _target(where: dict[str, Any]) -> WorkerConfig:
    config = kafka_target(**where)
    if not config.pipeline.spec.alarms.enabled:
        raise BadInput("the pipeline has no alarms", "they are switched on by spec.alarms.enabled")
    return config


def _write(config: WorkerConfig, changes: Mapping[Key, Threshold | None]) -> None:
    with _kafka(config):
        ThresholdWriter(config).write(changes.items())


def _thresholds(config: WorkerConfig) -> Mapping[Key, tuple[Threshold, Place]]:
    with _kafka(config), reading(config):
        return read_thresholds(config)


@contextmanager
def _kafka(config: WorkerConfig) -> Iterator[None]:
    try:
        yield
    except KafkaException as problem:
        where, why = config.kafka.bootstrap_servers, problem.args[0].str()
        raise Failed(f"Kafka at {where}: {why}", "is it running? `meterpipe topics apply` makes topics") from problem


@contextmanager
def _bad_as(what: str) -> Iterator[None]:
    try:
        yield
    except BadThresholdError as problem:
        raise BadInput(f"{what}: {problem}", "see `meterpipe alarm set --help`") from problem


def _shown(key: Key) -> str:
    return " ".join(key)


def _said(threshold: Threshold) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in msgspec.to_builtins(threshold).items())


def _row(key: Key, threshold: Threshold, place: Place) -> dict[str, Any]:
    names = dict(zip(("meter", "metric", "attribute"), key, strict=True))
    said = msgspec.to_builtins(threshold)
    numbers = {name: said.get(name) for name in ("lower", "upper", "hysteresis", "minDuration")}
    return names | numbers | {"record": msgspec.to_builtins(place)}
