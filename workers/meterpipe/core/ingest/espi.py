"""Green Button: an Atom feed of ESPI resources (NAESB REQ.21) to readings.

What of the file is used: UsagePoint (kind of service), MeterReading (its ReadingType), ReadingType (unit, power of ten,
accumulation, direction), IntervalBlock with its IntervalReadings. Resources are tied by their links: a block lies below
its meter reading, which is related to its type and lies below its usage point.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from meterpipe.core.deadletters import Reason
from meterpipe.core.ingest.espi_xml import Block, Entry, EspiError, FeedReader
from meterpipe.core.ingest.rows import Parsed, Problem, Rows, rows_of_json
from meterpipe.core.json_codec import JsonColumns
from meterpipe.core.quality import Quality
from meterpipe.core.readings import FIRST_MS, LARGEST, LAST_MS, Key
from meterpipe.spec.models import Readings as ReadingsSpec

METRICS = {"0": "ELECTRICITY", "1": "GAS", "2": "WATER", "4": "HEAT"}
EXPORT = "_EXPORT"
"""Ends the attribute of what flows from the customer to the network."""
REGISTERS = ("1", "3", "9")
"""accumulationBehaviour: bulk quantity, cumulative, summation."""
REVERSE = "19"


class Unit(NamedTuple):
    """What a unit of ESPI (uom) becomes: attribute of an interval's amount or of a level, and the factor to it."""

    attribute: str
    factor: float
    amounts: bool = False  # a register of it is a SUMMATION


UNITS = {
    "72": Unit("ACTIVE_ENERGY", 1e-3, amounts=True),  # Wh -> kWh
    "169": Unit("ACTIVE_ENERGY", 29.307107017222222, amounts=True),  # therm (EC) -> kWh
    "42": Unit("VOLUME", 1.0, amounts=True),  # m3
    "119": Unit("VOLUME", 0.028316846592, amounts=True),  # cubic foot -> m3
    "128": Unit("VOLUME", 0.003785411784, amounts=True),  # US gallon -> m3
    "134": Unit("VOLUME", 1e-3, amounts=True),  # litre -> m3
    "38": Unit("ACTIVE_POWER", 1e-3),  # W -> kW
    "63": Unit("REACTIVE_POWER", 1e-3),  # var -> kvar
    "29": Unit("VOLTAGE", 1.0),
    "5": Unit("INTENSITY", 1.0),
}
_QUALITIES = {"8": Quality.ESTIMATED, "9": Quality.ESTIMATED, "12": Quality.ESTIMATED, "10": Quality.DATA_NOT_VALID}


@dataclass(slots=True)
class _Columns:
    """Readings found so far."""

    keys: list[Key] = field(default_factory=list)
    ts: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    interval: list[int] = field(default_factory=list)
    quality: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)


class EspiBody:
    """A Green Button file, "Download My Data". `?meter=` names the meter; without it the usage point's id does."""

    name = "espi"
    media_types: tuple[str, ...] = ("application/atom+xml", "application/xml", "text/xml")
    names: Mapping[str, str] = {
        "meter": "UsagePoint",
        "metric": "ServiceCategory",
        "attribute": "ReadingType",
        "timestamp": "timePeriod/start",
    }

    def __init__(self, _spec: ReadingsSpec) -> None:
        """Green Button files are the same in every pipeline."""

    def parse(self, body: bytes, query: Mapping[str, str]) -> Parsed:
        """Readings of all blocks. What is no well-formed XML is refused as a whole."""
        if not body:
            return Parsed.unreadable(Reason.EMPTY, "the body is empty")
        try:
            feed = FeedReader().read(body)
        except EspiError as error:
            return Parsed.unreadable(Reason.MALFORMED, str(error), line=error.line)
        if not feed.blocks:
            return Parsed.unreadable(Reason.MISSING_FIELD, "the file has no IntervalBlock", at="IntervalBlock")
        columns, problems, refused = _Columns(), list[Problem](), Counter[Reason]()
        for block in feed.blocks:
            channel = _channel(block, feed.entries, query.get("meter"))
            if isinstance(channel, Problem):
                problems.append(channel)
                refused[channel.reason] += max(1, len(block.readings))
                continue
            for problem in _take(block, channel, columns):
                problems.append(problem)
                refused[problem.reason] += 1
        numbers = [reading.line for block in feed.blocks for reading in block.readings]
        return Parsed(_rows(columns), problems, refused, lambda indices: [numbers[index] for index in indices])


