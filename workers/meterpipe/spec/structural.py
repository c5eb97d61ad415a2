"""Pydantic's JSON Schema to the structural schema a CustomResourceDefinition needs. Pure.

Structural (Kubernetes' word) means: one type at every place, no references, unions, constants or tuples. On top of it
every list and map must be bounded, because the API server prices CEL rules by the largest value a field may have.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from meterpipe.spec.base import RULES, rule

Schema = dict[str, Any]

INT_OR_STRING = "x-kubernetes-int-or-string"
_KEPT = (
    "description", "type", "enum", "nullable", "format", "pattern", "minLength", "maxLength", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "minProperties",
    "maxProperties", "required", INT_OR_STRING, "x-kubernetes-list-type", "x-kubernetes-list-map-keys", RULES,
)  # fmt: skip
_DROPPED = frozenset(("title", "$defs", "discriminator", "examples", "deprecated", "propertyNames"))
_HANDLED = frozenset(
    ("properties", "items", "additionalProperties", "default", "const", "anyOf", "oneOf", "allOf", "uniqueItems")
)


class NotStructuralError(ValueError):
    """The models use something the API server cannot express. Names the place and the way out."""


def structural(schema: Mapping[str, Any], bounded: bool = True) -> Schema:
    """The structural form of a JSON Schema. `bounded`: refuse lists and maps without a largest size."""
    return _Converter(schema.get("$defs", {}), bounded).convert(schema, "")


class _Converter:
    """One conversion: the definitions that references point to."""

    def __init__(self, definitions: Mapping[str, Any], bounded: bool) -> None:
        self._definitions = definitions
        self._bounded = bounded

    def convert(self, schema: Mapping[str, Any], path: str, above: tuple[str, ...] = ()) -> Schema:
        """`schema`, found at `path`, below the references `above`."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if name in above:
                raise NotStructuralError(f"{path}: {name} contains itself; a structural schema has an end")
            siblings = {key: value for key, value in schema.items() if key != "$ref"}
            return self.convert({**self._definitions[name], **siblings}, path, (*above, name))
        if "allOf" in schema:
            (only,) = schema["allOf"]
            return self.convert({**only, **{k: v for k, v in schema.items() if k != "allOf"}}, path, above)
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return self._union(schema, schema[union], path, above)
        return self._one_type(schema, path, above)

    def _one_type(self, schema: Mapping[str, Any], path: str, above: tuple[str, ...]) -> Schema:
        unknown = schema.keys() - set(_KEPT) - _DROPPED - _HANDLED
        if unknown:
            raise NotStructuralError(f"{path}: {', '.join(sorted(unknown))} cannot be expressed in a CRD")
        result = {key: schema[key] for key in _KEPT if key in schema}
        if "const" in schema:
            result["enum"] = [schema["const"]]
        if "enum" in result:
            result.setdefault("type", _type_of(result["enum"], path))
        if "type" not in result and INT_OR_STRING not in result:
            raise NotStructuralError(f"{path}: a field needs one type")
        _boolean_bounds(result)
        if result.get("type") == "object":
            self._object(schema, result, path, above)
        elif result.get("type") == "array":
            self._array(schema, result, path, above)
        if schema.get("default") is not None:
            result["default"] = _default(schema["default"], result)
        return result

    def _object(self, schema: Mapping[str, Any], result: Schema, path: str, above: tuple[str, ...]) -> None:
        values = schema.get("additionalProperties", False)
        if "properties" in schema:
            if values:
                raise NotStructuralError(f"{path}: an object has either known fields or any keys, not both")
            result["properties"] = {
                name: self.convert(child, f"{path}.{name}".lstrip("."), above)
                for name, child in schema["properties"].items()
            }
        elif values:
            self._limited(result, "maxProperties", path)
            result["additionalProperties"] = self.convert(values, f"{path}.*", above)

    def _array(self, schema: Mapping[str, Any], result: Schema, path: str, above: tuple[str, ...]) -> None:
        if "items" not in schema:
            raise NotStructuralError(f"{path}: a list needs one type of items")
        self._limited(result, "maxItems", path)
        if schema.get("uniqueItems"):
            result["x-kubernetes-list-type"] = "set"
        result["items"] = self.convert(schema["items"], f"{path}[]", above)

    def _limited(self, result: Schema, keyword: str, path: str) -> None:
        if self._bounded and keyword not in result:
            raise NotStructuralError(f"{path}: give the field a max_length ({keyword}), CEL rules are priced by it")

    def _union(
        self, schema: Mapping[str, Any], branches: Sequence[Mapping[str, Any]], path: str, above: tuple[str, ...]
    ) -> Schema:
        """One schema of several; null among them makes it nullable."""
        around = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
        present = [branch for branch in branches if branch.get("type") != "null"]
        if len(present) == 1:
            result = self.convert({**present[0], **around}, path, above)
        else:
            result = merged([self.convert(branch, path, above) for branch in present], path)
            result |= {key: around[key] for key in _KEPT if key in around}
            if around.get("default") is not None:
                result["default"] = _default(around["default"], result)
        if len(present) < len(branches):
            result["nullable"] = True
        return result


