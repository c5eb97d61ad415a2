"""What to do, decided as values: apply, claim, delete, wait. Pure; `reconcile` carries it out.

Nothing is applied that is there as wanted: an idle pipeline writes nothing. What was changed by hand is noticed, as the
live object is compared and not only our memory of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from meterpipe_operator import kinds
from meterpipe_operator.desired import Desired, Object
from meterpipe_operator.difference import first_difference
from meterpipe_operator.digest import digest
from meterpipe_operator.kinds import Manifest, Ref, kind_of, ref_of
from meterpipe_operator.labels import APPLIED, COMPONENT

DATA = frozenset((kinds.KAFKA_TOPIC,))
"""Kinds whose deletion deletes readings or results: never done by a plan."""
ONCE = frozenset((kinds.JOB,))
"""Kinds that are made and not changed: their names tell what they do."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply `manifest` as field manager `meterpipe`, forced. `why`: missing, changed, or what differs."""

    ref: Ref
    manifest: Object
    why: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Apply spec.replicas of a Deployment, and nothing else, as field manager `meterpipe-autoscaler`, forced."""

    ref: Ref
    replicas: int

    @property
    def manifest(self) -> Object:
        """What to apply."""
        return {
            "apiVersion": self.ref.kind.api_version,
            "kind": self.ref.kind.name,
            "metadata": {"name": self.ref.name, "namespace": self.ref.namespace},
            "spec": {"replicas": self.replicas},
        }


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object, in the background (its pods go too). A missing one is as good."""

    ref: Ref
    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """An object that is not applied now, as it has to come after `on`."""

    ref: Ref
    on: Ref
    reason: str
    message: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Carried out in this order: `first` (deletes that come before), claims, apply, delete. `wait` says why not."""

    first: tuple[Delete, ...] = ()
    claim: tuple[Claim, ...] = ()
    apply: tuple[Apply, ...] = ()
    delete: tuple[Delete, ...] = ()
    wait: tuple[Wait, ...] = field(default=())

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.first or self.claim or self.apply or self.delete)


def plan(desired: Desired, observed: Iterable[Manifest]) -> Plan:
    """What makes `observed` (all objects of ours for this pipeline, as the API server has them) into `desired`."""
    there = {ref_of(one): one for one in observed}
    wanted = {ref_of(one): one for one in desired.objects}
    waits = {ref: wait for ref, on in desired.after.items() if (wait := _waiting(ref, on, there))}
    claims = tuple(Claim(ref, number) for ref, number in desired.claims.items() if ref in there and ref not in waits)
    applies = []
    for ref, manifest in wanted.items():
        why = None if ref in waits else _why(manifest, there.get(ref))
        if why:
            applies.append(Apply(ref, stamped(manifest), why))
    gone = [
        Delete(ref, "no longer wanted")
        for ref in sorted(there, key=str)
        if ref not in wanted and not _stays(ref, there[ref], desired)
    ]
    failed = [
        Delete(ref, "failed: made anew")
        for ref in wanted
        if ref in there and ref.kind in ONCE and state_of(there[ref]) is False and not _going(there[ref])
    ]
    scalers = (kinds.AUTOSCALER, kinds.SCALED_OBJECT)
    first = tuple(one for one in gone if one.ref.kind in scalers)
    rest = (*failed, *(one for one in gone if one.ref.kind not in scalers))
    return Plan(first, claims, tuple(applies), rest, tuple(waits.values()))


def _stays(ref: Ref, found: Manifest, desired: Desired) -> bool:
    """Whether an object that is not wanted is left alone all the same."""
    component = (found["metadata"].get("labels") or {}).get(COMPONENT)
    return ref in desired.kept or component in desired.undecided or ref.kind in DATA or _going(found)


def stamped(manifest: Object) -> Object:
    """The manifest with its own digest, so that a later plan knows whether it has changed."""
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), APPLIED: digest(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def state_of(manifest: Manifest) -> bool | None:
    """Whether what others wait for is done: True, False (it failed), or None: not yet."""
    status = manifest.get("status") or {}
    found = {one["type"]: one for one in status.get("conditions") or () if "type" in one}
    if kind_of(manifest) == kinds.KAFKA_TOPIC:
        current = status.get("observedGeneration") == manifest["metadata"].get("generation")
        ready = found.get("Ready", {}).get("status")
        paused = any(found.get(name, {}).get("status") == "True" for name in ("ReconciliationPaused", "Unmanaged"))
        return True if paused or (current and ready == "True") else False if current and ready == "False" else None
    if found.get("Complete", {}).get("status") == "True":
        return True
    return False if found.get("Failed", {}).get("status") == "True" else None


def _waiting(ref: Ref, on: Iterable[Ref], there: Mapping[Ref, Manifest]) -> Wait | None:
    """The first thing that `ref` has to wait for, a failed one before others."""
    open_ones = [(one, state_of(there[one]) if one in there else None) for one in on]
    waits = [(one, state) for one, state in open_ones if state is not True]
    if not waits:
        return None
    one, state = min(waits, key=lambda each: each[1] is None)
    what = one.kind.name
    if state is False:
        return Wait(ref, one, f"{_part(one)}Failed", _message(there[one]) or f"{one} failed", failed=True)
    return Wait(
        ref, one, f"WaitingFor{_part(one)}", f"{what} {one.name} is not {'complete' if what == 'Job' else 'ready'}"
    )


def _part(ref: Ref) -> str:
    if ref.kind == kinds.KAFKA_TOPIC:
        return "Topic"
    return next((word for word in ("Schema", "Replay") if f"-{word.lower()}-" in ref.name), "Topics")


def _message(manifest: Manifest) -> str:
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return "; ".join(
        f"{manifest['kind']} {manifest['metadata']['name']}: {one['message']}"
        for one in conditions
        if one.get("message")
    )


def _why(manifest: Object, found: Manifest | None) -> str | None:
    """Why a manifest has to be applied, None if it is there."""
    if found is None:
        return "missing"
    if _going(found):
        return None  # made anew when it has gone
    if kind_of(manifest) in ONCE:
        return None
    if (found["metadata"].get("annotations") or {}).get(APPLIED) != digest(manifest):
        return "changed"
    different = first_difference(_comparable(manifest), found)
    return f"{different} differs" if different else None


def _comparable(manifest: Object) -> dict[str, Any]:
    """What is compared with the live object: a Secret too has its data there as we write it."""
    return {key: value for key, value in manifest.items() if key not in ("apiVersion", "kind")}


def _going(manifest: Manifest) -> bool:
    return manifest["metadata"].get("deletionTimestamp") is not None
