"""BDEW standard load profiles: how much of a year's electricity is used in each quarter of an hour.

The tables are those of the package `demandlib` (extra `local`). They are read from its file: importing it would cost a
second for pandas, and its code fails with warnings of pandas 3.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

QUARTER_MS = 900_000
_QUARTERS = 96
_FILE = "bdew/bdew_data/selp_series.csv"


class Profile(StrEnum):
    """Kinds of customers."""

    HOUSEHOLD = "h0"
    COMMERCE = "g0"
    FARM = "l0"


class NotInstalledError(RuntimeError):
    """The package with the tables is missing."""


Tables = dict[Profile, npt.NDArray[np.float64]]
"""kW that a customer of 1 000 kWh a year draws, shape (3 seasons, 3 kinds of day, 96 quarters)."""

_SEASONS = ("winter", "transition", "summer")
_DAYS = {1: 0, 6: 1, 7: 2}  # of the file's weekdays (Monday 1): working day, Saturday, Sunday


def load_tables() -> Tables:
    """The tables. Raises NotInstalledError."""
    spec = find_spec("demandlib")
    if spec is None or spec.origin is None:
        raise NotInstalledError("the load profiles need the package demandlib: pip install 'meterpipe[local]'")
    table = pa.csv.read_csv(str(Path(spec.origin).parent / _FILE))
    period, weekday = table.column("period").to_pylist(), table.column("weekday").to_pylist()
    tables = {}
    for profile in Profile:
        raw = table.column(profile.value).to_numpy()
        shaped = np.zeros((3, 3, _QUARTERS))
        for season, name in enumerate(_SEASONS):
            for day, kind in _DAYS.items():
                rows = [i for i, (p, w) in enumerate(zip(period, weekday, strict=True)) if p == name and w == day]
                shaped[season, kind] = raw[rows]
        tables[profile] = shaped
    return tables


def season_of(day: datetime) -> int:
    """Index of the BDEW season: winter 1 Nov - 20 Mar, summer 15 May - 14 Sep, transition between."""
    date = (day.month, day.day)
    if (5, 15) <= date <= (9, 14):
        return 2
    return 0 if date <= (3, 20) or date >= (11, 1) else 1


def dynamics(day_of_year: int) -> float:
    """BDEW's factor by which a household's profile is raised in winter and lowered in summer."""
    t = float(day_of_year)
    return -3.92e-10 * t**4 + 3.2e-7 * t**3 - 7.02e-5 * t**2 + 2.1e-3 * t + 1.24


def power_at(tables: Tables, profile: Profile, quarter: int) -> float:
    """kW drawn in the `quarter`-th quarter of an hour since 1970 (UTC) by a customer of 1 000 kWh a year."""
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=quarter * QUARTER_MS)
    kind = {5: 1, 6: 2}.get(start.weekday(), 0)
    power = tables[profile][season_of(start), kind, quarter % _QUARTERS]
    return float(power * (dynamics(start.timetuple().tm_yday) if profile is Profile.HOUSEHOLD else 1.0))
