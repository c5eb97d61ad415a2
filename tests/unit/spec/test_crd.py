"""The CustomResourceDefinition: structural at every place, and the file in the chart is the one the models give."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from meterpipe.spec.crd import as_yaml, definition, openapi_schema
from meterpipe.spec.models import MeterPipeline, Spec
from meterpipe.spec.structural import INT_OR_STRING, filled

ROOT = Path(__file__).parents[3]
FORBIDDEN = {
    "$ref", "$defs", "definitions", "const", "title", "anyOf", "oneOf", "allOf", "not", "prefixItems", "uniqueItems",
    "propertyNames", "patternProperties", "discriminator", "dependencies", "deprecated", "examples", "id",
}  # fmt: skip


def places(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema within a schema."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from places(child, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if word in schema:
            yield from places(schema[word], f"{path}.{word}")


PLACES = dict(places(openapi_schema()))


@pytest.mark.parametrize("path", PLACES)
def test_each_place_is_structural(path):
    schema = PLACES[path]
    assert not FORBIDDEN & schema.keys()
    assert "type" in schema or INT_OR_STRING in schema
    assert not {"properties", "additionalProperties"} <= schema.keys()
    assert schema.get("additionalProperties") is not False
    assert schema.get("default", 0) is not None
    assert all(isinstance(schema.get(word, True), bool) for word in ("exclusiveMinimum", "exclusiveMaximum"))
    if schema.get("type") == "array":
        assert "maxItems" in schema
    if "additionalProperties" in schema:
        assert "maxProperties" in schema


@pytest.mark.parametrize("path", [path for path in PLACES if path.startswith(".spec") and "items" not in path])
def test_each_field_of_the_spec_says_what_it_means(path):
    if not path.endswith(".additionalProperties"):
        assert PLACES[path].get("description")


@pytest.mark.parametrize("path", [path for path in PLACES if PLACES[path].get("type") == "string"])
def test_each_text_has_a_largest_length(path):
    schema = PLACES[path]
    assert {"maxLength", "enum"} & schema.keys() or path in (".apiVersion", ".kind")


def test_the_defaults_of_the_api_server_are_those_of_the_models():
    head = {"apiVersion": "meterpipe.io/v1alpha1", "kind": "MeterPipeline", "metadata": {"name": "a"}}
    served = filled(openapi_schema()["properties"]["spec"])
    assert MeterPipeline.model_validate({**head, "spec": served}).spec == Spec()


def test_metadata_is_left_to_the_api_server():
    assert openapi_schema()["properties"]["metadata"] == {"type": "object"}


def test_printed_columns_exist_in_the_status():
    (version,) = definition()["spec"]["versions"]
    for column in version["additionalPrinterColumns"]:
        path = column["jsonPath"].partition("[")[0]
        assert path in PLACES or path.startswith(".metadata")


def test_the_yaml_says_what_the_definition_says():
    assert yaml.safe_load(as_yaml(definition())) == definition()


def test_the_definition_in_the_chart_is_up_to_date():
    committed = (ROOT / "charts/meterpipe/files/meterpipelines.yaml").read_text()
    assert committed == as_yaml(definition()), "run: meterpipe crd > charts/meterpipe/files/meterpipelines.yaml"
