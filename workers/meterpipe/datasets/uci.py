"""UCI "Individual household electric power consumption": a reading a minute of one French household."""

import re
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from meterpipe.core.quality import Quality
from meterpipe.datasets.clock import DAY_MS, DayOrder, Triple, clock_ms, read_days, to_utc
from meterpipe.datasets.households import Channel, Household, in_time_order
from meterpipe.datasets.loaded import Loaded, ReadOptions
from meterpipe.datasets.sheet import Sheet, read_sheet


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    attribute: str
    unit: str


COLUMNS = (  # matched by name, so that active and reactive power can't be swapped by their place
    _Column("Global_active_power", "ACTIVE_POWER", "kW"),
    _Column("Global_reactive_power", "REACTIVE_POWER", "kvar"),
    _Column("Voltage", "VOLTAGE", "V"),
    _Column("Global_intensity", "INTENSITY", "A"),
    _Column("Sub_metering_1", "SUB_METERING_1", "Wh"),
    _Column("Sub_metering_2", "SUB_METERING_2", "Wh"),
    _Column("Sub_metering_3", "SUB_METERING_3", "Wh"),
)
ZONE = "Europe/Paris"
_DATE = re.compile(rb"\s*(\d{1,2})/(\d{1,2})/(\d{4})\s*")


def read_uci(path: Path, options: ReadOptions) -> Loaded:
    """The household of the file (one channel a column). Raises BadFileError; at a broken line unless skipping, too."""
    sheet = read_sheet(path, ("Date", "Time", *(c.name for c in COLUMNS)), delimiter=";")
    local, swapped = _local(sheet, options.day_order)
    values = [sheet.numbers(c.name, f"a number ({c.unit}) or ? for none") for c in COLUMNS]
    good, broken = sheet.good(options.skip_broken)
    zone = options.zone or ZONE
    instants = to_utc(local[good], ZoneInfo(zone))
    household = Household(
        meter=options.meter or "uci-household",
        ts=instants.utc,
        quality=np.where(instants.unreal, np.uint8(Quality.CLOCK_INVALID), np.uint8(0)),
        channels=tuple(Channel("ELECTRICITY", c.attribute, 60, v[good]) for c, v in zip(COLUMNS, values, strict=True)),
    )
    notes = []
    if swapped:
        notes.append(f"{path}: {swapped} days had day and month swapped; they were put right (--day-order)")
    if unreal := int(instants.unreal.sum()):
        notes.append(
            f"{path}: {unreal} rows at local times that never existed in {zone} (change to summer time), flagged "
            "CLOCK_INVALID; if the meter's clock ignores summer time, give its zone (--timezone Etc/GMT-1)"
        )
    return Loaded((in_time_order(household),), broken, tuple(notes))


def _local(sheet: Sheet, order: DayOrder) -> tuple[npt.NDArray[np.int64], int]:
    """Local time of each row in ms, and how many dates were put right."""
    codes, words = sheet.words("Date")
    days = read_days([_triple(word) for word in words], order)
    expected = "a date as dd/mm/yyyy"
    if len(words):
        sheet.mark("Date", np.array([d is None for d in days.days], bool)[codes], expected)
    day = np.array([d or 0 for d in days.days], np.int64)[codes] if len(words) else np.empty(0, np.int64)
    return day * DAY_MS + sheet.parsed("Time", clock_ms, "a time as hh:mm:ss"), days.swapped


def _triple(word: bytes) -> Triple | None:
    found = _DATE.fullmatch(word)
    return (int(found[3]), int(found[2]), int(found[1])) if found else None
