"""Between pods and policy: asks pods for figures, has the policy decide, writes spec.replicas, tells the status."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from meterpipe.spec.kubernetes import ScalingMode
from meterpipe.spec.models import MeterPipeline

from meterpipe_operator.api import AUTOSCALER, Api, ApiError
from meterpipe_operator.autoscale.figures import Figures, Scraper, rate
from meterpipe_operator.autoscale.policy import History, Policy, decide
from meterpipe_operator.cache import Cache
from meterpipe_operator.conditions import Figures as Told
from meterpipe_operator.conditions import steady
from meterpipe_operator.kinds import DEPLOYMENT, METER_PIPELINE, POD, Manifest, Ref, labels_of
from meterpipe_operator.labels import COMPONENT, name
from meterpipe_operator.observe import Key, owner_of
from meterpipe_operator.plan import Claim
from meterpipe_operator.reconcile import Reconciler
from meterpipe_operator.scaling import autoscaled
from meterpipe_operator.workers import WORKERS

log = logging.getLogger("meterpipe.operator")

EVERY = 15.0  # seconds between looks
TELL_EVERY = 2  # looks between two changes of a status: at most every 30 s


@dataclass(slots=True)
class Autoscaler:
    """Looks at all running workers; scales those whose pipelines leave it to us."""

    api: Api
    cache: Cache
    reconciler: Reconciler
    wake: Callable[[Key], None]
    now: Callable[[], float]
    scraper: Scraper = field(default_factory=Scraper)
    _last: dict[tuple[Key, str], Figures] = field(default_factory=dict)
    _histories: dict[tuple[Key, str], History] = field(default_factory=dict)
    _looks: int = 0

    async def run(self) -> None:
        """For ever. What goes wrong with one pipeline concerns no other one."""
        while True:
            await asyncio.sleep(EVERY)
            self._looks += 1
            running = self._running()
            await asyncio.gather(*(self._pipeline(key, workers) for key, workers in running.items()))
            for gone in self._last.keys() - {(key, worker) for key, workers in running.items() for worker in workers}:
                del self._last[gone]
                self._histories.pop(gone, None)
            for key in self.reconciler.figures.keys() - running.keys():
                del self.reconciler.figures[key]
                self.wake(key)

    def _running(self) -> dict[Key, dict[str, list[Manifest]]]:
        """Pods of workers, by pipeline and worker."""
        found: dict[Key, dict[str, list[Manifest]]] = {}
        for pod in self.cache.all(POD):
            owner, worker = owner_of(pod), labels_of(pod).get(COMPONENT, "")
            if owner is not None and worker in WORKERS:
                found.setdefault(owner, {}).setdefault(worker, []).append(pod)
        return found

    async def _pipeline(self, key: Key, workers: Mapping[str, list[Manifest]]) -> None:
        try:
            await self._look(key, workers)
        except Exception:
            log.exception("%s: looking at its pods failed", key)

    async def _look(self, key: Key, workers: Mapping[str, list[Manifest]]) -> None:
        pipeline = self.reconciler.pipeline(key)
        if pipeline is None:
            return
        told: dict[str, Told] = {}
        for worker, pods in workers.items():
            deployment = self.cache.get(Ref(DEPLOYMENT, key.namespace, name(key.name, worker)))
            if deployment is None:
                continue
            wanted = int(deployment["spec"].get("replicas", 1))
            figures = await self.scraper.look(self.now(), pods, wanted)
            earlier = self._last.get((key, worker))
            self._last[(key, worker)] = figures
            if figures.sample.pods:
                told[worker] = Told(figures.sample.lag, rate(earlier, figures) if earlier else None)
            await self._scale(key, worker, pipeline, deployment, figures)
        if self._looks % TELL_EVERY == 0 and told:
            self._tell(key, told)

    async def _scale(
        self, key: Key, worker: str, pipeline: MeterPipeline, deployment: Manifest, figures: Figures
    ) -> None:
        scaled = WORKERS[worker].scaled(pipeline.spec)
        if pipeline.spec.paused or not autoscaled(scaled, ScalingMode.OPERATOR):
            self._histories.pop((key, worker), None)
            return
        wished = scaled.autoscaling
        policy = Policy(
            min_replicas=wished.min,
            max_replicas=wished.max,
            utilisation=wished.utilization / 100,
            catch_up=wished.catch_up,
            scale_down_after=max(wished.stabilization, 1),
        )
        current = int(deployment["spec"].get("replicas", 1))
        if current == 0:
            return
        partitions = pipeline.spec.kafka.topics.readings.partitions
        history = self._histories.get((key, worker), History())
        decision, history = decide(policy, history, figures.sample, current, partitions)
        if decision.replicas != current:
            log.info("%s: %s %d -> %d: %s", key, worker, current, decision.replicas, decision.reason)
            if not await self._write(key, deployment, decision.replicas):
                return  # not done: the history must not say so
        self._histories[(key, worker)] = history

    async def _write(self, key: Key, deployment: Manifest, replicas: int) -> bool:
        metadata = deployment["metadata"]
        ref = Ref(DEPLOYMENT, metadata["namespace"], metadata["name"])
        manifest = Claim(ref, replicas).manifest
        manifest = {**manifest, "metadata": {**manifest["metadata"], "uid": metadata["uid"]}}
        try:
            self.cache.put(await self.api.apply(manifest, AUTOSCALER))
        except ApiError as error:
            log.warning("%s: %s", key, error)
            return False
        self.wake(key)
        return True

    def _tell(self, key: Key, told: Mapping[str, Told]) -> None:
        """Have the figures told, if they differ from what the status says by more than noise."""
        self.reconciler.figures[key] = told
        resource = self.cache.get(Ref(METER_PIPELINE, key.namespace, key.name)) or {}
        status = resource.get("status") or {}
        if any(_differs(before, now) for before, now in _pairs(status, told)):
            self.wake(key)


def _pairs(status: Mapping[str, object], told: Mapping[str, Told]) -> Iterable[tuple[float | None, float | None]]:
    """What the status says and what it would say."""
    workers: Mapping[str, Mapping[str, float]] = status.get("workers") or {}  # type: ignore[assignment]
    for worker, figures in told.items():
        yield (workers.get(worker) or {}).get("lag"), figures.lag
    rate_before: float | None = status.get("readingsPerSecond")  # type: ignore[assignment]
    yield rate_before, told.get("aggregator", Told()).readings_per_second


def _differs(before: float | None, now: float | None) -> bool:
    return now is not None and steady(before, now) != before
