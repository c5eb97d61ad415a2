"""Which offsets may be committed: those of records that are settled, and all before them too."""

from collections import deque
from dataclasses import dataclass, field

Place = tuple[str, int]
"""topic, partition"""


@dataclass(slots=True)
class _Partition:
    open: deque[int] = field(default_factory=deque)  # ascending
    settled: set[int] = field(default_factory=set)
    next: int | None = None


class Ledger:
    """Of records taken in order and settled in any order."""

    def __init__(self) -> None:
        self._places: dict[Place, _Partition] = {}
        self._moved: set[Place] = set()

    def took(self, place: Place, offset: int) -> None:
        """A record has been read. Offsets of a place ascend."""
        self._places.setdefault(place, _Partition()).open.append(offset)

    def settled(self, place: Place, offset: int) -> None:
        """What the record is for has been done."""
        found = self._places[place]
        found.settled.add(offset)
        while found.open and found.open[0] in found.settled:
            first = found.open.popleft()
            found.settled.discard(first)
            found.next = first + 1
            self._moved.add(place)

    def passed(self, place: Place, end: int) -> None:
        """All before offset `end` has been read; what was no record, e.g. the mark of a transaction, needs nothing."""
        found = self._places.setdefault(place, _Partition())
        last = found.open[-1] if found.open else (found.next or 0) - 1
        if end - 1 > last:
            self.took(place, end - 1)
            self.settled(place, end - 1)

    def due(self) -> dict[Place, int]:
        """Offsets to commit that have not been given before."""
        moved, self._moved = self._moved, set()
        return {place: at for place in moved if (at := self._places[place].next) is not None}
