"""Times as a user writes them."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXAMPLES = "2024-01-31, 2024-01-31T12:00:00Z or epoch milliseconds"


def parse_time(text: str) -> datetime:
    """A date (its first moment), a time, or epoch milliseconds; naive if it has no zone. Raises ValueError.

    Eight digits are a date (20240131), more are milliseconds.
    """
    if text.lstrip("-").isdigit() and len(text) > len("20240131"):
        try:
            return EPOCH + timedelta(milliseconds=int(text))
        except OverflowError as error:
            raise ValueError(f"{text} is outside the calendar") from error
    return datetime.fromisoformat(text)


def shown(instant: int | None) -> str | None:
    """UTC ms as RFC 3339."""
    if instant is None:
        return None
    stamp = EPOCH + timedelta(milliseconds=instant)
    return stamp.isoformat(timespec="milliseconds" if instant % 1000 else "seconds").replace("+00:00", "Z")
