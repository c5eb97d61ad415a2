"""Names, labels and owner of everything the operator makes. Pure."""

from dataclasses import dataclass
from typing import Any

from meterpipe.spec.models import API_VERSION
from meterpipe.spec.names import shorten

from meterpipe_operator.kinds import Manifest

LIMIT = 63
PIPELINE = "meterpipe.io/pipeline"
NAMESPACE = "meterpipe.io/namespace"
"""The pipeline's namespace, on objects that live in another one."""
COMPONENT = "app.kubernetes.io/component"
APPLIED = "meterpipe.io/applied"
"""Annotation: digest of the manifest as it was applied."""
CONFIG = "meterpipe.io/config"
"""Annotation of pods: digest of the configuration they were started with."""
SECRETS = "meterpipe.io/secrets"
"""Annotation of pods: digest of the secrets they were started with."""
WINDOWS = "meterpipe.io/windows"
"""Annotation of aggregators' Deployment: window sizes its pods work with."""
REPLAYED = "meterpipe.io/replayed"
"""Annotation of the aggregators' Deployment: the last spec.replay.nonce that was carried out."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The MeterPipeline as an object of the API server: what owner references need."""

    name: str
    namespace: str
    uid: str
    generation: int = 0

    @classmethod
    def of(cls, resource: Manifest) -> "Owner":
        """The owner a MeterPipeline is."""
        metadata = resource["metadata"]
        return cls(metadata["name"], metadata["namespace"], metadata["uid"], metadata.get("generation", 0))

    @property
    def reference(self) -> dict[str, Any]:
        """The owner reference: deleting the pipeline deletes what carries it, without the operator's help."""
        return {"apiVersion": API_VERSION, "kind": "MeterPipeline", "name": self.name, "uid": self.uid} | {
            "controller": True,
            "blockOwnerDeletion": False,
        }


def name(pipeline: str, part: str) -> str:
    """Name of an object of a pipeline."""
    return shorten(f"{pipeline}-{part}", LIMIT)


def selector(pipeline: str, component: str) -> dict[str, str]:
    """Labels that tell a component's pods from all others. They can never change: selectors are immutable."""
    return {
        "app.kubernetes.io/name": "meterpipe",
        "app.kubernetes.io/instance": pipeline,
        COMPONENT: component,
    }


def labels(pipeline: str, component: str) -> dict[str, str]:
    """All labels of an object."""
    return {
        **selector(pipeline, component),
        "app.kubernetes.io/managed-by": "meterpipe",
        PIPELINE: pipeline,
    }


def metadata(owner: Owner, part: str, component: str, **more: Any) -> dict[str, Any]:
    """Metadata of an object in the pipeline's namespace, owned by it."""
    return {
        "name": name(owner.name, part),
        "namespace": owner.namespace,
        "labels": labels(owner.name, component),
        "ownerReferences": [owner.reference],
        **more,
    }


def foreign(owner: Owner, namespace: str, object_name: str, component: str, **more: str) -> dict[str, Any]:
    """Metadata of an object in another product's namespace: no owner reference can point out of a namespace."""
    return {
        "name": object_name,
        "namespace": namespace,
        "labels": {**labels(owner.name, component), NAMESPACE: owner.namespace, **more},
    }
