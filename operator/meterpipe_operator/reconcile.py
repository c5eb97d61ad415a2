"""One pipeline brought to what it shall be: look, decide, act, look again, tell. Nothing is remembered that matters."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from meterpipe.spec.models import MeterPipeline

from meterpipe_operator.api import AUTOSCALER, Api, Conflict, Forbidden, NotFound, Refused
from meterpipe_operator.cache import Cache, version_of
from meterpipe_operator.conditions import Figures, Situation, status
from meterpipe_operator.conflicts import Claim, Claimant, claims, conflict
from meterpipe_operator.desired import Desired, desired
from meterpipe_operator.digest import digest
from meterpipe_operator.facts import Settings
from meterpipe_operator.finalizer import FINALIZER, farewell, is_deleted, is_held, must_hold
from meterpipe_operator.kinds import METER_PIPELINE, Kind, Manifest, Ref
from meterpipe_operator.labels import Owner
from meterpipe_operator.last_valid import Chosen, chosen
from meterpipe_operator.observe import Key, View
from meterpipe_operator.plan import Apply, Plan, plan
from meterpipe_operator.resolve import facts_of

log = logging.getLogger("meterpipe.operator")

ROUNDS = 4  # of looking and acting until what was written leads to nothing more to write
LASTING = (Refused, Forbidden, NotFound, Conflict)  # told in the status; other errors are tried again first


@dataclass(frozen=True, slots=True)
class Known:
    """A pipeline as it was read, and what it claims. Kept as long as neither it nor its revisions change."""

    version: tuple[object, ...]
    chosen: Chosen
    claims: frozenset[Claim]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `again`: not all is written, try later. `wake`: others that may run now, or no longer."""

    asked: frozenset[Ref] = frozenset()
    again: bool = False
    wake: frozenset[Key] = frozenset()


