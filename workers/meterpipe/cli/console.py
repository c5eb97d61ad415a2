"""tail, lag: what flows through a pipeline, and how far its workers are."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import click
from confluent_kafka import KafkaException, Message

from meterpipe.adapters.progress import Progress
from meterpipe.adapters.row_source import HEADINGS, Row, RowSource, Stream, topics_of
from meterpipe.adapters.schema_registry import RegistryError
from meterpipe.adapters.topic_reader import NoTopicError, Start, TopicReader
from meterpipe.cli.beginning import EXAMPLES, Beginning
from meterpipe.cli.errors import FAILED, BadInput, Failed
from meterpipe.cli.lines import Lines, print_json, print_table
from meterpipe.cli.options import options
from meterpipe.cli.target import kafka_target, target_options
from meterpipe.cli.times import shown
from meterpipe.core.row_filter import Wanted
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of

__all__ = ["lag", "tail"]

channel_options = options(
    click.option("--meter", multiple=True, help="Only this meter; patterns such as 'house-*' too. May be repeated."),
    click.option("--metric", multiple=True, help="Only this metric, likewise."),
    click.option("--attribute", multiple=True, help="Only this attribute, likewise."),
)
from_option = click.option(
    "--from", "start", type=Beginning(), default="end", show_default=True,
    help=f"Where to begin: {EXAMPLES} at which Kafka took the message.",
)  # fmt: skip


@contextmanager
def reading(config: WorkerConfig) -> Iterator[TopicReader]:
    """A reader of the pipeline's topics. What goes wrong with Kafka is said with the way out."""
    reader = TopicReader(config.kafka, names_of(config.pipeline).group("console"))
    try:
        yield reader
    except NoTopicError as problem:
        raise Failed(str(problem), "`meterpipe topics apply` makes them; is it the right pipeline?") from problem
    except KafkaException as problem:
        where, why = config.kafka.bootstrap_servers, problem.args[0].str()
        raise Failed(f"Kafka at {where}: {why}", "is it running? see `meterpipe status`") from problem
    except RegistryError as problem:
        raise Failed(str(problem), "is it running? see spec.readings.registry") from problem
    finally:
        reader.close()