def merged(alternatives: Sequence[Schema], path: str) -> Schema:
    """One structural schema that holds all `alternatives`: objects by merging fields, values by merging their lists."""
    types = [alternative.get("type") for alternative in alternatives]
    if set(types) == {"integer", "string"}:
        return {INT_OR_STRING: True}
    if all("properties" in alternative for alternative in alternatives):
        return _merged_objects(alternatives, path)
    if len(set(types)) == 1 and all("enum" in alternative for alternative in alternatives):
        return {**alternatives[0], "enum": list(dict.fromkeys(v for a in alternatives for v in a["enum"]))}
    raise NotStructuralError(f"{path}: a union of {', '.join(map(str, types))} cannot be expressed in a CRD")


def _merged_objects(alternatives: Sequence[Schema], path: str) -> Schema:
    """One object with the fields of all; a CEL rule says that it is one of them."""
    names = list(dict.fromkeys(name for one in alternatives for name in one["properties"]))
    properties: Schema = {}
    for name in names:
        having = [one["properties"][name] for one in alternatives if name in one["properties"]]
        same = all(field == having[0] for field in having)
        field = dict(having[0] if same else merged(having, f"{path}.{name}"))
        if not same or len(having) < len(alternatives):
            field.pop("default", None)  # it would appear in the other alternatives too
        properties[name] = field
    required = [name for name in names if all(name in one.get("required", ()) for one in alternatives)]
    guards = [_guard(one, properties, required) for one in alternatives]
    stated = [rule(" || ".join(guards), "the fields of exactly one of the alternatives must be given")]
    for guard, one in zip(guards, alternatives, strict=True):
        stated += [{**inner, "rule": f"!{guard} || ({inner['rule']})"} for inner in one.get(RULES, ())]
    result: Schema = {"type": "object", "properties": properties}
    if required:
        result["required"] = required
    return result | {RULES: stated}


def _guard(one: Schema, properties: Schema, required: Sequence[str]) -> str:
    """CEL that is true if `self` is this alternative of the merged `properties`."""
    terms = [f"has(self.{name})" for name in one.get("required", ()) if name not in required]
    for name, field in one["properties"].items():
        if "enum" in field and field["enum"] != properties[name]["enum"]:
            narrowed = f"self.{name} in {_cel_list(field['enum'])}"
            terms.append(narrowed if name in one.get("required", ()) else f"(!has(self.{name}) || {narrowed})")
    terms += [f"!has(self.{name})" for name in properties if name not in one["properties"]]
    return f"({' && '.join(terms) or 'true'})"


def _cel_list(values: Sequence[Any]) -> str:
    return "[" + ", ".join(f"'{value}'" if isinstance(value, str) else str(value) for value in values) + "]"


def _default(value: Any, schema: Schema) -> Any:
    """The default without nulls; `{}` for an object whose fields' own defaults say the same.

    An object with rules has it written out: the API server tries rules on a default before it fills in the fields'.
    """
    pruned = _without_nulls(value)
    if "properties" in schema and RULES not in schema and pruned == filled(schema):
        return {}
    return pruned


def filled(schema: Schema) -> dict[str, Any]:
    """What the API server makes of an empty object: the defaults of its fields."""
    result = {}
    for name, child in schema["properties"].items():
        if "default" in child:
            default = child["default"]
            result[name] = {**filled(child), **default} if "properties" in child else default
    return result


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(inner) for inner in value]
    return value


def _type_of(values: Sequence[Any], path: str) -> str:
    names = {str: "string", bool: "boolean", int: "integer", float: "number"}
    found = {names.get(type(value)) for value in values}
    if len(found) != 1 or None in found:
        raise NotStructuralError(f"{path}: the values {list(values)} are not of one simple type")
    return str(found.pop())


def _boolean_bounds(result: Schema) -> None:
    """`exclusiveMinimum: 0` of newer JSON Schema to the older `minimum: 0, exclusiveMinimum: true`."""
    for exclusive, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in result and not isinstance(result[exclusive], bool):
            result[inclusive] = result[exclusive]
            result[exclusive] = True
