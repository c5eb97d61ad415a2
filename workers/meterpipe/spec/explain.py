"""What `meterpipe explain` and the reference page say of a field, from the same schema the API server has. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meterpipe.spec.base import RULES
from meterpipe.spec.crd import KIND, openapi_schema
from meterpipe.spec.load import schema_of
from meterpipe.spec.models import API_VERSION, MeterPipeline
from meterpipe.spec.problems import nearest

Schema = Mapping[str, Any]


class UnknownFieldError(ValueError):
    """There is no such field. `way_out` names the nearest one."""

    def __init__(self, path: str, way_out: str) -> None:
        super().__init__(f"there is no field '{path}'")
        self.way_out = way_out


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the resource."""

    path: str
    schema: Schema
    required: bool

    @property
    def type(self) -> str:
        """`integer`, `[]integer`, `map[string]integer`, `Object` …"""
        return type_of(self.schema)

    @property
    def bounds(self) -> str:
        """Everything that limits the value; empty if nothing does."""
        return "; ".join(bounds_of(self.schema))

    @property
    def rules(self) -> list[str]:
        """The cross-field rules stated on it."""
        return [stated["message"] for stated in self.schema.get(RULES, ())]

    @property
    def default(self) -> str:
        """As JSON; empty if there is none, or if it is that of the fields below."""
        told = "default" in self.schema and "properties" not in self.schema
        return json.dumps(self.schema["default"]) if told else ""

    @property
    def children(self) -> Iterator["Field"]:
        """The fields of an object, or of the objects of a list."""
        holder = self.schema.get("items", self.schema)
        required = holder.get("required", ())
        for name, child in holder.get("properties", {}).items():
            yield Field(f"{self.path}.{name}".lstrip("."), child, name in required)


def root() -> Field:
    """The resource: its metadata as the models have it, everything else as in the CRD."""
    schema = openapi_schema()
    metadata = schema_of(MeterPipeline)["properties"]["metadata"]
    return Field("", {**schema, "properties": {**schema["properties"], "metadata": metadata}}, required=True)


def find(path: str) -> Field:
    """The field at a path such as `spec.aggregator.windows`; indexes and a leading kind are ignored."""
    names = [name for name in re.sub(r"\[[^]]*\]", "", path).split(".") if name]
    if names and names[0].lower() in (KIND.lower(), "meterpipelines", "mp"):
        names = names[1:]
    field = root()
    for name in names:
        children = {child.path.rpartition(".")[2]: child for child in field.children}
        if name not in children:
            raise UnknownFieldError(path, _nearest(path, name, field, children))
        field = children[name]
    return field


def _nearest(path: str, name: str, parent: Field, children: Mapping[str, Field]) -> str:
    near = nearest(name, list(children))
    if near:
        return f"did you mean {children[near].path}?"
    named = [field.path for field in everything(root()) if field.path.rpartition(".")[2].lower() == name.lower()]
    if named:
        return f"did you mean {named[0]}?"
    if children:
        return f"fields of {parent.path or KIND}: {', '.join(children)}"
    return f"{parent.path} has no fields, it is {parent.type}"


def everything(field: Field) -> Iterator[Field]:
    """The field and all below it, parents first."""
    yield field
    for child in field.children:
        yield from everything(child)


def type_of(schema: Schema) -> str:
    """The type in kubectl's words."""
    if "items" in schema:
        return f"[]{type_of(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map[string]{type_of(schema['additionalProperties'])}"
    return "Object" if schema.get("type") == "object" else str(schema.get("type", "integer or string"))


def bounds_of(schema: Schema) -> Iterator[str]:
    """Each limit in words."""
    if "enum" in schema:
        yield "one of " + ", ".join(map(str, schema["enum"]))
    for low, high, unit in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
        ("minProperties", "maxProperties", " entries"),
    ):
        if low in schema and high in schema:
            yield f"{schema[low]} to {schema[high]}{unit}"
        elif low in schema:
            yield f"at least {schema[low]}{unit}"
        elif high in schema:
            yield f"at most {schema[high]}{unit}"
    if "pattern" in schema:
        yield f"matches `{schema['pattern']}`"
    inner = schema.get("items") or schema.get("additionalProperties")
    if inner and "properties" not in inner:
        yield from (f"each {text}" for text in bounds_of(inner))


def as_text(field: Field, recursive: bool = False) -> str:
    """What `meterpipe explain` prints, in the order of `kubectl explain`."""
    lines = [f"KIND:         {KIND}", f"VERSION:      {API_VERSION}", ""]
    if field.path:
        lines += [f"FIELD:        {field.path} <{field.type}>{' -required-' if field.required else ''}"]
        lines += [f"DEFAULT:      {field.default}"] if field.default else []
        lines += [f"BOUNDS:       {field.bounds}"] if field.bounds else []
        lines.append("")
    lines += ["DESCRIPTION:", f"  {field.schema.get('description', '')}"]
    if field.rules:
        lines += ["", "RULES:", *(f"  {text}" for text in field.rules)]
    children = list(field.children)
    if children:
        lines += ["", "FIELDS:", *_children(children, recursive, "  ")]
    return "\n".join(lines) + "\n"


def _children(children: list[Field], recursive: bool, indent: str) -> Iterator[str]:
    for child in children:
        name = child.path.rpartition(".")[2]
        notes = " -required-" if child.required else f" = {child.default}" if child.default else ""
        yield f"{indent}{name} <{child.type}>{notes}"
        if recursive:
            yield from _children(list(child.children), recursive, indent + "  ")
        else:
            yield f"{indent}  {child.schema.get('description', '')}"


def as_markdown() -> str:
    """The reference page: every field of the spec and of the status, a table a section."""
    lines = [
        "# MeterPipeline reference",
        "",
        "<!-- Generated from the models by `meterpipe explain --markdown`: do not edit. -->",
        "",
        f"`apiVersion: {API_VERSION}`, `kind: {KIND}`. The same text comes from `meterpipe explain FIELD` and, on a",
        f"cluster, from `kubectl explain {KIND.lower()}.FIELD`. Durations are whole seconds unless the name says ms.",
        "",
    ]
    for field in everything(root()):
        children = list(field.children)
        if field.path and children:
            lines += [f"## {field.path}", "", field.schema.get("description", ""), ""]
            lines += [f"- Rule: {text}." for text in field.rules] + ([""] if field.rules else [])
            lines += ["| field | type | default | bounds | meaning |", "|---|---|---|---|---|"]
            lines += [_row(child) for child in children] + [""]
    return "\n".join(lines)


def _row(field: Field) -> str:
    default = "required" if field.required else f"`{field.default}`" if field.default else ""
    meaning = " ".join([field.schema.get("description", ""), *(f"Rule: {text}." for text in field.rules)])
    if "properties" in field.schema:
        meaning = field.schema.get("description", "")
    cells = (f"`{field.path.rpartition('.')[2]}`", field.type, default, field.bounds, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
