"""What could not be taken as a reading: why, where it came from, and the untouched payload."""

from dataclasses import dataclass
from enum import StrEnum

Headers = list[tuple[str, bytes]]


class Reason(StrEnum):
    """Why input was refused. Closed: each member is counted and drawn on the dashboard."""

    EMPTY = "empty"  # no value at all
    MALFORMED = "malformed"  # neither JSON nor an Arrow stream, or cut short
    UNKNOWN_FORMAT = "unknown-format"  # a format the pipeline does not accept
    MISSING_FIELD = "missing-field"
    WRONG_TYPE = "wrong-type"
    OUT_OF_RANGE = "out-of-range"  # a number no column holds: infinite, a quality of 300, the year 10 000
    NO_ZONE = "no-zone"  # a local time, and the pipeline has no readings.timezone
    TOO_FAR_AHEAD = "too-far-ahead"  # later than its Kafka record by more than readings.maxAhead
    WRONG_PARTITION = "wrong-partition"  # its key belongs in another partition


@dataclass(frozen=True, slots=True)
class Reject:
    """A message, or some of its rows, that is no reading. `message` is its index in the batch; no rows: all of it."""

    message: int
    reason: Reason
    detail: str
    rows: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """Readings refused; a message that can't be read counts as one."""
        return max(1, len(self.rows))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record was read: enough to find and replay it."""

    topic: str
    partition: int
    offset: int


def headers_of(reject: Reject, origin: Origin) -> Headers:
    """The headers of a dead letter. Its value is the untouched payload, its key the original key."""
    headers = [
        ("reason", reject.reason.value.encode()),
        ("detail", reject.detail.encode()),
        ("topic", origin.topic.encode()),
        ("partition", str(origin.partition).encode()),
        ("offset", str(origin.offset).encode()),
        ("count", str(reject.count).encode()),
    ]
    if reject.rows:
        headers.append(("rows", ",".join(map(str, reject.rows)).encode()))
    return headers
