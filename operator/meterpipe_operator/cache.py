"""What is known of the cluster, kept from the watch streams. Pure: no I/O, no clock.

Streams tell of objects that changed; after a broken stream they tell again of all objects there are, but not of those
that went meanwhile. `replace` takes a complete list and drops what is not in it, so that a resync heals that. Newer
versions win in whatever order they are told: versions of one API server are numbers that grow.
"""

from collections.abc import Iterable, Iterator

from meterpipe_operator.kinds import DEPLOYMENT, Kind, Manifest, Ref, labels_of, ref_of


def version_of(manifest: Manifest) -> int:
    """The version of an object or of a list; 0 if it has none."""
    return int(manifest["metadata"].get("resourceVersion") or 0)


class Cache:
    """Objects by reference, with what has been told of each last."""

    def __init__(self) -> None:
        self._objects: dict[Ref, Manifest] = {}
        self._gone: dict[Ref, int] = {}
        self._places: dict[tuple[Kind, str], dict[str, Manifest]] = {}

    def get(self, ref: Ref) -> Manifest | None:
        """The object, None if there is none."""
        return self._objects.get(ref)

    def all(self, kind: Kind, namespace: str | None = None) -> Iterator[Manifest]:
        """All objects of a kind, in one namespace or everywhere."""
        if namespace is not None:
            yield from list(self._places.get((kind, namespace), {}).values())
            return
        for (other, _), found in list(self._places.items()):
            if other == kind:
                yield from list(found.values())

    def labelled(self, kind: Kind, namespace: str | None, label: str, value: str) -> tuple[Manifest, ...]:
        """The objects of a kind that carry a label, by namespace and name."""
        found = [one for one in self.all(kind, namespace) if labels_of(one).get(label) == value]
        return tuple(sorted(found, key=lambda one: (one["metadata"]["namespace"], one["metadata"]["name"])))

    def put(self, manifest: Manifest) -> bool:
        """Take note of an object; whether it is news."""
        ref, version = ref_of(manifest), version_of(manifest)
        known = self._objects.get(ref)
        if version and (version <= self._gone.get(ref, 0) or (known and version <= version_of(known))):
            return False
        kept = _slim(manifest) if ref.kind != DEPLOYMENT else manifest
        self._objects[ref] = kept
        self._places.setdefault((ref.kind, ref.namespace), {})[ref.name] = kept
        self._gone.pop(ref, None)
        return True

    def drop(self, manifest: Manifest) -> bool:
        """Take note that an object has gone; whether it is news. A newer object of its name stays."""
        ref, version = ref_of(manifest), version_of(manifest)
        known = self._objects.get(ref)
        if known is None or version_of(known) > version:
            return False
        self._forget(ref, version)
        return True

    def replace(self, kind: Kind, namespace: str | None, found: Iterable[Manifest], version: int) -> set[Ref]:
        """Take a complete list of a kind, read at `version`; which objects were news, gone ones included."""
        listed = {ref_of(manifest): manifest for manifest in found}
        news = {ref for ref, manifest in listed.items() if self.put(manifest)}
        for manifest in self.all(kind, namespace):
            ref = ref_of(manifest)
            if ref not in listed and version_of(manifest) <= version:
                self._forget(ref, version)
                news.add(ref)
        return news

    def _forget(self, ref: Ref, version: int) -> None:
        del self._objects[ref]
        del self._places[(ref.kind, ref.namespace)][ref.name]
        self._gone[ref] = version
        while len(self._gone) > 10_000:
            self._gone.pop(next(iter(self._gone)))


def _slim(manifest: Manifest) -> Manifest:
    """Without the list of field managers, half of an object's size; only that of Deployments is looked at."""
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "managedFields"}
    return {**manifest, "metadata": metadata}
