"""The operator between its sources and its work: events and resyncs fill the cache and the queue, workers empty it."""

import asyncio
import logging
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from meterpipe_operator.api import Api, ApiError, Forbidden, NotFound
from meterpipe_operator.cache import Cache
from meterpipe_operator.kinds import KINDS, METER_PIPELINE, Kind, Manifest, Ref, ref_of
from meterpipe_operator.measures import Measures
from meterpipe_operator.observe import Dependents, Key, concerned, matters
from meterpipe_operator.queue import WorkQueue
from meterpipe_operator.reconcile import Reconciler

log = logging.getLogger("meterpipe.operator")

WORKERS = 8  # pipelines reconciled side by side
SOON = 0.1  # seconds that events are gathered for
RESYNC = 600.0  # seconds between complete lists of everything
DISCOVERY = 60.0  # seconds between looks for kinds of other products


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to look. `namespaces`: of pipelines, empty: all there are. `dependencies`: further ones, of Kafka."""

    namespaces: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()

    def places(self, kind: Kind) -> tuple[str | None, ...]:
        """The namespaces in which objects of a kind are looked for; None is all of them."""
        if not self.namespaces:
            return (None,)
        further = self.dependencies if kind.external else ()
        return tuple(dict.fromkeys((*self.namespaces, *further)))


@dataclass(slots=True)
class Controller:
    """Keeps the cache true and the pipelines reconciled."""

    api: Api
    scope: Scope
    reconciler: Reconciler
    measures: Measures
    cache: Cache
    queue: WorkQueue[Key] = field(default_factory=lambda: WorkQueue(time.monotonic))
    dependents: Dependents = field(default_factory=Dependents)
    primed: bool = False
    _denied: frozenset[Kind] = frozenset()

    @property
    def kinds(self) -> frozenset[Kind]:
        """Kinds that the cluster has and the operator may see."""
        return self.reconciler.kinds

    def notice(self, manifest: Manifest, gone: bool) -> None:
        """An object has changed, or has gone."""
        before = self.cache.get(ref_of(manifest))
        news = self.cache.drop(manifest) if gone else self.cache.put(manifest)
        if news and (gone or matters(before, manifest)):
            self._wake(concerned(before or manifest, self.dependents) | concerned(manifest, self.dependents), SOON)

    async def discover(self) -> frozenset[Kind]:
        """Look which optional kinds there are; gives back those that are new."""
        found = await self.api.kinds() - self._denied
        new = found - self.reconciler.kinds
        self.reconciler.kinds = found
        return frozenset(new)

    async def prime(self, kinds: Collection[Kind] = KINDS) -> None:
        """Read everything there is of these kinds, and have every pipeline looked after."""
        for kind in kinds:
            if kind in self.kinds:
                await self._list(kind)
        self.primed = True
        self._wake(map(_key, self.cache.all(METER_PIPELINE)), 0.0)

    async def resync(self) -> None:
        """Read everything anew from time to time: streams that break lose deletions, and events may be lost."""
        while True:
            await asyncio.sleep(RESYNC)
            try:
                await self.prime()
            except ApiError as error:
                log.warning("resync: %s", error)

    async def work(self) -> None:
        """Reconcile what is due, for ever."""
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(self._work(), name=f"reconcile-{number}")

    async def _work(self) -> None:
        while True:
            key = await self.queue.take()
            begun, failed = time.monotonic(), True
            try:
                outcome = await self.reconciler.reconcile(key)
                self.dependents.set(key, outcome.asked)
                self._wake(outcome.wake, 0.0)
                failed = outcome.again
            except ApiError as error:
                log.warning("%s: %s; trying again", key, error)
            except Exception:
                log.exception("%s: reconciling failed; trying again", key)
            finally:
                self.queue.done(key, failed)
                self.measures.reconciled(time.monotonic() - begun, failed)
                if self.cache.get(key.ref) is None:
                    self.queue.forget(key)

    async def _list(self, kind: Kind) -> None:
        for place in self.scope.places(kind):
            try:
                found, version = await self.api.list(kind, place)
            except (Forbidden, NotFound) as error:
                if not kind.optional:
                    raise
                log.warning("%s are left out: %s", kind.plural, error)
                self._denied |= {kind}
                self.reconciler.kinds -= {kind}
                return
            before = {ref: self.cache.get(ref) for ref in map(ref_of, found)}
            for ref in self.cache.replace(kind, place, found, version):
                self._changed(ref, before.get(ref))

    def _changed(self, ref: Ref, before: Manifest | None) -> None:
        now = self.cache.get(ref) or before
        keys = concerned(now, self.dependents) if now is not None else self.dependents.of(ref)
        self._wake(keys, SOON)

    def _wake(self, keys: Iterable[Key], delay: float) -> None:
        for key in keys:
            self.queue.add(key, delay)


def _key(resource: Manifest) -> Key:
    return Key(resource["metadata"]["namespace"], resource["metadata"]["name"])
