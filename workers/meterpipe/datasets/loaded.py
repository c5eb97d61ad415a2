"""What reading a data set takes and gives."""

from collections.abc import Iterable
from dataclasses import dataclass

from meterpipe.datasets.clock import DayOrder
from meterpipe.datasets.households import Household


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read the files of a data set."""

    skip_broken: bool = False  # leave broken lines out and count them
    zone: str | None = None  # IANA zone of local times. None: that of the data set
    day_order: DayOrder = DayOrder.AUTO
    meter: str | None = None  # name of a file's only household. None: that of the data set, or of the file


@dataclass(frozen=True, slots=True)
class Loaded:
    """Households read, how many lines were broken, and what the user should know."""

    households: tuple[Household, ...]
    broken: int = 0
    notes: tuple[str, ...] = ()


def join(parts: Iterable[Loaded]) -> Loaded:
    """All of them as one."""
    parts = list(parts)
    return Loaded(
        tuple(h for p in parts for h in p.households),
        sum(p.broken for p in parts),
        tuple(n for p in parts for n in p.notes),
    )
