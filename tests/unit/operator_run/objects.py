"""Objects as an API server gives them, and an API server that is a dictionary."""

import copy
import json
from urllib.parse import parse_qs, urlsplit

from meterpipe_operator.kinds import KINDS, METER_PIPELINE

NAMESPACE = "n"
OFF = {"replicas": 0}
SPEC = {
    "kafka": {"bootstrapServers": "k:9092"},
    "aggregator": OFF,
    "cassandra": {**OFF, "contactPoints": ["c"]},
    "lake": OFF,
}


def resource(name="p", spec=None, generation=1, version=1, **metadata):
    """A MeterPipeline."""
    about = {
        "name": name, "namespace": NAMESPACE, "uid": f"uid-{name}", "generation": generation,
        "resourceVersion": str(version), "creationTimestamp": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    spec = SPEC if spec is None else spec
    return {
        "apiVersion": METER_PIPELINE.api_version, "kind": "MeterPipeline", "metadata": {**about, **metadata},
        "spec": spec,
    }  # fmt: skip


class Server:
    """Server-side apply, merge patches, deletes and reads of a tiny API server. `writes` tells what was written."""

    def __init__(self, *objects):
        self.objects, self.writes, self.refusals, self.version = {}, [], {}, 100
        self.away = False
        for one in objects:
            kind = next(kind for kind in KINDS if kind.name == one["kind"])
            self.objects[kind.path(one["metadata"]["namespace"], one["metadata"]["name"])] = one

    def __call__(self, method, path, body, content_type):
        if self.away:
            raise OSError("connection refused")
        parts = urlsplit(path)
        where, status = parts.path.removesuffix("/status"), parts.path.endswith("/status")
        for word, code in self.refusals.items():
            if word in where and method != "GET":
                return code, json.dumps({"message": f"{word} is refused"}).encode()
        found = self.objects.get(where)
        if method == "GET":
            return (200, json.dumps(found).encode()) if found else (404, b'{"message": "not found"}')
        manager = parse_qs(parts.query).get("fieldManager", [""])[0]
        self.writes.append((method, where.rpartition("/")[2], "status" if status else manager))
        if method == "DELETE":
            self.objects.pop(where, None)
            return (200, b"{}") if found else (404, b"{}")
        return 200, json.dumps(self._patched(where, found, json.loads(body), status)).encode()

    def _patched(self, where, found, sent, status):
        before = copy.deepcopy(found)
        about = {"uid": f"uid-{where}", "generation": 1}
        kept = copy.deepcopy(found) if found else {**sent, "metadata": about}
        for name, value in sent.items():
            kept[name] = {**kept["metadata"], **value} if name == "metadata" else value
        if kept != before:
            self.version += 1
            kept["metadata"]["resourceVersion"] = str(self.version)
        self.objects[where] = kept
        return kept
