"""Text to validated models. Pure: text comes in, a model or every problem of the text comes out."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import ValidationError

from meterpipe.spec.base import Model
from meterpipe.spec.documents import Document, documents
from meterpipe.spec.models import API_GROUP, API_VERSION, MeterPipeline
from meterpipe.spec.problems import Problem, SpecError, dotted, explained, nearest
from meterpipe.spec.structural import structural

M = TypeVar("M", bound=Model)

KIND = "MeterPipeline"
# What an API server adds to an object, and `kubectl get -o yaml` prints.
SERVER_SET = (
    "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "ownerReferences", "finalizers",
    "selfLink", "generateName", "deletionTimestamp", "deletionGracePeriodSeconds",
)  # fmt: skip


def load_pipelines(text: str, file: str = "") -> list[MeterPipeline]:
    """The MeterPipelines of a YAML text, one or many documents; documents of other API groups are passed over.

    SpecError with every problem if there is one, or if there is no MeterPipeline at all.
    """
    problems: list[Problem] = []
    pipelines: list[MeterPipeline] = []
    seen: dict[tuple[str, str], int] = {}
    found = False
    for document in documents(text):
        if _is_other(document):
            continue
        found = True
        try:
            pipeline = _validated(_without_server_set(document), MeterPipeline, file)
        except SpecError as problem:
            problems.extend(problem.problems)
            continue
        identity = (pipeline.metadata.namespace, pipeline.metadata.name)
        if identity in seen:
            reason = f"a second pipeline of this name, the first is in line {seen[identity]}"
            line = document.line_of(("metadata", "name"))
            problems.append(Problem(file, line, "metadata.name", reason, pipeline.metadata.name))
        seen.setdefault(identity, document.line)
        pipelines.append(pipeline)
    if not found:
        way_out = f"it begins with apiVersion: {API_VERSION} and kind: {KIND}"
        problems.append(Problem(file, 1, "", f"there is no {KIND} in it", way_out=way_out))
    if problems:
        raise SpecError(problems)
    return pipelines


def load_model(text: str, model: type[M], file: str = "") -> M:
    """The one `model` that a YAML or JSON text holds. SpecError with every problem otherwise."""
    found = list(documents(text))
    if len(found) != 1:
        reason = f"holds {len(found)} documents instead of one" if found else "is empty"
        raise SpecError([Problem(file, found[1].line if found else 1, "", f"the file {reason}")])
    return _validated(found[0], model, file)


def pipeline_of(resource: Mapping[str, Any]) -> MeterPipeline:
    """The MeterPipeline of an object as the API server gives it: status and server-set metadata are passed over."""
    document = Document(0, dict(resource))
    return _validated(_without_server_set(document), MeterPipeline, "")


def _is_other(document: Document) -> bool:
    """Whether the document is plainly something else, such as a ConfigMap beside the pipeline."""
    value = document.value
    if not isinstance(value, dict):
        return False
    version, kind = value.get("apiVersion"), value.get("kind")
    if not isinstance(version, str) or not isinstance(kind, str):
        return False
    return version.partition("/")[0] != API_GROUP and kind != KIND and not nearest(version, [API_VERSION])


def _without_server_set(document: Document) -> Document:
    value = document.value
    if isinstance(value, dict):
        value = {name: field for name, field in value.items() if name != "status"}
        metadata = value.get("metadata")
        if isinstance(metadata, dict):
            value["metadata"] = {name: field for name, field in metadata.items() if name not in SERVER_SET}
    return Document(document.line, value, document.lines, document.flaws)


def _validated(document: Document, model: type[M], file: str) -> M:
    """The model a document holds.

    Validated as JSON and strictly, as the API server would: "4" is no number; fields go by their outside names only.
    """
    problems = [Problem(file, flaw.line, dotted(flaw.path), flaw.reason, None, flaw.way_out) for flaw in document.flaws]
    flawed = {flaw.path for flaw in document.flaws}
    if document.value is None:
        raise SpecError(problems)
    try:
        result = model.model_validate_json(json.dumps(document.value), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            path, reason, way_out = explained(detail, schema_of(model))
            if path not in flawed:
                value = None if detail["type"] == "missing" else detail["input"]
                problems.append(Problem(file, document.line_of(path), dotted(path), reason, value, way_out))
    if problems:
        raise SpecError(sorted(problems, key=lambda problem: problem.line))
    return result


@cache
def schema_of(model: type[Model]) -> dict[str, Any]:
    """The structural schema of a model."""
    return structural(model.model_json_schema(), bounded=False)
