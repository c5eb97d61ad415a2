"""Work is done once per key, never twice at a time, and again after a failure."""

import asyncio

import pytest
from meterpipe_operator.queue import FIRST_RETRY, LONGEST_RETRY, WorkQueue


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def run(story):
    """Run `story(queue, clock)` in an event loop of its own."""

    async def scene():
        clock = Clock()
        await story(WorkQueue(clock), clock)

    asyncio.run(scene())


async def taken(queue):
    """The key that is due now, None if none is."""
    try:
        return await asyncio.wait_for(queue.take(), 0.001)
    except TimeoutError:
        return None


def test_a_key_added_many_times_is_worked_on_once():
    async def story(queue, clock):
        for _ in range(5):
            queue.add("a")
        assert await taken(queue) == "a"
        queue.done("a")
        assert await taken(queue) is None

    run(story)


def test_a_key_added_while_it_is_worked_on_comes_again_afterwards():
    async def story(queue, clock):
        queue.add("a")
        assert await taken(queue) == "a"
        queue.add("a")
        assert await taken(queue) is None
        queue.done("a")
        assert await taken(queue) == "a"

    run(story)


def test_a_delayed_key_waits_and_a_shorter_delay_wins():
    async def story(queue, clock):
        queue.add("a", 10)
        queue.add("a", 2)
        queue.add("a", 5)
        clock.now = 1
        assert await taken(queue) is None
        clock.now = 2
        assert await taken(queue) == "a"
        queue.done("a")
        clock.now = 20
        assert await taken(queue) is None

    run(story)


def test_failures_come_again_ever_later_and_a_success_forgets_them():
    async def story(queue, clock):
        queue.add("a")
        for failures in range(10):
            assert await taken(queue) == "a"
            queue.done("a", failed=True)
            wait = min(FIRST_RETRY * 2**failures, LONGEST_RETRY)
            clock.now += wait - 0.01
            assert await taken(queue) is None
            clock.now += 0.02
        assert await taken(queue) == "a"
        queue.done("a")
        assert len(queue) == 0
        queue.add("a")
        await taken(queue)
        queue.done("a", failed=True)
        clock.now += FIRST_RETRY
        assert await taken(queue) == "a"

    run(story)


def test_a_waiting_worker_is_woken_by_a_new_key():
    async def story(queue, clock):
        waiting = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        queue.add("a")
        assert await asyncio.wait_for(waiting, 5) == "a"

    run(story)


@pytest.mark.parametrize("workers", [1, 3])
def test_several_workers_never_hold_the_same_key(workers):
    async def story(queue, clock):
        held, most = set(), 0

        async def work():
            nonlocal most
            while True:
                key = await queue.take()
                assert key not in held
                held.add(key)
                most = max(most, len(held))
                await asyncio.sleep(0)
                queue.add(key, 1000) if key % 2 else None
                held.remove(key)
                queue.done(key)

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        for _ in range(20):
            for key in range(4):
                queue.add(key)
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        assert most <= workers

    run(story)
