"""What could not be taken as a reading: why, where it came from, and the untouched payload."""

from dataclasses import dataclass
from enum import StrEnum

Headers = list[tuple[str, bytes]]

DETAIL_CHARS = 1000
ROWS_BYTES = 16_384
"""Of the rows' list: the headers have to fit into what a dead letter may be larger than its payload."""


class Reason(StrEnum):
    """Why input was refused. Closed: each member is counted and drawn on the dashboard."""

    EMPTY = "empty"  # no value at all
    MALFORMED = "malformed"  # neither JSON nor an Arrow stream, or cut short
    UNKNOWN_FORMAT = "unknown-format"  # a format the pipeline does not accept
    UNKNOWN_SCHEMA = "unknown-schema"  # Avro of a schema that the registry does not have
    MISSING_FIELD = "missing-field"
    WRONG_TYPE = "wrong-type"
    OUT_OF_RANGE = "out-of-range"  # a number no column holds: infinite, a quality of 300, the year 10 000
    NO_ZONE = "no-zone"  # a local time, and the pipeline has no readings.timezone
    TOO_FAR_AHEAD = "too-far-ahead"  # later than its Kafka record by more than readings.maxAhead
    WRONG_PARTITION = "wrong-partition"  # its key belongs in another partition
    NOT_PERMITTED = "not-permitted"  # who sent it may not send readings of that meter
    WEBHOOK_REFUSED = "webhook-refused"  # an alarm that the webhook would not take


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
        ("detail", reject.detail[:DETAIL_CHARS].encode(errors="replace")),
        ("topic", origin.topic.encode()),
        ("partition", str(origin.partition).encode()),
        ("offset", str(origin.offset).encode()),
        ("count", str(reject.count).encode()),
    ]
    if reject.rows and len(rows := _ranges(reject.rows).encode()) <= ROWS_BYTES:
        headers.append(("rows", rows))
    return headers


def _ranges(rows: tuple[int, ...]) -> str:
    """Ascending `rows` in short: `0-3,7,9-10`."""
    found: list[list[int]] = []
    for row in rows:
        if found and row == found[-1][1] + 1:
            found[-1][1] = row
        else:
            found.append([row, row])
    return ",".join(f"{first}-{last}" if first != last else f"{first}" for first, last in found)
