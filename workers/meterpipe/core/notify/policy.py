"""What an answer of the webhook means, and when a request is tried again. Pure: time and chance are handed in."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

FIRST_S, LONGEST_S = 0.5, 60.0
LONGEST_WAIT_S = 3600.0
"""Of what a receiver may ask for by Retry-After."""
AGAIN = frozenset({408, 429})
EVERYBODY = frozenset({429, 503})
"""Answers whose Retry-After speaks of the receiver, not of the one request."""


class Verdict(Enum):
    """What becomes of a request."""

    TAKEN = "taken"
    AGAIN = "again"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `status` None: nothing, for the reason in `detail`. `wait`: seconds of a Retry-After."""

    status: int | None
    detail: str
    wait: float | None = None
    seconds: float = 0.0
    """How long it took."""

    @property
    def verdict(self) -> Verdict:
        """Network errors, 5xx, 408 and 429 may pass; all else that is not 2xx will not, redirects included."""
        if self.status is None or self.status >= 500 or self.status in AGAIN:
            return Verdict.AGAIN
        return Verdict.TAKEN if 200 <= self.status < 300 else Verdict.REFUSED


def backoff(attempt: int, chance: float) -> float:
    """Seconds to wait after failed attempt number 1, 2, …: doubling, of which half is left to `chance` in [0, 1)."""
    whole = min(LONGEST_S, FIRST_S * 2.0 ** min(attempt - 1, 30))
    return whole * (0.5 + 0.5 * chance)


def retry_after(text: str | None, now: float) -> float | None:
    """Seconds of a Retry-After header, given as seconds or as a date; None if there is none that makes sense."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_WAIT_S)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    wait = (moment - datetime.fromtimestamp(now, UTC)).total_seconds()
    return min(max(0.0, wait), LONGEST_WAIT_S)


class Pace:
    """How many requests may be under way, and since when. A receiver that struggles is left room, a dead one is asked
    by one request at a time, at growing intervals; what fails beside others that succeed slows nobody down for long.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.allowed = most
        self.until = 0.0
        """Nothing is sent before."""
        self._failures = 0  # in a row; those under way at the same time count as one
        self._since = 0.0

    def taken(self) -> None:
        """A request was answered well."""
        self._failures = 0
        self.allowed = min(self._most, self.allowed + 1)

    def failed(self, started: float, now: float, chance: float) -> None:
        """A request that was sent at `started` was answered badly, or not at all."""
        if started < self._since:
            return
        self._since = now
        self._failures += 1
        self.allowed = max(1, self.allowed // 2)
        if self._failures > 1:
            self.until = max(self.until, now + backoff(self._failures - 1, chance))

    def told(self, until: float) -> None:
        """The receiver itself says when it wants to be asked again."""
        self.until = max(self.until, until)
