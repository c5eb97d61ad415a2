"""AMPds2 (Almanac of Minutely Power): the water and gas meters of one Canadian house, a row a minute, UTC."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from meterpipe.datasets.households import Channel, Household, in_time_order
from meterpipe.datasets.loaded import Loaded, ReadOptions
from meterpipe.datasets.sheet import read_sheet

_LAST_S = 253_402_300_799  # year 9999


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    attribute: str
    interval_s: int


_COLUMNS = (
    _Column("counter", "SUMMATION", 0),  # the register
    _Column("avg_rate", "AVERAGE_RATE", 60),  # over the minute
    _Column("inst_rate", "INSTANTANEOUS_DEMAND", 0),
)


def read_ampds_water(path: Path, options: ReadOptions) -> Loaded:
    """The water meter: counter in l, rates in l/min."""
    return _read(path, options, "WATER", "ampds-water")


def read_ampds_gas(path: Path, options: ReadOptions) -> Loaded:
    """The gas meter: counter in dm3, rates in dm3/h."""
    return _read(path, options, "GAS", "ampds-gas")


def _read(path: Path, options: ReadOptions, metric: str, meter: str) -> Loaded:
    sheet = read_sheet(path, ("unix_ts", *(c.name for c in _COLUMNS)))
    seconds = sheet.numbers("unix_ts", "seconds since 1970 (UTC)")
    wrong = ~((seconds >= 0) & (seconds <= _LAST_S) & (seconds == np.floor(seconds)))
    sheet.mark("unix_ts", wrong, "whole seconds since 1970 (UTC)")
    values = [sheet.numbers(c.name, "a number") for c in _COLUMNS]
    good, broken = sheet.good(options.skip_broken)
    household = in_time_order(
        Household(
            meter=options.meter or meter,
            ts=seconds[good].astype(np.int64) * 1000,
            quality=np.zeros(int(good.sum()), np.uint8),
            channels=tuple(
                Channel(metric, c.attribute, c.interval_s, v[good]) for c, v in zip(_COLUMNS, values, strict=True)
            ),
        )
    )
    counter = household.channels[0].value
    falls = int((np.diff(counter[~np.isnan(counter)]) < 0).sum())
    notes = (f"{path}: the counter falls {falls} times; sent as it is",) if falls else ()
    return Loaded((household,), broken, notes)
