"""What the operator answers at its port: /live, /ready, /metrics."""

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from meterpipe_operator.measures import CONTENT_TYPE, Measures

STALE = 30.0  # seconds that the event loop may be stuck for
BEAT = 1.0


class Pulse:
    """Whether the event loop moves."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    async def beat(self) -> None:
        """For ever."""
        while True:
            self._last = time.monotonic()
            await asyncio.sleep(BEAT)

    @property
    def age(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self._last


async def listen(port: int, pulse: Pulse, ready: Callable[[], bool], measures: Measures) -> web.AppRunner:
    """Answer at `port` of all addresses. OSError if that cannot be had."""

    async def live(_: web.Request) -> web.Response:
        status = 200 if pulse.age < STALE else 503
        return web.Response(text=f"last beat {pulse.age:.1f} s ago\n", status=status)

    async def is_ready(_: web.Request) -> web.Response:
        return web.Response(text="ready\n") if ready() else web.Response(text="not ready\n", status=503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=measures.exposition(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.add_routes([web.get("/live", live), web.get("/ready", is_ready), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, None, port).start()
    return runner
