"""The CustomResourceDefinition of MeterPipeline, generated from the models. Pure."""

from typing import Any

import yaml

from meterpipe.spec.base import Model
from meterpipe.spec.models import API_GROUP, API_VERSION, MeterPipeline, Spec
from meterpipe.spec.status import Status
from meterpipe.spec.structural import Schema, filled, structural

PLURAL = "meterpipelines"
KIND = "MeterPipeline"
HEADER = "# Generated from the models by `meterpipe crd`: do not edit.\n"
COLUMNS = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether all of it works"),
    ("Readings/s", "number", ".status.readingsPerSecond", "Readings taken in per second"),
    ("Lag", "integer", ".status.lag", "Records not yet aggregated"),
    ("Aggregators", "integer", ".status.workers.aggregator.ready", "Aggregators that are ready"),
    ("Age", "date", ".metadata.creationTimestamp", "Time since its creation"),
)


def bounded_schema(model: type[Model]) -> Schema:
    """The structural schema of a model, as the API server has it."""
    return structural(model.model_json_schema())


def openapi_schema() -> Schema:
    """Schema of the whole resource. Metadata is the API server's own."""
    spec = bounded_schema(Spec)
    return {
        "description": " ".join((MeterPipeline.__doc__ or "").split()),
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string", "description": f"Always {API_VERSION}."},
            "kind": {"type": "string", "description": f"Always {KIND}."},
            "metadata": {"type": "object"},
            "spec": spec | {"default": filled(spec)},
            "status": bounded_schema(Status),
        },
    }


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{API_GROUP}", "labels": {"app.kubernetes.io/name": "meterpipe"}},
        "spec": {
            "group": API_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": "meterpipeline",
                "shortNames": ["mp"],
                "categories": ["meterpipe"],
            },
            "versions": [
                {
                    "name": API_VERSION.partition("/")[2],
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, "description": text}
                        for name, kind, path, text in COLUMNS
                    ],
                    "schema": {"openAPIV3Schema": openapi_schema()},
                }
            ],
        },
    }


def as_yaml(manifest: dict[str, Any]) -> str:
    """A manifest as YAML, fields in their order, no line longer than 120 where it can be helped."""
    text = yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return HEADER + text


class _Dumper(yaml.SafeDumper):
    """Never writes anchors: each part of the schema stands for itself."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always."""
        return True
