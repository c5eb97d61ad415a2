"""A MeterPipeline of a test: applied, changed, looked at, fed with readings."""

import copy
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dataplatform
import yaml
from dataplatform import Platform, secret
from kube import Kube, eventually
from load import Load

SAMPLE = Path(__file__).parent.parent / "manifests" / "pipelines" / "cluster.yaml"
RESOURCE = "meterpipelines.meterpipe.io"
WORKERS = ("aggregator", "sink", "archiver")
READY_SECONDS = 120  # what a user may have to wait for a new pipeline
SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}}


def services(strimzi: bool) -> dict[str, Any]:
    """Return a specification on the test platform; ``strimzi``: by its users and topics, else by addresses."""
    kafka: dict[str, Any] = {"bootstrapServers": f"{dataplatform.BOOTSTRAP}:9092"}
    if strimzi:
        kafka = {"strimzi": {"cluster": "main", "namespace": dataplatform.NAMESPACE, "listener": "scram"}}
    k8ssandra = {"cluster": "main", "datacenter": "dc1", "namespace": dataplatform.NAMESPACE}
    lake = {"bucket": dataplatform.BUCKET, "endpoint": dataplatform.S3, "secretName": "s3", "flush": {"seconds": 1}}
    return {
        "kafka": kafka,
        "aggregator": {"windows": [60, 600, 3600, 86400], "grace": 300, "resources": SMALL},
        "cassandra": {"k8ssandra": k8ssandra, "resources": SMALL},
        "lake": {**lake, "resources": SMALL},
    }


def on_platform(sample: Path) -> dict[str, Any]:
    """Return a sample's specification with the names of the test platform's services."""
    spec: dict[str, Any] = yaml.safe_load(sample.read_text())["spec"]
    where = {"cluster": "main", "namespace": dataplatform.NAMESPACE}
    lake = {"bucket": dataplatform.BUCKET, "endpoint": dataplatform.S3, "secretName": "s3"}
    return merged(spec, {"kafka": {"strimzi": where}, "cassandra": {"k8ssandra": where}, "lake": lake})


def stopped(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the specification with no pods."""
    return merged(spec, {name: {"replicas": 0} for name in ("aggregator", "cassandra", "lake")})


def merged(spec: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the specification with changes, field by field; None takes a field out."""
    result = copy.deepcopy(dict(spec))
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


@dataclass
class Pipeline:
    """One MeterPipeline. `spec` is what was applied last."""

    kube: Kube
    platform: Platform
    name: str
    spec: dict[str, Any]
    load: Load = field(init=False)

    def __post_init__(self) -> None:
        self.load = Load(self.platform, self.kube.namespace, self.name, self.spec)

    def apply(self, changes: Mapping[str, Any] | None = None) -> None:
        """Apply the pipeline, with changes to its specification."""
        self.spec = merged(self.spec, changes or {})
        self.load.spec = self.spec
        self.kube.apply(json.dumps(self.manifest))

    @property
    def manifest(self) -> dict[str, Any]:
        """The object as a user writes it."""
        about = {"name": self.name, "namespace": self.kube.namespace}
        return {"apiVersion": "meterpipe.io/v1alpha1", "kind": "MeterPipeline", "metadata": about, "spec": self.spec}

    def get(self) -> dict[str, Any]:
        """The object as the API server has it."""
        return dict(self.kube.get(RESOURCE, self.name))

    def condition(self, kind: str) -> dict[str, Any]:
        """A condition, {} while there is none of the present generation."""
        found = self.get()
        conditions = found.get("status", {}).get("conditions", [])
        (condition,) = [one for one in conditions if one["type"] == kind] or [{}]
        current = condition.get("observedGeneration") == found["metadata"]["generation"]
        return dict(condition) if current else {}

    def ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until the operator says that all of the present specification works, and that is so."""
        eventually(lambda: self.condition("Ready"), lambda found: found.get("status") == "True", seconds)
        for worker in WORKERS:
            eventually(lambda worker=worker: self.deployment(worker), settled, seconds)  # type: ignore[misc]

    def deployment(self, worker: str) -> dict[str, Any]:
        """The Deployment of a worker."""
        return dict(self.kube.get("deployment", f"{self.name}-{worker}"))

    def pods(self, worker: str) -> set[str]:
        """Names of the pods of a worker that are there and are to stay."""
        selector = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={worker}"
        pods = self.kube.get("pods", "-l", selector)["items"]
        return {pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp")}

    def all_pods(self) -> dict[str, set[str]]:
        """The same for all workers."""
        return {worker: self.pods(worker) for worker in WORKERS}

    def delete(self, *words: str) -> None:
        """Delete the MeterPipeline."""
        self.kube.kubectl("delete", RESOURCE, self.name, "--ignore-not-found", *words, timeout=180)


def settled(deployment: Mapping[str, Any]) -> bool:
    """Tell whether all pods of a Deployment are the newest, ready, and alone."""
    wanted, status = deployment["spec"]["replicas"], deployment.get("status", {})
    numbers = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
    current = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return current and all(number == wanted for number in numbers)


@contextmanager
def namespace(kube: Kube, name: str) -> Iterator[Kube]:
    """Make a namespace with the Secret that the pipelines' lake needs; it is deleted afterwards.

    Its name begins with ``name`` and is never used again: the data of its pipelines stays on the platform.
    """
    unique = f"{name}-{uuid.uuid4().hex[:6]}"
    kube.kubectl("create", "namespace", unique)
    inside = kube.inside(unique)
    inside.apply(json.dumps(secret("s3", dataplatform.S3_KEYS)))
    try:
        yield inside
    finally:
        kube.kubectl("delete", "namespace", unique, "--wait=false")
