"""What the cluster holds for one pipeline, read from the cache; and which objects it depends on. No I/O."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from meterpipe_operator.cache import Cache
from meterpipe_operator.kinds import (
    CONTROLLER_REVISION,
    KAFKA_TOPIC,
    KAFKA_USER,
    KINDS,
    METER_PIPELINE,
    POD,
    Manifest,
    Ref,
    labels_of,
    ref_of,
)
from meterpipe_operator.labels import NAMESPACE, PIPELINE

OWNED = tuple(kind for kind in KINDS if kind.owned)
FOREIGN = (KAFKA_USER, KAFKA_TOPIC)
"""Kinds of which a pipeline has objects in other namespaces."""


class Key(NamedTuple):
    """Which pipeline."""

    namespace: str
    name: str

    @property
    def ref(self) -> Ref:
        """The MeterPipeline."""
        return Ref(METER_PIPELINE, self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def owner_of(manifest: Manifest) -> Key | None:
    """The pipeline whose object it is, by its labels; None if it is nobody's."""
    labels = labels_of(manifest)
    pipeline = labels.get(PIPELINE)
    if pipeline is None:
        return None
    return Key(labels.get(NAMESPACE) or manifest["metadata"]["namespace"], pipeline)


class View:
    """One look at the cluster for one pipeline. Remembers which objects were asked for."""

    def __init__(self, cache: Cache, key: Key) -> None:
        self._cache, self._key = cache, key
        self.asked: set[Ref] = set()

    def look(self, ref: Ref) -> Manifest | None:
        """An object that the pipeline depends on, None if it is not there."""
        self.asked.add(ref)
        return self._cache.get(ref)

    @property
    def resource(self) -> Manifest | None:
        """The MeterPipeline itself."""
        return self._cache.get(self._key.ref)

    @property
    def observed(self) -> tuple[Manifest, ...]:
        """All objects that are the pipeline's, wherever they are."""
        found: list[Manifest] = []
        for kind in OWNED:
            place = None if kind in FOREIGN else self._key.namespace
            mine = self._cache.labelled(kind, place, PIPELINE, self._key.name)
            found += [one for one in mine if owner_of(one) == self._key]
        return tuple(found)

    @property
    def revisions(self) -> tuple[Manifest, ...]:
        """Where its last valid specification is kept."""
        return self._cache.labelled(CONTROLLER_REVISION, self._key.namespace, PIPELINE, self._key.name)

    @property
    def pods(self) -> tuple[Manifest, ...]:
        """Its pods, those of Jobs included."""
        return self._cache.labelled(POD, self._key.namespace, PIPELINE, self._key.name)


class Dependents:
    """Which pipelines looked at which objects, so that a change of an object wakes them."""

    def __init__(self) -> None:
        self._asked: dict[Key, frozenset[Ref]] = {}
        self._by: dict[Ref, set[Key]] = defaultdict(set)

    def set(self, key: Key, asked: Iterable[Ref]) -> None:
        """Take note of all that a pipeline depends on now."""
        before, now = self._asked.pop(key, frozenset()), frozenset(asked)
        for ref in before - now:
            self._by[ref].discard(key)
            if not self._by[ref]:
                del self._by[ref]
        for ref in now - before:
            self._by[ref].add(key)
        if now:
            self._asked[key] = now

    def of(self, ref: Ref) -> frozenset[Key]:
        """The pipelines that depend on an object."""
        return frozenset(self._by.get(ref, ()))


def concerned(manifest: Manifest, dependents: Dependents) -> frozenset[Key]:
    """The pipelines to look after when an object has changed."""
    ref = ref_of(manifest)
    if ref.kind == METER_PIPELINE:
        return frozenset({Key(ref.namespace, ref.name)})
    owner = owner_of(manifest)
    return dependents.of(ref) | ({owner} if owner else frozenset())


def matters(before: Manifest | None, after: Manifest) -> bool:
    """Whether a change is one to act upon. What we write into a MeterPipeline's status is none."""
    if before is None or ref_of(after).kind != METER_PIPELINE:
        return True
    return _essence(before) != _essence(after)


def _essence(resource: Manifest) -> Mapping[str, object]:
    metadata = resource["metadata"]
    fields = ("uid", "generation", "deletionTimestamp", "finalizers")
    return {"spec": resource.get("spec")} | {name: metadata.get(name) for name in fields}
