"""query: readings by an SQL condition, from the stream or from the lake."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import click
import polars as pl
import pyarrow as pa
from confluent_kafka import Message

from meterpipe.adapters.lake import LAKE_ERRORS, LakeTable, explain, open_existing, rows_by_date
from meterpipe.adapters.s3 import LakeLocation, location_of
from meterpipe.adapters.schema_registry import decoder_of
from meterpipe.adapters.topic_reader import Edge, Start
from meterpipe.cli.beginning import EXAMPLES, Beginning
from meterpipe.cli.console import reading
from meterpipe.cli.errors import BadInput, Failed
from meterpipe.cli.lines import Lines
from meterpipe.cli.options import Instant
from meterpipe.cli.target import kafka_target, target, target_options
from meterpipe.cli.times import EXAMPLES as TIMES
from meterpipe.core.query import BadExpressionError, Query
from meterpipe.core.readings import KeyTable
from meterpipe.core.routing import frame_of, json_lines
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.expressions import COLUMNS
from meterpipe.spec.names import names_of


@click.command()
@click.argument("where", required=False)
@click.option("--select", metavar="EXPRESSIONS", help="What to show, e.g. 'meter, value * 2 AS twice'. Default: all.")
@click.option(
    "--from", "start", type=Beginning(),
    help=f"Where in the stream to begin: {EXAMPLES} at which Kafka took the message. Default: end.",
)  # fmt: skip
@click.option("--since", type=Instant(), help=f"Only readings of this time or later: {TIMES}.")
@click.option("--until", type=Instant(), help="Only readings before this time.")
@click.option("--lake", "in_lake", is_flag=True, help="Ask the lake, not the stream.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Stop after so many rows.")
@click.option("-e", "--exit", "ending", is_flag=True, help="Stop at the end of what is there now.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
@target_options
def query(
    where: str | None,
    select: str | None,
    start: Start | None,
    since: int | None,
    until: int | None,
    in_lake: bool,
    limit: int | None,
    ending: bool,
    as_json: bool,
    **place: Any,
) -> None:
    """Show the readings for which an SQL condition is true, as they come or of a span of time.

    \b
    meterpipe query "meter = 'house-7' AND value > 3"
    meterpipe query "starts_with(meter, 'n-')" --select "meter, ts, value / 1000 AS kw" --from 15m --exit
    meterpipe query "quality <> 0" --since 2024-01-01 --until 2024-01-02 --lake --json

    Columns: meter, metric, attribute, ts (UTC), value, span (seconds covered), quality, revision. Expressions are those
    of routes (`meterpipe explain spec.routing.routes`). With --since or --until the stream is read from its beginning
    to its end, unless --from says otherwise.
    """
    try:
        asked = Query(where, select, since, until)
    except BadExpressionError as problem:
        raise BadInput(str(problem), f"columns are {', '.join(COLUMNS)}; see `meterpipe query --help`") from problem
    if in_lake and start is not None:
        raise BadInput("--from is a place in the stream, and the lake has none", "use --since and --until")
    printer = _Printer(asked, limit, as_json)
    if in_lake:
        location = location_of(target(**place))
        try:
            printer.all_of(_of_lake(location, asked))
        except LAKE_ERRORS as problem:
            raise Failed(
                f"{location.table_uri}: {explain(problem)}", "is S3 running? see `meterpipe status`"
            ) from problem
        return
    ranged = since is not None or until is not None
    config = kafka_target(**place)
    with reading(config) as reader:
        places = reader.places([names_of(config.pipeline).counted])
        starts = reader.offsets(places, start or (Edge.BEGINNING if ranged else Edge.END))
        batches = reader.read(starts, reader.ends(places)) if ending or ranged else reader.follow(starts)
        refused: Counter[str] = Counter()
        try:
            printer.all_of(_of_stream(config, batches, refused))
        except KeyboardInterrupt:
            click.echo(err=True)
    if refused:
        click.echo(f"not asked, since they cannot be decoded: {sum(refused.values())}", err=True)


class _Printer:
    """Prints what is asked of frames, in columns that stay in line or as JSON, up to a limit."""

    def __init__(self, asked: Query, limit: int | None, as_json: bool) -> None:
        self._asked, self._left, self._as_json = asked, limit, as_json
        self._lines = Lines(asked.columns)

    def all_of(self, frames: Iterable[pl.DataFrame]) -> None:
        for frame in frames:
            if self._left == 0:
                return
            try:
                rows = self._asked.of(frame)
            except pl.exceptions.PolarsError as problem:
                raise Failed(
                    f"the expression fails: {str(problem).splitlines()[0]}", "TRY_CAST gives NULL instead"
                ) from problem
            if self._left is not None:
                rows = rows.head(self._left)
                self._left -= len(rows)
            if len(rows):
                texts = [line.decode() for line in json_lines(rows)]
                click.echo("\n".join(texts if self._as_json else self._lines.of(map(json.loads, texts))))


def _of_stream(config: WorkerConfig, batches: Iterator[list[Message]], refused: Counter[str]) -> Iterator[pl.DataFrame]:
    decoder, keys = decoder_of(config), KeyTable()
    for messages in batches:
        decoded = decoder.decode([message.value() for message in messages], keys)
        refused.update(reject.reason.value for reject in decoded.rejects)
        yield frame_of(decoded.readings, keys).drop("row")


def _of_lake(location: LakeLocation, asked: Query) -> Iterator[pl.DataFrame]:
    """The lake's files of the dates asked for, in the order of the dates."""
    found = open_existing(location)
    if found is None:
        return
    table = LakeTable(location)
    for date in sorted(rows_by_date(found)):
        begin = int(dt.datetime.fromisoformat(date).replace(tzinfo=dt.UTC).timestamp() * 1000)
        if (asked.until is not None and begin >= asked.until) or (
            asked.since is not None and begin + 86_400_000 <= asked.since
        ):
            continue
        for path, _ in table.files(dt.date.fromisoformat(date)):
            yield _as_frame(table.read(path))


def _as_frame(rows: pa.Table) -> pl.DataFrame:
    names = ("meter", "metric", "attribute", "ts", "value", "interval_s", "quality", "revision")
    frame = pl.DataFrame(pl.from_arrow(rows.select(names)))
    frame.columns = list(COLUMNS)
    text = [pl.col(name).cast(pl.String) for name in COLUMNS[:3]]
    numbers = [pl.col(name).cast(pl.Int64) for name in ("span", "quality", "revision")]
    return frame.with_columns(*text, pl.col("ts").cast(pl.Datetime("ms")), *numbers)
