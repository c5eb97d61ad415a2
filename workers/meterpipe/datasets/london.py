"""Low Carbon London: half-hourly energy (kWh) of London households, times in UTC all year.

Read are the trial's own files (`LCLid,stdorToU,DateTime,KWH/hh (per half hour)`, many households in one) and those of
one household that opendsm ships (`start,value`). Defects found in them: repeated rows at midnight, gaps, `Null`, and
one household whose days and months are swapped wherever the day is at most 12.
"""

import re
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from meterpipe.core.quality import Quality
from meterpipe.datasets.clock import DAY_MS, DayOrder, Triple, clock_ms, read_days, to_utc
from meterpipe.datasets.households import Channel, Household, in_time_order
from meterpipe.datasets.loaded import Loaded, ReadOptions
from meterpipe.datasets.sheet import Sheet, header_of, read_sheet

HALF_HOUR_S = 1800
ATTRIBUTE = "ACTIVE_ENERGY"
_STAMP = re.compile(rb"\s*(\d{4})-(\d{2})-(\d{2})[ T]([0-9:.]+)(?:Z|\+00:00)?\s*")
_TRIAL = ("LCLid", "DateTime", "KWH/hh (per half hour)")
_SINGLE = ("start", "value")


def read_london(path: Path, options: ReadOptions) -> Loaded:
    """The households of the file, in order of appearance. Raises BadFileError; at broken lines unless skipping."""
    names = _TRIAL if _TRIAL[0] in header_of(path, ",") else _SINGLE
    sheet = read_sheet(path, names)
    stamp, energy = names[-2:]
    local, swapped = _local(sheet, stamp, options.day_order)
    kwh = sheet.numbers(energy, "a number (kWh) or Null for none")
    meter, meters = _meters(sheet, names, options.meter or path.name.split(".")[0])
    good, broken = sheet.good(options.skip_broken)
    instants = to_utc(local[good], ZoneInfo(options.zone or "UTC"))
    quality = np.where(instants.unreal, np.uint8(Quality.CLOCK_INVALID), np.uint8(0))
    everything = Household("", instants.utc, quality, (Channel("ELECTRICITY", ATTRIBUTE, HALF_HOUR_S, kwh[good]),))
    households = []
    for code, name in enumerate(meters):
        own = everything.take(meter[good] == code)
        households.append(in_time_order(Household(name, own.ts, own.quality, own.channels)))
    notes = [f"{path}: {swapped} days had day and month swapped; they were put right (--day-order)"] if swapped else []
    return Loaded(tuple(h for h in households if len(h)), broken, tuple(notes))


def _meters(sheet: Sheet, names: tuple[str, ...], default: str) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The household of each row as an index of their names."""
    if names is _SINGLE:
        return np.zeros(len(sheet), np.int64), [default]
    codes, words = sheet.words(names[0])
    sheet.mark(names[0], np.array([not w.strip() for w in words], bool)[codes], "the name of a household")
    return codes, [word.decode(errors="replace").strip() for word in words]


def _local(sheet: Sheet, column: str, order: DayOrder) -> tuple[npt.NDArray[np.int64], int]:
    """Time of each row in ms, and how many dates were put right."""
    codes, words = sheet.words(column)
    if not words:
        return np.empty(0, np.int64), 0
    stamps = [_split(word) for word in words]
    dates = list(dict.fromkeys(s[0] for s in stamps if s))
    days = read_days(dates, order)
    day_of = dict(zip(dates, days.days, strict=True))
    times = [None if s is None or day_of[s[0]] is None else (day_of[s[0]] or 0) * DAY_MS + s[1] for s in stamps]
    sheet.mark(column, np.array([t is None for t in times], bool)[codes], "a time as yyyy-mm-dd hh:mm:ss (UTC)")
    return np.array([t or 0 for t in times], np.int64)[codes], days.swapped


def _split(word: bytes) -> tuple[Triple, int] | None:
    found = _STAMP.fullmatch(word)
    clock = clock_ms(found[4]) if found else None
    if not found or clock is None:
        return None
    return (int(found[1]), int(found[2]), int(found[3])), clock
