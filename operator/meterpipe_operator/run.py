"""The operator as a process: puts the parts together, runs them until it is told to stop or one of them fails."""

import asyncio
import logging
import signal
import time
from collections.abc import Collection, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from meterpipe_operator.api import Access, Api, ApiError
from meterpipe_operator.autoscale.loop import Autoscaler
from meterpipe_operator.cache import Cache
from meterpipe_operator.controller import DISCOVERY, Controller, Scope
from meterpipe_operator.facts import Settings
from meterpipe_operator.handlers import watch
from meterpipe_operator.kinds import KINDS, METER_PIPELINE, Kind
from meterpipe_operator.measures import Measures
from meterpipe_operator.reconcile import Reconciler
from meterpipe_operator.serve import Pulse, listen
from meterpipe_operator.webhook import Endpoint

log = logging.getLogger("meterpipe.operator")

SETTLE = 10.0  # seconds after which what changed while the streams began is listed once more
GRACE = 5.0  # seconds that what is under way has to end


@dataclass(frozen=True, slots=True)
class Options:
    """All that an operator is told. `port` 0: no health and metrics."""

    settings: Settings
    scope: Scope
    port: int = 8080
    webhook: Endpoint | None = None


@dataclass(slots=True)
class Operator:
    """The parts of a running operator."""

    options: Options
    access: Access
    controller: Controller
    autoscaler: Autoscaler
    measures: Measures
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    pulse: Pulse = field(default_factory=Pulse)
    _streams: list[asyncio.Task[None]] = field(default_factory=list)
    _watched: set[Kind] = field(default_factory=set)

    async def run(self) -> None:
        """Until SIGTERM, SIGINT or a failure, which is raised."""
        tasks = [self._task(self.pulse.beat()), self._task(self.stop.wait())]
        server = await self._listen()
        try:
            await self.controller.discover()
            await self.controller.prime()
            tasks += map(self._task, (self.controller.work(), self.controller.resync(), self.autoscaler.run()))
            tasks += map(self._task, (self._settle(), self._discover()))
            self._watch(self.controller.kinds)
            self._signals()
            log.info("looking after %s", ", ".join(self.options.scope.namespaces) or "all namespaces")
            done, _ = await asyncio.wait([*tasks, *self._streams], return_when=asyncio.FIRST_COMPLETED)
            self.stop.set()
            for task in done:
                task.result()
        finally:
            await self._end(tasks)
            if server is not None:
                await server.cleanup()

    def _watch(self, kinds: Collection[Kind]) -> None:
        """Watch kinds that are not watched yet, each where it is to be found."""
        new = [kind for kind in KINDS if kind in kinds and kind not in self._watched]
        self._watched.update(new)
        scope, notice = self.options.scope, self.controller.notice
        endpoint = self.options.webhook if METER_PIPELINE in new else None
        if new:
            self._streams.append(self._task(watch(new, scope.namespaces, self.access, notice, self.stop, endpoint)))
        further = [one for one in scope.dependencies if scope.namespaces and one not in scope.namespaces]
        external = [kind for kind in new if kind.external]
        if further and external:
            self._streams.append(self._task(watch(external, further, self.access, notice, self.stop)))

    async def _settle(self) -> None:
        """What went between the first list and the first word of a stream was told by neither."""
        await asyncio.sleep(SETTLE)
        with suppress(ApiError):
            await self.controller.prime()
        await asyncio.Event().wait()

    async def _discover(self) -> None:
        """Other products may be installed at any time."""
        while True:
            await asyncio.sleep(DISCOVERY)
            try:
                new = await self.controller.discover()
                if new:
                    log.info("found %s", ", ".join(sorted(kind.plural for kind in new)))
                    await self.controller.prime(new)
                    self._watch(new & self.controller.kinds)
            except ApiError as error:
                log.warning("%s", error)

    async def _listen(self) -> Any:
        if not self.options.port:
            return None
        return await listen(self.options.port, self.pulse, self._ready, self.measures)

    def _ready(self) -> bool:
        webhook = self.options.webhook
        return self.controller.primed and (webhook is None or webhook.serving.is_set())

    def _signals(self) -> None:
        """After kopf has begun: it would stop one of several streams, each for itself."""
        loop = asyncio.get_running_loop()

        def take() -> None:
            for one in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(one, self.stop.set)

        take()
        loop.call_later(1.0, take)

    async def _end(self, tasks: Collection["asyncio.Task[Any]"]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._streams:
            _, hung = await asyncio.wait(self._streams, timeout=GRACE)
            for task in hung:
                task.cancel()
            await asyncio.gather(*hung, return_exceptions=True)
        await self.autoscaler.scraper.close()
        self.controller.api.close()

    @staticmethod
    def _task(work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        return asyncio.create_task(work)


def operator(options: Options, access: Access) -> Operator:
    """The parts, put together. Within a running event loop."""
    api, cache, measures = Api(access), Cache(), Measures()
    built_in = frozenset(kind for kind in KINDS if not kind.optional)
    reconciler = Reconciler(api, cache, options.settings, built_in)
    controller = Controller(api, options.scope, reconciler, measures, cache)
    autoscaler = Autoscaler(api, cache, reconciler, controller.queue.add, time.monotonic)
    measures.gauge("queue", "Pipelines waiting or in work", lambda: len(controller.queue))
    measures.gauge("pipelines", "MeterPipelines there are", lambda: sum(1 for _ in cache.all(METER_PIPELINE)))
    measures.gauge("writes", "Writes to the API server since the start", lambda: api.writes)
    return Operator(options, access, controller, autoscaler, measures)


async def run(options: Options, access: Access) -> None:
    """Run an operator until it is told to stop."""
    await operator(options, access).run()
