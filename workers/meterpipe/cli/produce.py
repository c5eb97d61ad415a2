"""replay, generate, flush: readings into Kafka."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
import numpy as np
import pyarrow as pa

from meterpipe.cli.errors import BadInput, Failed
from meterpipe.cli.options import Instant
from meterpipe.cli.sending import (
    json_option,
    publisher,
    sending_options,
    settle,
    transmit,
)
from meterpipe.cli.target import kafka_target, target_options, target_options_beside_files
from meterpipe.cli.times import shown
from meterpipe.datasets.clock import DayOrder
from meterpipe.datasets.files import write_file
from meterpipe.datasets.generator import REGISTER_WH, Attribute, Defect, GeneratorSpec
from meterpipe.datasets.generator import generate as generated
from meterpipe.datasets.households import Selection, count_readings
from meterpipe.datasets.households import replay as replayed
from meterpipe.datasets.loaded import Loaded, ReadOptions
from meterpipe.datasets.pace import Pace
from meterpipe.datasets.packaged import NotAvailableError
from meterpipe.datasets.profiles import NotInstalledError, load_tables
from meterpipe.datasets.publish import Format
from meterpipe.datasets.registry import Dataset, load
from meterpipe.datasets.sheet import BadFileError, BrokenLineError
from meterpipe.local.paths import cache_dir
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of

__all__ = ["flush", "generate", "replay"]

DEFAULT_START = "2024-01-01"
_share = click.FloatRange(0, 1)


@click.command()
@click.option("--dataset", type=click.Choice([d.value for d in Dataset]), required=True, help="Which data set.")
@click.option(
    "--file", "files", type=click.Path(path_type=Path), multiple=True,
    help="Its CSV file; may be repeated. Default for london: two packaged households.",
)  # fmt: skip
@click.option(
    "--households", type=click.IntRange(min=1),
    help="How many. Default: those of the files. Further ones are derived: value + 0.001 x number.",
)  # fmt: skip
@click.option("--attribute", "attributes", multiple=True, help="Only this attribute; may be repeated.")
@click.option("--from", "since", type=Instant(), help="Only readings from this time on (before --day-offset).")
@click.option("--to", "until", type=Instant(), help="Only readings before this time (before --day-offset).")
@click.option("--day-offset", type=int, default=0, help="Shift all times by so many days.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many readings.")
@click.option("--skip-broken", is_flag=True, help="Leave out and count broken lines; else the first one is an error.")
@click.option("--timezone", help="IANA zone of local times, if it is not the data set's.")
@click.option(
    "--day-order", type=click.Choice([o.value for o in DayOrder]), default="auto", show_default=True,
    help="auto finds swapped days and months by the breaks they make.",
)  # fmt: skip
@sending_options
@target_options_beside_files
@json_option
def replay(
    dataset: str,
    files: tuple[Path, ...],
    households: int | None,
    attributes: tuple[str, ...],
    since: int | None,
    until: int | None,
    day_offset: int,
    limit: int | None,
    skip_broken: bool,
    timezone: str | None,
    day_order: str,
    rate: float | None,
    speedup: float | None,
    form: str,
    flushing: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """Send the readings of a data set to Kafka, the households merged in time order.

    \b
    meterpipe replay --dataset london --households 100 --from 2013-06-01 --to 2013-06-08
    meterpipe replay --dataset uci --file household_power_consumption.txt --attribute ACTIVE_POWER
    meterpipe replay --dataset ampds-water --file Water_WHW.csv -f pipeline.yaml --speedup 3600
    meterpipe replay --dataset london --format envelope --rate 50000 --no-flush

    Exit code 1 if a reading was not delivered, 2 if a file is wrong (the message names file, line, column and value).
    """
    options = ReadOptions(skip_broken, _zone(timezone), DayOrder(day_order))
    loaded = _load(Dataset(dataset), files, options)
    selection = Selection(households, frozenset(attributes), since, until, day_offset, limit)
    total = _count(loaded, selection)
    target = kafka_target(**where)
    try:
        batches = replayed(loaded.households, selection)
        with publisher(target, Format(form)) as out:
            grace = target.pipeline.spec.aggregator.grace if flushing else None
            facts = transmit(out, batches, total, Pace(rate, speedup), grace, as_json)
    except ValueError as error:
        raise BadInput(str(error)) from error
    about = {"dataset": dataset, "topic": _topic(target), "households": households or len(loaded.households)}
    settle(about | facts | {"brokenLines": loaded.broken}, loaded.notes, as_json)


@click.command()
@click.option("--meters", type=click.IntRange(min=1), default=100, show_default=True, help="How many meters.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True, help="How long.")
@click.option("--interval", type=click.IntRange(min=1), default=60, show_default=True, help="Seconds between readings.")
@click.option("--start", type=Instant(), default=DEFAULT_START, show_default=True, help="Time of the first readings.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="The same seed, the same readings."
)
@click.option(
    "--attribute", "attributes", type=click.Choice([a.name for a in Attribute]), multiple=True,
    default=("ACTIVE_POWER",), show_default=True, help="May be repeated.",
)  # fmt: skip
@click.option("--late-rate", type=_share, default=0.0, help="Share that arrives after its window and the grace.")
@click.option(
    "--out-of-order-rate", type=_share, default=0.0, help="Share overtaken by younger ones, within the grace."
)
@click.option("--duplicate-rate", type=_share, default=0.0, help="Share that comes twice.")
@click.option(
    "--revised-rate", type=_share, default=0.0, help="Share that comes again, changed, with a higher revision."
)
@click.option("--gap-rate", type=_share, default=0.0, help="Share that is missing.")
@click.option("--glitch-rate", type=_share, default=0.0, help="Share with an absurd value (registers: 0).")
@click.option(
    "--rollover", type=click.FloatRange(min=1), default=REGISTER_WH, show_default=True,
    help="Wh at which SUMMATION registers begin again at 0.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write to this file (.ndjson or .arrow) in place of Kafka."
)
@sending_options
@target_options
@json_option
def generate(
    meters: int,
    days: float,
    interval: int,
    start: int,
    seed: int,
    attributes: tuple[str, ...],
    rollover: float,
    out: Path | None,
    rate: float | None,
    speedup: float | None,
    form: str,
    flushing: bool,
    as_json: bool,
    spec: Path | None,
    config: Path | None,
    root: Path,
    secrets: Path,
    **rates: float,
) -> None:
    """Send generated readings to Kafka: BDEW load profiles, scattered, with chosen rates of defects.

    \b
    meterpipe generate --meters 1000 --days 1
    meterpipe generate --meters 200 --days 7 --attribute SUMMATION --glitch-rate 0.001 --late-rate 0.001
    meterpipe generate --meters 5000 --days 0.25 --out readings.ndjson

    Values are multiples of 2^-10: their sums are exact. What was done to each reading is counted in the result, and a
    column (`defect`) of an .arrow file.
    """
    target = None if out else kafka_target(spec, config, root, secrets)
    judged = target.pipeline.spec.aggregator if target else None
    try:
        wanted: dict[str, Any] = {**rates, "attributes": tuple(Attribute[a] for a in dict.fromkeys(attributes))}
        if judged:
            wanted |= {"grace_s": judged.grace, "window_s": judged.windows[0]}
        made = GeneratorSpec(meters, days, interval, seed, start, rollover=rollover, **wanted)
        defects: Counter[str] = Counter()
        batches = _counted(generated(made, load_tables()), defects)
        total = round(made.slots * meters * len(made.attributes) * (1 - made.gap_rate))
        if target is None and out is not None:
            started = time.monotonic()
            count = write_file(batches, out)
            facts: dict[str, Any] = {
                "file": str(out),
                "readings": count,
                "seconds": round(time.monotonic() - started, 3),
            }
        elif target is not None:
            grace = made.grace_s if flushing else None
            with publisher(target, Format(form)) as sender:
                facts = {"topic": _topic(target)} | transmit(
                    sender, batches, total, Pace(rate, speedup), grace, as_json
                )
    except NotInstalledError as error:
        raise Failed(str(error)) from error
    except (ValueError, OSError) as error:
        raise BadInput(str(error)) from error
    settle({"meters": meters} | facts | {"defects": dict(defects)}, (), as_json)


@click.command()
@click.option("--event-time", type=Instant(), help="RFC 3339, date or epoch ms. Default: now.")
@target_options
@json_option
def flush(event_time: int | None, as_json: bool, **where: Any) -> None:
    """Tell every partition of the readings topic that event time has reached an instant (default: now).

    All windows that end before it, less the grace, close; readings of such windows that arrive afterwards are late.

    \b
    meterpipe flush                                    close whatever is over
    meterpipe flush --event-time 2013-06-08T00:05:00Z  the 7th is complete (with a grace of 5 minutes)
    """
    target = kafka_target(**where)
    reached = int(time.time() * 1000) if event_time is None else event_time
    with publisher(target, Format.JSON) as out:
        out.control(reached)
        sent = out.finish()
    facts = {"topic": _topic(target), "partitions": out.partitions, "flushedTo": shown(reached)}
    settle(facts | {"failed": sent.failed, "errors": dict(sent.errors)}, (), as_json)


def _topic(target: WorkerConfig) -> str:
    return names_of(target.pipeline).readings


def _load(dataset: Dataset, files: tuple[Path, ...], options: ReadOptions) -> Loaded:
    try:
        return load(dataset, files, options, cache_dir())
    except BadFileError as error:
        broken = isinstance(error, BrokenLineError)
        way_out = "correct it, or leave broken lines out: --skip-broken" if broken else None
        raise BadInput(str(error), way_out) from error
    except NotAvailableError as error:
        raise Failed(str(error), "check the network, or give the file yourself: --file") from error


def _zone(name: str | None) -> str | None:
    try:
        return ZoneInfo(name).key if name else None
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise BadInput(
            f"--timezone: {name!r} is no IANA time zone", "give one such as Europe/Paris or Etc/GMT-1"
        ) from error


def _count(loaded: Loaded, selection: Selection) -> int:
    """How many readings are wanted; BadInput if there are none."""
    known = sorted({c.attribute for h in loaded.households for c in h.channels})
    if unknown := sorted(selection.attributes - set(known)):
        raise BadInput(f"--attribute: the data set has no {', '.join(unknown)}", f"it has {', '.join(known)}")
    total = count_readings(loaded.households, selection)
    if total:
        return total
    times = [int(t) for h in loaded.households if len(h) for t in (h.ts[0], h.ts[-1])]
    span = f"the data set reaches from {shown(min(times))} to {shown(max(times))}" if times else "the data set is empty"
    raise BadInput("no reading is left to send", span)


def _counted(batches: Iterable[pa.RecordBatch], defects: "Counter[str]") -> Iterator[pa.RecordBatch]:
    """The batches; what was done to their readings is counted as they pass."""
    for batch in batches:
        found = np.bincount(batch.column("defect").to_numpy(), minlength=len(Defect))
        defects.update({d.name.lower(): int(found[d]) for d in Defect if d and found[d]})
        yield batch