class _Channel(NamedTuple):
    key: Key
    factor: float
    instant: bool


def _channel(block: Block, entries: Mapping[str, Entry], meter: str | None) -> _Channel | Problem:
    """Whose readings a block holds and what they are multiplied by."""

    def unknown(reason: Reason, name: str, detail: str) -> Problem:
        return Problem(reason, detail, field=name, line=block.line)

    reading = _above(block.href, "MeterReading", entries)
    if reading is None:
        return unknown(Reason.MISSING_FIELD, "MeterReading", "the file lacks the MeterReading above the IntervalBlock")
    kind = next((e for href in reading.related if (e := entries.get(href)) and e.kind == "ReadingType"), None)
    if kind is None:
        return unknown(Reason.MISSING_FIELD, "ReadingType", "the file lacks the ReadingType of the MeterReading")
    point = _above(block.href, "UsagePoint", entries)
    service = METRICS.get(point.fields.get("kind", "") if point else "")
    if service is None:
        return unknown(Reason.MISSING_FIELD, "ServiceCategory", "no UsagePoint of electricity, gas, water or heat")
    unit = UNITS.get(kind.fields.get("uom", ""))
    if unit is None:
        code = kind.fields.get("uom", "absent")
        return unknown(Reason.WRONG_TYPE, "uom", f"unit {code} is not known; there are {', '.join(UNITS)}")
    try:
        power = int(kind.fields.get("powerOfTenMultiplier", "0"))
    except ValueError:
        power = 99
    if not -12 <= power <= 12:
        return unknown(Reason.OUT_OF_RANGE, "powerOfTenMultiplier", "must be a number from -12 to 12")
    register = unit.amounts and kind.fields.get("accumulationBehaviour") in REGISTERS
    attribute = "SUMMATION" if register else unit.attribute
    if kind.fields.get("flowDirection") == REVERSE:
        attribute += EXPORT
    name = meter or block.href.partition("/UsagePoint/")[2].partition("/")[0]
    return _Channel((name, service, attribute), unit.factor * 10.0**power, register or not unit.amounts)


def _above(href: str, kind: str, entries: Mapping[str, Entry]) -> Entry | None:
    """The resource of a kind on the path to `href`."""
    head, mark, tail = href.partition(f"/{kind}/")
    entry = entries.get(head + mark + tail.partition("/")[0])
    return entry if entry is not None and entry.kind == kind else None


def _take(block: Block, channel: _Channel, into: _Columns) -> Sequence[Problem]:
    """Add the readings of a block; gives back what is wrong with the others."""
    problems = []
    for reading in block.readings:
        try:
            start, seconds = int(reading.start), int(reading.duration or 0)
            value = float(reading.value) * channel.factor
            if not abs(value) <= LARGEST:
                raise ValueError(f"value {reading.value[:40]!r} is too large")
            if not FIRST_MS <= start * 1000 <= LAST_MS:
                raise ValueError(f"start {reading.start[:40]!r} is outside the years 1 to 9999")
            if not 0 <= seconds < 2**31:
                raise ValueError(f"duration {reading.duration[:40]!r} is no number of seconds")
        except ValueError as error:
            missing = next((name for name in ("start", "value") if not getattr(reading, name)), None)
            reason = Reason.MISSING_FIELD if missing else Reason.OUT_OF_RANGE
            detail = f"{missing} is absent" if missing else str(error)
            problems.append(Problem(reason, detail, field=missing or _blamed(reading.value), index=reading.number))
            continue
        into.keys.append(channel.key)
        into.ts.append(start * 1000)
        into.value.append(value)
        into.interval.append(0 if channel.instant else seconds)
        into.quality.append(_QUALITIES.get(reading.quality, 0))
        into.index.append(reading.number)
    return problems


def _blamed(value: str) -> str:
    """`value` unless it is a number of a fair size; then the period is to blame."""
    try:
        return "value" if not abs(float(value)) <= LARGEST else "timePeriod"
    except ValueError:
        return "value"


def _rows(columns: _Columns) -> Rows:
    return rows_of_json(
        JsonColumns(
            np.array(columns.index, np.int32),
            columns.keys,
            np.array(columns.ts, np.int64),
            np.array(columns.value, np.float64),
            np.array(columns.interval, np.int32),
            np.array(columns.quality, np.uint8),
            np.zeros(len(columns.ts), np.uint16),
        )
    )
