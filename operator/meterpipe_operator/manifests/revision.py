"""The ControllerRevision that keeps the last valid specification, so that it outlives the operator."""

from typing import Any

from meterpipe.spec.models import MeterPipeline

from meterpipe_operator.digest import digest
from meterpipe_operator.labels import Owner, metadata


def controller_revision(pipeline: MeterPipeline, owner: Owner) -> dict[str, Any]:
    """A ControllerRevision. Its data can never change: another specification is another object, of a higher number."""
    spec = pipeline.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata(owner, f"spec-{digest(spec)[:8]}", "spec"),
        "revision": owner.generation,
        "data": {"spec": spec},
    }
