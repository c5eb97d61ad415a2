"""The state of a worker that remembers nothing but where it is. Pure."""

from collections.abc import Iterable

from meterpipe.core.changelog import Record


class Position:
    """Where a partition goes on. It has no changelog: the committed offset says all."""

    def __init__(self, topic_id: str, next_offset: int = 0) -> None:
        self.topic_id, self.next_offset = topic_id, next_offset
        self.changed = False

    def restore(self, records: Iterable[tuple[str, bytes | None]]) -> bool:
        """There is nothing to restore."""
        return False

    def records(self, snapshot_due: bool) -> list[Record]:
        """There is nothing to write."""
        return []
