"""Thresholds: what a value must not go under or over, per meter, metric and attribute; as records and a table. Pure.

A record's key is the JSON array [meter, metric, attribute], "*" standing for any; its value is the threshold, none
(a tombstone) takes it away. Of the thresholds that fit a channel the most specific counts, as a whole: one that names
the meter before one that does not, then one that names the metric, then one that names the attribute.
"""

import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from meterpipe.core.murmur2 import partition_of
from meterpipe.core.readings import Key
from meterpipe.spec.models import KeyRule, Spec

ANY = "*"
LONGEST_SECONDS = 366 * 86_400
NO_THRESHOLD = -1
"""The offset of a threshold that is not there."""

_encode = msgspec.json.Encoder().encode


class BadThresholdError(ValueError):
    """A threshold or its key makes no sense. The text names field, value and what is wrong."""


class Threshold(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """Bounds of a value. What is None is taken from the pipeline (`spec.alarms.thresholds`), bounds excepted."""

    lower: float | None = None
    """UNDER is raised below."""
    upper: float | None = None
    """OVER is raised above."""
    hysteresis: float | None = None
    """How far back inside a bound a value must be to clear the alarm."""
    min_duration: float | None = None
    """Seconds of event time a value must be outside before the alarm is raised."""


def check_threshold(threshold: Threshold) -> Threshold:
    """The threshold itself. Raises BadThresholdError."""
    fields = {name: getattr(threshold, name) for name in threshold.__struct_fields__}
    for name, value in fields.items():
        if value is not None and not math.isfinite(value):
            raise BadThresholdError(f"{name}: {value} is no number")
    lower, upper = threshold.lower, threshold.upper
    if lower is None and upper is None:
        raise BadThresholdError("neither lower nor upper is given: give one of them, or both")
    if lower is not None and upper is not None and lower > upper:
        raise BadThresholdError(f"lower: {lower:g} is above upper ({upper:g})")
    if (threshold.hysteresis or 0) < 0:
        raise BadThresholdError(f"hysteresis: {threshold.hysteresis:g} is negative")
    if not 0 <= (threshold.min_duration or 0) <= LONGEST_SECONDS:
        raise BadThresholdError(f"minDuration: {threshold.min_duration:g} is not between 0 and {LONGEST_SECONDS} s")
    return threshold


def encode_threshold(threshold: Threshold) -> bytes:
    """The value of its record. Raises BadThresholdError."""
    return _encode(check_threshold(threshold))


def decode_threshold(value: bytes) -> Threshold:
    """What a record's value says. Raises BadThresholdError."""
    try:
        return check_threshold(msgspec.json.decode(value, type=Threshold))
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise BadThresholdError(str(problem)) from problem


def encode_threshold_key(key: Key) -> bytes:
    """The key of its record. Raises BadThresholdError."""
    for name, word in zip(("meter", "metric", "attribute"), key, strict=True):
        if not word:
            raise BadThresholdError(f"{name}: is empty; give a name, or {ANY!r} for any")
    try:
        return _encode(key)
    except UnicodeEncodeError as problem:
        raise BadThresholdError(f"{key!r} is no valid text") from problem


def decode_threshold_key(key: bytes | None) -> Key:
    """What a record's key says. Raises BadThresholdError."""
    try:
        found = msgspec.json.decode(key or b"", type=tuple[str, str, str])
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise BadThresholdError(f"the key is not [meter, metric, attribute]: {problem}") from problem
    encode_threshold_key(found)
    return found


def partitions_of(key: Key, rule: KeyRule, partitions: int) -> range:
    """Where the readings are that the threshold of `key` is for, and so where its record belongs."""
    if rule is KeyRule.METER and key[0] != ANY:
        home = partition_of(key[0].encode(), partitions)
    elif rule is KeyRule.CHANNEL and ANY not in key:
        home = partition_of("/".join(key).encode(), partitions)
    else:
        return range(partitions)
    return range(home, home + 1)


def rule_of(spec: Spec) -> KeyRule:
    """The rule by which thresholds are placed: that of the readings that are counted.

    The validation puts the consumption it makes of a register where the register is. Where keys are channels, nobody
    else can tell which partition that is, and thresholds go to all.
    """
    if spec.readings.key is KeyRule.CHANNEL and spec.validation.enabled:
        return KeyRule.TRUSTED
    return spec.readings.key


EXACT = 7
Change = tuple[Key, Threshold | None, int]
"""What a record says, and its offset."""


def _mask(key: Key) -> int:
    """How specific: the greater, the more."""
    return 4 * (key[0] != ANY) + 2 * (key[1] != ANY) + (key[2] != ANY)


def _pattern(key: Key, mask: int) -> Key:
    return (key[0] if mask & 4 else ANY, key[1] if mask & 2 else ANY, key[2] if mask & 1 else ANY)


class ThresholdTable:
    """The thresholds of one partition in columns: about 200 bytes each, the name included."""

    def __init__(self, hysteresis: float = 0.0, min_duration: float = 0.0) -> None:
        """What thresholds have that say nothing of it; `min_duration` in seconds."""
        self._defaults = hysteresis, min_duration
        self._rows: dict[bytes, int] = {}  # encoded key: one object of bytes is half the size of a tuple of texts
        self._free: list[int] = []
        self._of_mask = [0] * 8
        self.numbers = np.array([[-math.inf, math.inf, 0.0, 0.0]])  # lower, upper, hysteresis, hold in ms
        self.offset = np.array([NO_THRESHOLD])  # row 0 stands for no threshold

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, key: Key, threshold: Threshold | None, offset: int) -> None:
        """Take in a record: a threshold, or None to take it away. Raises BadThresholdError for a bad key."""
        name, mask = encode_threshold_key(key), _mask(key)
        row = self._rows.get(name)
        if threshold is None:
            if row is not None:
                del self._rows[name]
                self._of_mask[mask] -= 1
                self._free.append(row)
            return
        if row is None:
            row = self._rows[name] = self._free.pop() if self._free else len(self._rows) + 1
            self._of_mask[mask] += 1
            if row >= len(self.offset):
                self._grow(row + 1)
        hysteresis, seconds = self._defaults
        self.numbers[row] = (
            -math.inf if threshold.lower is None else threshold.lower,
            math.inf if threshold.upper is None else threshold.upper,
            hysteresis if threshold.hysteresis is None else threshold.hysteresis,
            1000 * (seconds if threshold.min_duration is None else threshold.min_duration),
        )
        self.offset[row] = offset

    def _grow(self, size: int) -> None:
        more = max(1024, size // 4)
        self.numbers = np.concatenate([self.numbers, np.empty((more, 4))])
        self.offset = np.append(self.offset, np.full(more, NO_THRESHOLD, np.int64))

    def row_of(self, key: Key) -> int:
        """The row of the threshold that counts for a channel, 0 if none does."""
        for mask in range(EXACT, -1, -1):
            if self._of_mask[mask]:
                row = self._rows.get(_encode(_pattern(key, mask)))
                if row is not None:
                    return row
        return 0

    def __iter__(self) -> Iterator[Key]:
        for name in self._rows:
            yield msgspec.json.decode(name, type=tuple[str, str, str])


class Limits:
    """What counts for each key of a table of keys: looked up by name when the key or a threshold is new, then by id."""

    def __init__(self, table: ThresholdTable) -> None:
        self.table = table
        self.lower = np.empty(0)
        self.upper = np.empty(0)
        self.hysteresis = np.empty(0)
        self.hold_ms = np.empty(0, np.int64)
        self.offset = np.empty(0, np.int64)  # of the record, NO_THRESHOLD: none

    def learn(self, keys: dict[Key, int]) -> None:
        """Look up the keys that are new; ids of `keys` are dense, in order."""
        known = len(self.offset)
        if len(keys) > known:
            new = list(keys)[known:]
            self._resize(len(keys))
            self._look_up(new, np.arange(known, len(keys)))

    def put(self, changes: Sequence[Change], keys: dict[Key, int]) -> None:
        """Take in records, in order; the channels that they concern go by them from now on."""
        by_mask: dict[int, set[Key]] = {}
        for key, threshold, offset in changes:
            self.table.put(key, threshold, offset)
            by_mask.setdefault(_mask(key), set()).add(key)
        concerned: dict[int, Key] = {}
        for mask, patterns in by_mask.items() if len(self.offset) else ():
            if mask == EXACT:
                concerned |= {keys[key]: key for key in patterns if key in keys}
            else:
                concerned |= {at: key for key, at in keys.items() if _pattern(key, mask) in patterns}
        chosen = [(at, key) for at, key in concerned.items() if at < len(self.offset)]  # the others are looked up later
        self._look_up([key for _, key in chosen], np.array([at for at, _ in chosen], np.int64))

    def _resize(self, size: int) -> None:
        more = size - len(self.offset)
        self.lower = np.append(self.lower, np.full(more, -np.inf))
        self.upper = np.append(self.upper, np.full(more, np.inf))
        self.hysteresis = np.append(self.hysteresis, np.zeros(more))
        self.hold_ms = np.append(self.hold_ms, np.zeros(more, np.int64))
        self.offset = np.append(self.offset, np.full(more, NO_THRESHOLD))

    def _look_up(self, chosen: list[Key], ids: npt.NDArray[np.int64]) -> None:
        rows = np.fromiter(map(self.table.row_of, chosen), np.int64, len(chosen))
        self.lower[ids], self.upper[ids], self.hysteresis[ids], hold = self.table.numbers[rows].T
        self.hold_ms[ids], self.offset[ids] = hold.astype(np.int64), self.table.offset[rows]
