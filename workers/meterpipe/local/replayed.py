"""Which real readings a data directory holds already, so that a second demo sends only what is missing. Pure but for
two small functions that read and write the note.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from meterpipe.local.errors import LocalError

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Replayed:
    """Days `since` to `until` (UTC ms, exclusive) of so many households have been sent, whole days only."""

    households: int
    since: int
    until: int

    def reaches(self, until: int) -> "Replayed":
        """The same with days up to `until`."""
        return Replayed(self.households, self.since, until)


def left_to_send(before: Replayed | None, wanted: Replayed) -> Replayed:
    """The days of `wanted` that were not sent `before`; none if `since` equals `until`.

    Raises LocalError where they cannot be added: earlier days, or more households on days whose windows have closed,
    would be late readings.
    """
    if before is None:
        return wanted
    if wanted.households != before.households:
        raise LocalError(
            f"this directory holds {before.households} households, you ask for {wanted.households}: "
            "more readings of days whose windows have closed would all be late",
            f"use --households {before.households}, another --dir, or `meterpipe clean` first",
        )
    return Replayed(wanted.households, before.until, max(before.until, wanted.until))


def load(path: Path) -> Replayed | None:
    """The note, if there is one."""
    return Replayed(**json.loads(path.read_text())) if path.exists() else None


def save(path: Path, replayed: Replayed) -> None:
    """Write the note, whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(replayed)))
    draft.replace(path)