@click.command()
@click.argument("stream", type=click.Choice([stream.value for stream in Stream]), default="readings")
@channel_options
@click.option("--window", "windows", type=int, multiple=True, help="Of results: only windows of so many seconds.")
@click.option("--partition", "partitions", type=click.IntRange(min=0), multiple=True, help="Only this partition.")
@from_option
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Stop after so many rows.")
@click.option("-e", "--exit", "ending", is_flag=True, help="Stop at the end of what is there now.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
@target_options
def tail(
    stream: str,
    meter: tuple[str, ...],
    metric: tuple[str, ...],
    attribute: tuple[str, ...],
    windows: tuple[int, ...],
    partitions: tuple[int, ...],
    start: Start,
    limit: int | None,
    ending: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """Print what flows through a pipeline as it comes: readings, or valid, late, quarantined ones, or results.

    \b
    meterpipe tail
    meterpipe tail results --window 3600 --meter 'house-*' --from 1h
    meterpipe tail late --from beginning --exit
    meterpipe tail --from -10 --exit --attribute VOLTAGE --json | jq .value

    Every format is decoded; only committed results are shown. Reads beside the workers and commits nothing. Ctrl-C
    ends it.
    """
    config, chosen = kafka_target(**where), Stream(stream)
    topics = topics_of(chosen, names_of(config.pipeline), _sizes(config, chosen, windows))
    source = RowSource(config, chosen, Wanted(meter, metric, attribute))
    lines = Lines(HEADINGS[chosen])
    with reading(config) as reader:
        places = reader.places(topics)
        if unknown := set(partitions) - {partition for _, partition in places}:
            raise BadInput(f"--partition {min(unknown)}: there are {len(places) // len(topics)} partitions, from 0 on")
        places = [place for place in places if not partitions or place[1] in partitions]
        starts = reader.offsets(places, start)
        batches = reader.read(starts, reader.ends(places)) if ending else reader.follow(starts)
        try:
            _print(batches, source, lines, limit, as_json)
        except KeyboardInterrupt:
            click.echo(err=True)
    _tell_refused(source.refused)


def _sizes(config: WorkerConfig, stream: Stream, windows: tuple[int, ...]) -> tuple[int, ...]:
    sizes = config.pipeline.spec.aggregator.windows
    if windows and stream is not Stream.RESULTS:
        raise BadInput("--window is for results", "meterpipe tail results --window ...")
    if unknown := [size for size in windows if size not in sizes]:
        raise BadInput(f"--window {unknown[0]}: the pipeline has windows of {', '.join(map(str, sizes))} s")
    if stream in (Stream.VALID, Stream.QUARANTINE) and not config.pipeline.spec.validation.enabled:
        raise BadInput(f"{stream}: the pipeline has no validation", "it is switched on by spec.validation.enabled")
    return windows or tuple(sizes)


def _print(batches: Iterator[list[Message]], source: RowSource, lines: Lines, limit: int | None, as_json: bool) -> None:
    left = limit
    for messages in batches:
        rows = list(map(_shown, islice(source.rows(messages), left)))
        if left is not None:
            left -= len(rows)
        if rows:
            texts = [json.dumps(row, ensure_ascii=False) for row in rows] if as_json else lines.of(rows)
            click.echo("\n".join(texts))
        if left == 0:
            return


def _shown(row: Row) -> Row:
    """Times as people write them."""
    return {name: shown(value) if name in ("arrived", "time", "start") else value for name, value in row.items()}


def _tell_refused(refused: Counter[str]) -> None:
    if refused:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(refused.items()))
        click.echo(f"not shown, since they cannot be decoded: {told} (see `meterpipe dead-letters list`)", err=True)


@click.command()
@click.option("--worker", "only", multiple=True, help="Only this kind of worker. May be repeated.")
@click.option("--partitions", "each", is_flag=True, help="Show every partition, not only each topic.")
@click.option("--exact", is_flag=True, help="Count messages by reading them: without markers of transactions.")
@click.option("--fail-above", type=click.IntRange(min=0), help="Exit code 1 if a worker's lag is greater.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with every partition.")
@target_options
def lag(only: tuple[str, ...], each: bool, exact: bool, fail_above: int | None, as_json: bool, **where: Any) -> None:
    """Show how far behind each kind of worker is: committed offset, end and what lies between.

    \b
    meterpipe lag
    meterpipe lag --worker sink --partitions
    meterpipe lag --fail-above 10000 --json

    Lag counts offsets, among them the markers that transactions leave; --exact counts messages, which takes as long as
    reading them. Exit code 1: a lag is above --fail-above, or Kafka does not answer.
    """
    config = kafka_target(**where)
    progress = Progress(config)
    try:
        if unknown := set(only) - set(progress.kinds):
            raise BadInput(f"--worker {min(unknown)}: no such worker", f"there are {', '.join(progress.kinds)}")
        kinds = [kind for kind in progress.kinds if not only or kind in only]
        places = {kind: progress.places(kind) for kind in kinds}
        members = progress.members()
        exactly = {kind: progress.remaining(kind) for kind in kinds} if exact else {}
    except KafkaException as problem:
        why = problem.args[0].str()
        raise Failed(
            f"Kafka at {config.kafka.bootstrap_servers}: {why}", "is it running? see `meterpipe status`"
        ) from problem
    finally:
        progress.close()
    totals = {kind: exactly.get(kind, sum(behind(*row[2:]) for row in places[kind])) for kind in kinds}
    if as_json:
        print_json({kind: _facts(*members[kind], totals[kind], places[kind]) for kind in kinds})
    else:
        _print_lag(places, members, totals, each)
    if fail_above is not None and (over := [kind for kind in kinds if totals[kind] > fail_above]):
        click.echo(f"behind by more than {fail_above:,}: {', '.join(over)}", err=True)
        raise click.exceptions.Exit(FAILED)


Offsets = list[tuple[str, int, int | None, int]]


def behind(committed: int | None, end: int) -> int:
    """Offsets between the two. What was never committed is behind by all there is."""
    return max(0, end - (committed or 0))


def _facts(state: str, members: int, total: int, places: Offsets) -> dict[str, Any]:
    partitions = [
        {"topic": topic, "partition": number, "committed": at, "end": end, "lag": behind(at, end)}
        for topic, number, at, end in places
    ]
    return {"group": state, "members": members, "lag": total, "partitions": partitions}


def _print_lag(
    places: dict[str, Offsets], members: dict[str, tuple[str, int]], totals: dict[str, int], each: bool
) -> None:
    overview, rows = [], []
    for kind, offsets in places.items():
        state, count = members[kind]
        overview.append({"worker": kind, "group": state, "members": count, "lag": totals[kind]})
        for topic, number, at, end in offsets:
            row = {"worker": kind, "topic": topic, "partition": number, "committed": at, "end": end}
            rows.append(row | {"lag": behind(at, end)})
    print_table(overview)
    if each:
        print_table(rows)
