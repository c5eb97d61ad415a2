"""Work to be done per key, each key once, never twice at a time. A key says where to look, not what happened."""

import asyncio
import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")

FIRST_RETRY = 1.0
LONGEST_RETRY = 60.0


class WorkQueue(Generic[K]):
    """Keys that are due, with delays and growing retries. For one event loop.

    A key that is added while it is being worked on comes again afterwards; one that waits comes at the earliest time
    asked for.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._working: set[K] = set()
        self._again: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._count = 0
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._due) + len(self._working)

    def add(self, key: K, delay: float = 0.0) -> None:
        """Have `key` worked on in `delay` seconds, or sooner if it is due sooner."""
        at = self._now() + delay
        if key in self._working:
            self._again[key] = min(at, self._again.get(key, at))
        elif key not in self._due or at < self._due[key]:
            self._due[key] = at
            self._count += 1
            heapq.heappush(self._heap, (at, self._count, key))
            self._changed.set()

    async def take(self) -> K:
        """Wait for a key that is due. It must be given back with `done`."""
        while True:
            key = self._pop()
            if key is not None:
                return key
            self._changed.clear()
            timeout = self._heap[0][0] - self._now() if self._heap else None
            try:
                await asyncio.wait_for(self._changed.wait(), timeout)
            except TimeoutError:
                continue

    def done(self, key: K, failed: bool = False) -> None:
        """End the work on `key`; if it failed, it comes again after a time that doubles with each failure."""
        self._working.discard(key)
        if failed:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            self.add(key, min(FIRST_RETRY * 2**failures, LONGEST_RETRY))
        else:
            self._failures.pop(key, None)
        if key in self._again:
            self.add(key, max(0.0, self._again.pop(key) - self._now()))

    def forget(self, key: K) -> None:
        """Drop what is remembered of a key that no longer exists."""
        self._failures.pop(key, None)

    def _pop(self) -> K | None:
        while self._heap and self._heap[0][0] <= self._now():
            at, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == at:
                del self._due[key]
                self._working.add(key)
                return key
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return None
