"""A seeded generator of smart-meter readings with known defects. Pure: the same spec gives the same readings.

Readings follow the BDEW load profiles, scattered by meter and by reading. All values are multiples of 2^-10, so sums of
them are exact in any order. Readings come in the order of their arrival; each says by `defect` what was done to it, so
that a checker knows what to expect.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterpipe.core.readings import READING_SCHEMA
from meterpipe.datasets.profiles import QUARTER_MS, Profile, Tables, power_at

GENERATED_SCHEMA = READING_SCHEMA.append(pa.field("defect", pa.uint8(), nullable=False))
GRAIN = 1024
"""Values are multiples of 1 / GRAIN."""
REGISTER_WH = 838_860.7
"""Where a real register of 23 bits in tenths of Wh begins again at 0 (rounded down to the grain)."""
_SLAB_CELLS = 400_000  # readings generated at once; part of what a seed means
_SHARES = {Profile.HOUSEHOLD: 0.85, Profile.COMMERCE: 0.1, Profile.FARM: 0.05}
_MEDIAN_KWH = 3000.0  # a year


class Defect(IntEnum):
    """What was done to a reading."""

    NONE = 0
    LATE = 1  # arrives after its smallest window and the grace have passed
    OUT_OF_ORDER = 2  # arrives after younger ones, within the grace
    DUPLICATE = 3  # a second copy, equal
    REVISED = 4  # a second copy with a higher revision and another value
    GLITCH = 5  # ACTIVE_POWER: 100 times too much; SUMMATION: 0


class Attribute(IntEnum):
    """What a generated meter measures."""

    ACTIVE_POWER = 0  # kW, at the instant
    SUMMATION = 1  # Wh, a register that only grows until it begins again


@dataclass(frozen=True, slots=True)
class GeneratorSpec:
    """What to generate. Rates are shares of the readings; a reading has one defect at most, a gap none."""

    meters: int = 100
    days: float = 1.0
    interval_s: int = 60
    seed: int = 1
    start: int = 1_704_067_200_000  # UTC ms: 2024-01-01
    attributes: tuple[Attribute, ...] = (Attribute.ACTIVE_POWER,)
    late_rate: float = 0.0
    out_of_order_rate: float = 0.0
    duplicate_rate: float = 0.0
    revised_rate: float = 0.0
    gap_rate: float = 0.0
    glitch_rate: float = 0.0
    rollover: float = REGISTER_WH  # Wh at which registers begin again at 0
    grace_s: int = 300  # of the pipeline that is to judge lateness
    window_s: int = 60  # its smallest window

    def __post_init__(self) -> None:
        """Refuse nonsense, by field."""
        if self.meters < 1:
            raise ValueError(f"meters must be at least 1, got {self.meters}")
        if self.interval_s < 1:
            raise ValueError(f"interval must be at least 1 s, got {self.interval_s}")
        if not 0 < self.days < math.inf or self.slots < 1:
            raise ValueError(f"days must hold at least one interval of {self.interval_s} s, got {self.days}")
        for name in ("late", "out_of_order", "duplicate", "revised", "gap", "glitch"):
            rate = getattr(self, f"{name}_rate")
            if not 0 <= rate <= 1:
                raise ValueError(f"{name.replace('_', '-')}-rate must be from 0 to 1, got {rate}")
        if sum(self._rates()) > 1:
            raise ValueError(
                f"the rates of late, out-of-order, duplicate, revised and glitch add up to {sum(self._rates())}"
            )
        if self.rollover < 1:
            raise ValueError(f"rollover must be at least 1 Wh, got {self.rollover}")
        if not self.attributes or len(set(self.attributes)) != len(self.attributes):
            raise ValueError("attributes must be given once each, at least one")

    @property
    def slots(self) -> int:
        """Readings of one meter and attribute, before gaps."""
        return round(self.days * 86_400) // self.interval_s

    def _rates(self) -> tuple[float, ...]:
        """By Defect, from LATE on."""
        return self.late_rate, self.out_of_order_rate, self.duplicate_rate, self.revised_rate, self.glitch_rate


Column = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Readings with their time of arrival (ms, event time). `series` = meter x attributes + place of the attribute."""

    arrival: Column
    series: npt.NDArray[np.int32]
    ts: Column
    value: npt.NDArray[np.float64]
    revision: npt.NDArray[np.uint16]
    defect: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ts)

    def columns(self) -> tuple[npt.NDArray[Any], ...]:
        return self.arrival, self.series, self.ts, self.value, self.revision, self.defect

    def take(self, where: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "_Rows":
        return _Rows(*(c[where] for c in self.columns()))

    @staticmethod
    def concat(parts: list["_Rows"]) -> "_Rows":
        return _Rows(*(np.concatenate(c) for c in zip(*(p.columns() for p in parts), strict=True)))


def generate(spec: GeneratorSpec, tables: Tables) -> Iterator[pa.RecordBatch]:
    """Batches of GENERATED_SCHEMA's names in order of arrival; one dictionary of strings for all."""
    fleet = _Fleet(spec, tables)
    slots_at_once = max(1, _SLAB_CELLS // fleet.series)
    waiting: list[_Rows] = []
    for first in range(0, spec.slots, slots_at_once):
        end = min(first + slots_at_once, spec.slots)
        rows = _Rows.concat([*waiting, fleet.rows(first, end)])
        bound = spec.start + end * spec.interval_s * 1000
        here = rows.arrival < bound if end < spec.slots else np.ones(len(rows), bool)
        waiting = [rows.take(~here)]
        now = rows.take(here)
        if len(now):
            yield fleet.batch(now.take(np.argsort(now.arrival, kind="stable")))


class _Fleet:
    """The meters and what the generator has to remember of them: the random state and the registers."""

    def __init__(self, spec: GeneratorSpec, tables: Tables) -> None:
        self._spec, self._tables = spec, tables
        self._random = np.random.Generator(np.random.PCG64(spec.seed))
        kinds = list(_SHARES)
        self._kind = self._random.choice(len(kinds), spec.meters, p=list(_SHARES.values()))
        self._size = _MEDIAN_KWH / 1000 * self._random.lognormal(0.0, 0.4, spec.meters)
        self._wrap = int(spec.rollover * GRAIN)  # registers are kept as whole grains: exact
        self._register = self._random.integers(0, self._wrap, spec.meters)
        self.series = spec.meters * len(spec.attributes)
        width = max(6, len(str(spec.meters - 1)))
        self._meters = pa.array([f"meter-{i:0{width}d}" for i in range(spec.meters)], pa.string())
        self._attributes = pa.array([a.name for a in spec.attributes], pa.string())
        overtaking = -((spec.grace_s + spec.window_s) // -spec.interval_s)  # slots from a reading to its window's close
        self._late = np.zeros((overtaking, self.series), bool)
        """Whether the readings of the last slots are late; a ring."""

    def rows(self, first: int, end: int) -> _Rows:
        """The readings of the slots [first, end), slot by slot, meter by meter, with their defects."""
        spec, random = self._spec, self._random
        slots = end - first
        instants = spec.start + np.arange(first, end, dtype=np.int64) * spec.interval_s * 1000
        grains = self._grains(instants)
        count = slots * self.series
        ts = np.repeat(instants, self.series)
        series = np.tile(np.arange(self.series, dtype=np.int32), slots)
        defect = self._defects(ts)
        closing = self._keep_closing(defect, first)
        value = grains.ravel() / GRAIN
        if spec.glitch_rate:
            glitch = defect == Defect.GLITCH
            register = np.tile(np.array([a is Attribute.SUMMATION for a in spec.attributes]), slots * spec.meters)
            value = np.where(glitch, np.where(register, 0.0, value * 100), value)
        plain = np.where((defect == Defect.DUPLICATE) | (defect == Defect.REVISED), np.uint8(0), defect)
        zeros = np.zeros(count, np.uint16)
        rows = _Rows(ts + self._delay(defect), series, ts, value, zeros, plain)
        again = np.flatnonzero((defect == Defect.DUPLICATE) | (defect == Defect.REVISED))
        if len(again):
            rows = _Rows.concat([rows, self._second_copies(rows, again, defect[again])])
        if spec.gap_rate:  # a gap takes the reading with all its copies
            kept = (random.random(count, np.float32) >= spec.gap_rate) | closing
            rows = rows.take(np.concatenate([kept, kept[again]]))
        return rows

    def _second_copies(self, rows: _Rows, again: npt.NDArray[np.intp], defect: npt.NDArray[np.uint8]) -> _Rows:
        copies = rows.take(again)
        revised = defect == Defect.REVISED
        change = self._random.integers(1, GRAIN, len(again)) / GRAIN
        return _Rows(
            copies.ts + 1 + self._random.integers(0, max(1, self._spec.grace_s * 1000), len(again)),
            copies.series,
            copies.ts,
            np.where(revised, copies.value + change, copies.value),
            revised.astype(np.uint16),
            defect,
        )

    def _defects(self, ts: Column) -> npt.NDArray[np.uint8]:
        """One draw a reading. A reading too near the end to be overtaken by time is not made late."""
        bounds = np.cumsum([0.0, *self._spec._rates()])
        if bounds[-1] == 0:
            return np.zeros(len(ts), np.uint8)
        draw = self._random.random(len(ts))
        defect = np.searchsorted(bounds[1:], draw, "right").astype(np.uint8) + 1
        defect[draw >= bounds[-1]] = Defect.NONE
        end = self._spec.start + self._spec.slots * self._spec.interval_s * 1000
        defect[(defect == Defect.LATE) & (ts + 2 * self._latest() > end)] = Defect.NONE
        return defect

    def _keep_closing(self, defect: npt.NDArray[np.uint8], first: int) -> npt.NDArray[np.bool_]:
        """Which readings, from slot `first` on, close a late one's window: made to come in time, in `defect`."""
        closing = np.zeros(defect.shape, bool)
        if not self._spec.late_rate:
            return closing
        rows = zip(defect.reshape(-1, self.series), closing.reshape(-1, self.series), strict=True)
        for slot, (found, closes) in enumerate(rows, first):
            late = self._late[slot % len(self._late)]
            closes |= late
            found[closes & ((found == Defect.LATE) | (found == Defect.OUT_OF_ORDER))] = Defect.NONE
            late[:] = found == Defect.LATE
        return closing

    def _latest(self) -> int:
        """Milliseconds after which a reading's smallest window has closed, by the readings of its own time series."""
        spec = self._spec
        return (spec.grace_s + spec.window_s + spec.interval_s) * 1000

    def _delay(self, defect: npt.NDArray[np.uint8]) -> Column:
        """Milliseconds from a reading's time to its arrival."""
        delay = np.zeros(len(defect), np.int64)
        late, disordered = np.flatnonzero(defect == Defect.LATE), np.flatnonzero(defect == Defect.OUT_OF_ORDER)
        latest = self._latest()
        delay[late] = latest + self._random.integers(1, latest + 1, len(late))
        delay[disordered] = self._random.integers(1, max(2, self._spec.grace_s * 1000 + 1), len(disordered))
        return delay

    def _grains(self, instants: Column) -> npt.NDArray[np.int64]:
        """Values x GRAIN, shape (slots, meters, attributes)."""
        spec = self._spec
        quarters, at = np.unique(instants // QUARTER_MS, return_inverse=True)
        shape = np.array([[power_at(self._tables, kind, int(q)) for kind in _SHARES] for q in quarters])
        scatter = self._random.random((len(instants), spec.meters), np.float32) * 1.5 + 0.25
        power = shape[at][:, self._kind] * self._size * scatter  # kW
        grains = np.empty((len(instants), spec.meters, len(spec.attributes)), np.int64)
        for place, attribute in enumerate(spec.attributes):
            if attribute is Attribute.ACTIVE_POWER:
                grains[:, :, place] = np.rint(power * GRAIN)
            else:
                energy = np.rint(power * (1000 * spec.interval_s / 3600 * GRAIN)).astype(np.int64)  # Wh
                total = self._register + np.cumsum(energy, axis=0)
                grains[:, :, place] = total % self._wrap
                self._register = total[-1] % self._wrap
        return grains

    def batch(self, rows: _Rows) -> pa.RecordBatch:
        """The readings as Arrow columns."""
        count, kinds = len(rows), len(self._spec.attributes)
        one = pa.array(np.zeros(count, np.int32))
        place = rows.series % kinds if kinds > 1 else np.zeros(count, np.int32)
        return pa.record_batch(
            [
                pa.DictionaryArray.from_arrays(pa.array(rows.series // kinds), self._meters),
                pa.DictionaryArray.from_arrays(one, pa.array(["ELECTRICITY"], pa.string())),
                pa.DictionaryArray.from_arrays(pa.array(place.astype(np.int32)), self._attributes),
                pa.array(rows.ts),
                pa.array(rows.value),
                one,  # an instant
                pa.array(np.zeros(count, np.uint8)),
                pa.array(rows.revision),
                pa.array(rows.defect),
            ],
            names=GENERATED_SCHEMA.names,
        )