@dataclass(slots=True)
class Reconciler:
    """Reconciles pipelines, any number of different ones at a time.

    `kinds`: those the cluster has, optional ones included. `figures`: what pods told, by pipeline and worker.
    """

    api: Api
    cache: Cache
    settings: Settings
    kinds: frozenset[Kind]
    figures: dict[Key, Mapping[str, Figures]] = field(default_factory=dict)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _known: dict[Key, Known] = field(default_factory=dict)
    _futile: dict[Ref, tuple[str, int]] = field(default_factory=dict)

    async def reconcile(self, key: Key) -> Outcome:
        """Do all that can be done for a pipeline now. ApiError: the API server is away; try again later."""
        view = View(self.cache, key)
        resource = view.resource
        if resource is None:
            return self._gone(key)
        self._meet()
        known, before = self._read(key, resource), self._known[key].claims
        wake = self._sharing(key, known.claims | before) if known.claims != before else frozenset()
        self._known[key] = known
        if is_deleted(resource):
            again = await self._leave(key, resource, known.chosen.pipeline, view)
            return Outcome(again=again, wake=wake)
        situation, again = await self._bring_up(key, resource, known, view)
        await self._tell(key, situation)
        return Outcome(frozenset(view.asked), again, wake)

    def pipeline(self, key: Key) -> MeterPipeline | None:
        """The specification that runs, None if there is none or it has not been looked at."""
        return self._known[key].chosen.pipeline if key in self._known else None

    async def _bring_up(self, key: Key, resource: Manifest, known: Known, view: View) -> tuple[Situation, bool]:
        """Write what is missing or different, until a look finds nothing more to write."""
        generation = resource["metadata"].get("generation", 0)
        problems = tuple(map(str, known.chosen.problems))
        pipeline = known.chosen.pipeline
        if pipeline is None:
            return Situation(generation, None, problems=problems), False
        clash = self._conflict(key, resource, known)
        if clash:
            return Situation(generation, pipeline, observed=view.observed, conflict=clash, problems=problems), False
        errors: tuple[str, ...] = ()
        for number in range(ROUNDS):
            observed = view.observed
            facts = facts_of(pipeline, view.look, observed, self.kinds, self.settings)
            wanted = desired(pipeline, Owner.of(resource), facts)
            planned = self._sensible(plan(wanted, observed))
            if planned.empty or errors or number == ROUNDS - 1:
                break
            await self._hold(key, wanted, observed)
            errors = await self._act(key, planned)
        figures = self.figures.get(key, {})
        situation = Situation(
            generation, pipeline, facts, planned, observed, view.pods, problems, None, errors, figures
        )  # fmt: skip
        return situation, bool(errors) or not planned.empty

    async def _act(self, key: Key, planned: Plan) -> tuple[str, ...]:
        """Carry a plan out. What the API server refuses is told and does not keep the rest from being done."""
        errors: list[str] = []
        for delete in planned.first:
            await self._delete(key, delete.ref, delete.why, errors)
        for claim in planned.claim:
            live = self.cache.get(claim.ref)
            if live is not None:  # the uid: a Deployment that went meanwhile must not be made of nothing but this
                manifest = {
                    **claim.manifest,
                    "metadata": {**claim.manifest["metadata"], "uid": live["metadata"]["uid"]},
                }
                await self._write(key, claim.ref, manifest, f"{claim.replicas} replicas", errors, AUTOSCALER)
        for apply in planned.apply:
            await self._apply(key, apply, errors)
        for delete in planned.delete:
            await self._delete(key, delete.ref, delete.why, errors)
        return tuple(errors)

    async def _apply(self, key: Key, apply: Apply, errors: list[str]) -> None:
        before = self.cache.get(apply.ref)
        written = await self._write(key, apply.ref, apply.manifest, apply.why, errors)
        if written is not None and before is not None and version_of(written) == version_of(before):
            self._futile[apply.ref] = (digest(apply.manifest), version_of(written))
            log.warning("%s: %s stays different (%s)", key, apply.ref, apply.why)

    async def _write(
        self, key: Key, ref: Ref, manifest: Manifest, why: str, errors: list[str], manager: str | None = None
    ) -> Manifest | None:
        try:
            written = await (self.api.apply(manifest, manager) if manager else self.api.apply(manifest))
        except LASTING as error:
            errors.append(str(error))
            log.warning("%s: %s", key, error)
            return None
        log.info("%s: applied %s: %s", key, ref, why)
        self.cache.put(written)
        return written

    async def _delete(self, key: Key, ref: Ref, why: str, errors: list[str]) -> None:
        try:
            await self.api.delete(ref)
        except LASTING as error:
            errors.append(str(error))
            log.warning("%s: %s", key, error)
            return
        log.info("%s: deleted %s: %s", key, ref, why)
        try:
            self.cache.put(await self.api.get(ref))  # there until its finalizers have been seen to
        except NotFound:
            gone = self.cache.get(ref)
            if gone is not None:
                self.cache.drop(gone)

    def _sensible(self, planned: Plan) -> Plan:
        """Without what was tried on this very version of the object and changed nothing: the server keeps it so."""

        def is_futile(apply: Apply) -> bool:
            found = self.cache.get(apply.ref)
            tried = self._futile.get(apply.ref)
            return found is not None and tried == (digest(apply.manifest), version_of(found))

        kept = tuple(apply for apply in planned.apply if not is_futile(apply))
        return Plan(planned.first, planned.claim, kept, planned.delete, planned.wait)

    async def _hold(self, key: Key, wanted: Desired, observed: tuple[Manifest, ...]) -> None:
        """Put our finalizer on a pipeline before the first object is made that only we can take away."""
        resource = self.cache.get(key.ref)
        if resource is not None and must_hold(wanted, observed) and not is_held(resource):
            await self._finalizers(resource, [*(resource["metadata"].get("finalizers") or ()), FINALIZER])

    async def _leave(self, key: Key, resource: Manifest, pipeline: MeterPipeline | None, view: View) -> bool:
        """Take away what only we can, then let the pipeline go. Whether something was refused."""
        errors: list[str] = []
        while is_held(resource) and not errors:
            parting = farewell(pipeline, view.observed, view.pods)
            if parting.release:
                others = [one for one in resource["metadata"]["finalizers"] if one != FINALIZER]
                await self._finalizers(resource, others)
                break
            going = [ref for ref in parting.delete if not _is_going(self.cache.get(ref))]
            if not going:
                break  # an event will tell that it has gone
            for ref in going:
                await self._delete(key, ref, "the pipeline is deleted", errors)
        return bool(errors)

    async def _finalizers(self, resource: Manifest, finalizers: list[str]) -> None:
        metadata = resource["metadata"]
        ref = Ref(METER_PIPELINE, metadata["namespace"], metadata["name"])
        patch = {"metadata": {"finalizers": finalizers, "resourceVersion": metadata["resourceVersion"]}}
        self.cache.put(await self.api.merge(ref, patch))

    async def _tell(self, key: Key, situation: Situation) -> None:
        """Write the status if it says anything new."""
        resource = self.cache.get(key.ref)
        if resource is None:
            return
        previous = resource.get("status") or {}
        told = status(situation, previous, self.now().strftime("%Y-%m-%dT%H:%M:%SZ"))
        if told == previous:
            return
        manifest = {
            "apiVersion": METER_PIPELINE.api_version,
            "kind": METER_PIPELINE.name,
            "metadata": {"name": key.name, "namespace": key.namespace},
            "status": told,
        }
        try:
            self.cache.put(await self.api.apply_status(manifest))
        except NotFound:
            log.info("%s went away meanwhile", key)

    def _read(self, key: Key, resource: Manifest) -> Known:
        revisions = View(self.cache, key).revisions
        version = (
            resource["metadata"].get("uid"),
            resource["metadata"].get("generation"),
            *(one["metadata"]["name"] for one in revisions),
        )
        known = self._known.get(key)
        if known is not None and known.version == version:
            return known
        found = chosen(resource, revisions)
        own = frozenset(claims(found.pipeline)) if found.pipeline else frozenset()
        return Known(version, found, own)

    def _conflict(self, key: Key, resource: Manifest, known: Known) -> str | None:
        """Whose output the pipeline claims too; only those that share one are compared."""
        assert known.chosen.pipeline is not None
        others = []
        for other in self._sharing(key, known.claims):
            found, pipeline = self.cache.get(other.ref), self._known[other].chosen.pipeline
            if found is not None and pipeline is not None:
                others.append(_claimant(found, pipeline))
        return conflict(_claimant(resource, known.chosen.pipeline), others) if others else None

    def _meet(self) -> None:
        """Read the pipelines that were not read yet: a conflict with one of them would be missed."""
        for resource in self.cache.all(METER_PIPELINE):
            key = Key(resource["metadata"]["namespace"], resource["metadata"]["name"])
            if key not in self._known:
                self._known[key] = self._read(key, resource)

    def _sharing(self, key: Key, wanted: frozenset[Claim]) -> frozenset[Key]:
        return frozenset(other for other, known in self._known.items() if other != key and known.claims & wanted)

    def _gone(self, key: Key) -> Outcome:
        known = self._known.pop(key, None)
        self.figures.pop(key, None)
        return Outcome(wake=self._sharing(key, known.claims) if known else frozenset())


def _claimant(resource: Manifest, pipeline: MeterPipeline) -> Claimant:
    metadata = resource["metadata"]
    return Claimant(metadata["creationTimestamp"], metadata["uid"], pipeline)


def _is_going(manifest: Manifest | None) -> bool:
    return manifest is None or manifest["metadata"].get("deletionTimestamp") is not None
