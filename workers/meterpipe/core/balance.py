"""Where every reading of a partition went. Kept in the committed state, so it survives crashes as the windows do."""

import msgspec


class Balance(msgspec.Struct, frozen=True, rename="camel"):
    """Counts of readings since the pipeline began; a message that can't be read counts as one in dead_letters.

    raw = windows + duplicates + superseded + late + dead_letters + open, always.
    """

    raw: int = 0
    windows: int = 0
    duplicates: int = 0
    superseded: int = 0
    late: int = 0
    dead_letters: int = 0
    open: int = 0

    def __add__(self, other: "Balance") -> "Balance":
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Balance(*(a + b for a, b in pairs))

    @property
    def missing(self) -> int:
        """Readings unaccounted for: 0, or something is wrong."""
        found = self.windows + self.duplicates + self.superseded + self.late + self.dead_letters + self.open
        return self.raw - found
