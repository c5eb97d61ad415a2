"""The exactly-once protocol of the lake, as decisions. Pure: what was read of the table and the topic comes in.

Every partition is an *application* of the Delta table, and its version is the offset of the next message to archive.
Data and versions change in one commit of the table, so the table itself says where to go on, whatever crashed. A writer
commits through a handle of the table that is older than its check of the versions: the table refuses the commit if any
of them has changed since, so a writer that was paused, or believes it still owns a partition, cannot add anything.
"""

from dataclasses import dataclass
from enum import Enum


def app_id(cluster: str, topic: str, partition: int) -> str:
    """The Delta application of one partition. `topic` is the topic's UUID: a recreated topic is another one."""
    return f"{cluster}/{topic}/{partition}"


@dataclass(frozen=True, slots=True)
class Span:
    """Messages of one partition from `first` up to, not including, `next`. No `first`: nothing was archived before."""

    first: int | None
    next: int


class Verdict(Enum):
    """What is to become of a span that is ready to be committed."""

    WRITE = "write"  # the table stands where the span begins
    WRITTEN = "written"  # the table stands where the span ends: an earlier attempt arrived after all
    MOVED = "moved"  # someone else archives this partition: drop what is held and ask the table where to go on


def judge(span: Span, version: int | None) -> Verdict:
    """Compare a span with the table's version of its partition."""
    if version == span.first:
        return Verdict.WRITE
    if version == span.next:
        return Verdict.WRITTEN
    return Verdict.MOVED


@dataclass(frozen=True, slots=True)
class Start:
    """Read on at `offset`; the table's version stays `version` until the first commit."""

    offset: int
    version: int | None


class Condition(Enum):
    """Why a partition cannot be archived without a decision of its operator."""

    OFFSETS_EXPIRED = "OffsetsExpired"
    OFFSETS_AHEAD = "OffsetsAhead"


@dataclass(frozen=True, slots=True)
class Gap:
    """The lake and the log do not meet: messages of [`expected`, `found`), or [`found`, `expected`), are gone."""

    condition: Condition
    expected: int
    found: int

    @property
    def lost(self) -> int:
        """Number of offsets that are gone (some may have held no readings)."""
        return abs(self.found - self.expected)

    def __str__(self) -> str:
        if self.condition is Condition.OFFSETS_EXPIRED:
            return (
                f"{self.condition.value}: the lake ends before offset {self.expected}, but the log now begins at "
                f"{self.found}: {self.lost} offsets were deleted before they were archived"
            )
        return (
            f"{self.condition.value}: the lake holds everything before offset {self.expected}, but the log ends at "
            f"{self.found}: the log lost {self.lost} offsets and now gives their numbers to other messages"
        )


def resume(version: int | None, low: int, high: int) -> Start | Gap:
    """Where to read a partition whose log is [`low`, `high`) and whose table version is `version`.

    A partition never archived starts at the log's begin: what expired before was never ours to keep.
    """
    if version is None:
        return Start(low, None)
    if version < low:
        return Gap(Condition.OFFSETS_EXPIRED, version, low)
    if version > high:
        return Gap(Condition.OFFSETS_AHEAD, version, high)
    return Start(version, version)
