"""What waits to be sent: of each key one at a time and in order, keys independently of one another."""

import heapq
from collections import deque
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Outbox(Generic[Item]):
    """Queues by key. The head of a queue is ready, under way, or waits for its time to be tried again."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Item]] = {}
        self._ready: deque[str] = deque()
        self._waiting: list[tuple[float, int, str]] = []
        self._number = count()
        self.held = 0
        """Items put and not yet done."""
        self.flying = 0
        """Of these, under way."""

    def put(self, key: str, item: Item) -> None:
        """Add behind all others of the key."""
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = deque((item,))
            self._ready.append(key)
        else:
            queue.append(item)
        self.held += 1

    def take(self, now: float, most: int) -> list[Item]:
        """Items to be sent now: as many as may be under way together, `most`, leave room for."""
        while self._waiting and self._waiting[0][0] <= now:
            self._ready.append(heapq.heappop(self._waiting)[2])
        taken: list[Item] = []
        while self._ready and self.flying < most:
            taken.append(self._queues[self._ready.popleft()][0])
            self.flying += 1
        return taken

    def done(self, key: str) -> None:
        """The head of the key is settled; the next one is ready."""
        self.flying -= 1
        self.held -= 1
        queue = self._queues[key]
        queue.popleft()
        if queue:
            self._ready.append(key)
        else:
            del self._queues[key]

    def again(self, key: str, at: float) -> None:
        """The head of the key is to be sent again, at `at` or later."""
        self.flying -= 1
        heapq.heappush(self._waiting, (at, next(self._number), key))
