"""What `replay`, `generate` and `flush` share: where to send, how, and what is told at the end."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import pyarrow as pa
from confluent_kafka import KafkaException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from meterpipe.adapters.kafka import new_producer
from meterpipe.adapters.schema_registry import RegistryError, SchemaRegistry
from meterpipe.cli.errors import BadInput, Failed
from meterpipe.cli.options import options
from meterpipe.cli.times import shown
from meterpipe.core.avro_rows import reading_schema
from meterpipe.datasets.pace import Pace
from meterpipe.datasets.publish import MAX_MESSAGE, Format, NotSentError, Publisher, TooLargeError, end_of_day, paced
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.models import ReadingsFormat
from meterpipe.spec.names import names_of

CONNECT_S = 15.0
GIVE_UP_MS = 120_000  # a message not acknowledged by then has failed


class Rate(click.ParamType):  # type: ignore[type-arg]
    """Readings a second, or `max`."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """None for max. Raises the usual usage error."""
        if value == "max":
            return None
        try:
            rate = float(value)
        except ValueError:
            rate = 0.0
        if not 0 < rate < float("inf"):
            self.fail(f"{value!r} is no rate: give readings a second, above 0, or max", param, ctx)
        return rate


sending_options = options(
    click.option("--rate", type=Rate(), default="max", show_default=True, help="Readings a second, or max."),
    click.option(
        "--speedup", type=click.FloatRange(min=0, min_open=True),
        help="Send in step with the readings' own times, so many times as fast.",
    ),
    click.option(
        "--format", "form", type=click.Choice([f.value for f in Format]), default="json", show_default=True,
        help="json, avro: a message a reading. envelope: Arrow batches, several times cheaper for all who read them.",
    ),
    click.option(
        "--flush/--no-flush", "flushing", default=True, show_default=True,
        help="At the end, tell every partition that event time is at the end of the last day + grace: windows close.",
    ),
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; show no progress.")


@contextmanager
def publisher(config: WorkerConfig, form: Format) -> Iterator[Publisher]:
    """A publisher to the readings topic. Failed if Kafka or the topic isn't there, or the client refuses to go on."""
    client = new_producer(
        config.kafka,
        delivery_report_only_error=True,
        message_timeout_ms=GIVE_UP_MS,
        message_max_bytes=MAX_MESSAGE,
    )
    where, topic = config.kafka.bootstrap_servers, names_of(config.pipeline).readings
    try:
        topics = client.list_topics(timeout=CONNECT_S).topics
        if topic not in topics:
            raise Failed(
                f"Kafka at {where} has no topic {topic}",
                "`meterpipe run` makes the topics of its pipeline; check --dir and the pipeline's name",
            )
        partitions = len(topics[topic].partitions)
        names = config.pipeline.spec.readings.fields.model_dump()
        schema = _schema_of(config, names) if form is Format.AVRO else None
        yield Publisher(client, topic, partitions, form, names, schema=schema)
    except KafkaException as error:
        raise Failed(f"Kafka at {where}: {error.args[0].str()}", "is it running? see `meterpipe status`") from error
    except (TooLargeError, NotSentError) as error:
        raise Failed(str(error)) from error


def _schema_of(config: WorkerConfig, names: dict[str, str]) -> int:
    """The id of our schema in the pipeline's registry, where it is registered unless it is there."""
    if ReadingsFormat.AVRO not in config.pipeline.spec.readings.formats:
        raise BadInput(
            "the pipeline takes no Avro", "add avro to spec.readings.formats and restart it, or give another --format"
        )
    if config.registry is None:
        raise Failed("no schema registry is known", "set spec.readings.registry.url, or let `meterpipe run` start one")
    try:
        return SchemaRegistry(config.registry).register(
            f"{names_of(config.pipeline).readings}-value", reading_schema(names)
        )
    except RegistryError as problem:
        raise Failed(str(problem), "is it running? see spec.readings.registry") from problem


def transmit(
    out: Publisher, batches: Iterable[pa.RecordBatch], total: int, pace: Pace, flush_grace: int | None, quiet: bool
) -> dict[str, Any]:
    """Send everything and wait until it is delivered; the figures. `flush_grace` (s): send the control record, too.

    The control record is withheld if deliveries failed or the user interrupted: windows would close without readings
    that a second attempt may still bring.
    """
    started, interrupted = time.monotonic(), False
    with _progress(total, quiet) as advance:
        try:
            for batch in paced(batches, pace, time.monotonic, time.sleep):
                out.send(batch)
                advance(len(batch))
        except KeyboardInterrupt:
            interrupted = True
        sent = out.finish()
    event_time = None
    if flush_grace is not None and sent.last_ts is not None and not sent.failed and not interrupted:
        event_time = end_of_day(sent.last_ts, flush_grace)
        out.control(event_time)
        sent = out.finish()
    seconds = time.monotonic() - started
    return {
        "readings": sent.delivered,
        "failed": sent.failed,
        "errors": dict(sent.errors),
        "interrupted": interrupted,
        "messages": sent.messages,
        "megabytes": round(sent.bytes / 1e6, 3),
        "seconds": round(seconds, 3),
        "readingsPerSecond": round(sent.delivered / seconds) if seconds else 0,
        "firstTime": shown(sent.first_ts),
        "lastTime": shown(sent.last_ts),
        "flushedTo": shown(event_time),
    }


def settle(facts: dict[str, Any], notes: Iterable[str], as_json: bool) -> None:
    """Print what was done; Failed if anything was lost or left out by an interruption."""
    notes = list(notes)
    if as_json:
        click.echo(json.dumps(facts | {"notes": notes}))
    else:
        console = Console()
        table = Table(show_header=False, box=None, pad_edge=False)
        for name, value in facts.items():
            if value not in (None, {}, False):
                number = isinstance(value, int | float) and not isinstance(value, bool)
                table.add_row(name, f"{value:,}" if number else str(value))
        console.print(table)
        for note in notes:
            click.echo(f"note: {note}", err=True)
    if facts.get("failed") or facts.get("errors"):
        why = ", ".join(f"{error} ({count} times)" for error, count in facts["errors"].items())
        raise Failed(
            f"{facts['failed']} readings were not delivered: {why}",
            "send the data set again: the readings that arrived are recognised as duplicates",
        )
    if facts.get("interrupted"):
        raise Failed(f"interrupted after {facts['readings']} readings; no control record was sent")


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, if that is a terminal; gives the function that advances it."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda count: None
        return
    rate_column = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("readings"), BarColumn(), MofNCompleteColumn(), rate_column, TimeRemainingColumn())
    started, done = time.monotonic(), 0
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total, rate="")

        def advance(count: int) -> None:
            nonlocal done
            done += count
            rate = done / max(1e-9, time.monotonic() - started)
            bar.update(task, advance=count, rate=f"{rate:,.0f}/s")

        yield advance
