"""Avro schemas: parsed into nodes, and resolved to the columns of a reading. Pure.

A schema is resolved once and then serves millions of messages; what cannot serve is told with its reason and field.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from meterpipe.core.deadletters import Reason

PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
_TEXTS = ("meter", "metric", "attribute")
LIMITS = {"interval": 2**31 - 1, "quality": 255, "revision": 65535}
"""The optional columns, 0 where a message lacks them, and their largest values."""
LONGEST_SCHEMA = 2**20
"""Characters of a schema. To parse one of some megabytes takes seconds."""
LARGEST_SCHEMA = 10_000
"""Types in a schema, those used at several places counted at each."""


class SchemaError(ValueError):
    """A text that is no Avro schema."""


class UnusableSchemaError(Exception):
    """A schema whose records are no readings: every message written with it is refused for this reason."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class SchemaSource(Protocol):
    """Where schemas are looked up; a registry, its cache in between."""

    def schema(self, number: int) -> str | None:
        """The schema of this id as JSON text; None if there is none. Waits for a registry that is away, and raises."""


@dataclass(frozen=True, slots=True)
class Primitive:
    """A type without parts."""

    kind: str
    logical: str = ""


@dataclass(frozen=True, slots=True)
class Fixed:
    """So many bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class Enum:
    """One of these words."""

    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Union:
    """One of these, told by its number."""

    branches: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Blocks:
    """An array, or a map (whose items have a key before them)."""

    item: "Node"
    keyed: bool


@dataclass(slots=True, eq=False)
class Record:
    """Named parts in order. Filled after it is made, since it may hold itself."""

    name: str
    fields: list["Part"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a record. `default` is only meaningful with `has_default`."""

    name: str
    node: "Node"
    aliases: tuple[str, ...] = ()
    has_default: bool = False
    default: Any = None


Node = Primitive | Fixed | Enum | Union | Blocks | Record


def parse(text: str) -> Node:
    """The schema in `text`. Raises SchemaError."""
    if len(text) > LONGEST_SCHEMA:
        raise SchemaError(f"a schema of {len(text)} characters, at most {LONGEST_SCHEMA} are read")
    try:
        return _Parser().node(msgspec.json.decode(text), "")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise SchemaError(f"no Avro schema: {problem!r}") from problem


class _Parser:
    def __init__(self) -> None:
        self._named: dict[str, Node] = {}

    def node(self, schema: Any, space: str) -> Node:
        if isinstance(schema, str):
            return self._by_name(schema, space)
        if isinstance(schema, list):
            return Union(tuple(self.node(branch, space) for branch in schema))
        kind = schema["type"]
        if not isinstance(kind, str):
            return self.node(kind, space)
        if kind in PRIMITIVES:
            return Primitive(kind, schema.get("logicalType") or "")
        if kind in ("array", "map"):
            return Blocks(self.node(schema["items" if kind == "array" else "values"], space), kind == "map")
        if kind not in ("record", "error", "enum", "fixed"):
            return self._by_name(kind, space)
        name = schema["name"]
        space = name.rpartition(".")[0] or schema.get("namespace", space) or ""
        full = name if "." in name or not space else f"{space}.{name}"
        if kind == "enum":
            made: Node = Enum(tuple(schema["symbols"]))
        elif kind == "fixed":
            made = Fixed(int(schema["size"]))
            if made.size < 0:
                raise SchemaError(f"fixed {full} has a negative size")
        else:
            made = Record(full)
        self._named[full] = made
        if isinstance(made, Record):
            made.fields += [self._part(part, space) for part in schema["fields"]]
        return made

    def _part(self, part: Mapping[str, Any], space: str) -> Part:
        aliases = tuple(part.get("aliases") or ())
        return Part(part["name"], self.node(part["type"], space), aliases, "default" in part, part.get("default"))

    def _by_name(self, name: str, space: str) -> Node:
        if name in PRIMITIVES:
            return Primitive(name)
        found = self._named.get(name if "." in name or not space else f"{space}.{name}") or self._named.get(name)
        if found is None:
            raise SchemaError(f"type {name!r} is not defined")
        return found


@dataclass(frozen=True, slots=True)
class Resolved:
    """How messages of one schema become columns: the writer's parts in order, each with the column it fills, if any.

    `defaults` has the columns that the messages lack.
    """

    parts: tuple[tuple[Node, str | None], ...]
    defaults: dict[str, int | float]


def resolve(writer: Node, names: Mapping[str, str], reader: Node | None = None) -> Resolved:
    """Resolve what messages were written with to a reading's columns. Raises UnusableSchemaError.

    `names` maps meter, metric, attribute, timestamp, value, interval, quality, revision to fields, as for JSON. Without
    a `reader` schema a field is found by that name or an alias the writer states. With one, as Avro has it: the field
    is looked up in the reader's schema, whose aliases name it in older messages and whose default stands in for it.
    """
    if not isinstance(writer, Record):
        raise UnusableSchemaError(Reason.WRONG_TYPE, "the schema is no record")
    _weigh(writer)
    columns: dict[str, str] = {}
    defaults: dict[str, int | float] = {}
    for role, name in names.items():
        part, default = _find(writer, name, reader)
        if part is not None:
            if part.name in columns:
                detail = f"field {part.name!r} would be {columns[part.name]} and {role}"
                raise UnusableSchemaError(Reason.WRONG_TYPE, detail)
            _check(role, part)
            columns[part.name] = role
        elif default is not None:
            defaults[role] = _number(role, default)
        elif role in LIMITS:
            defaults[role] = 0
        else:
            detail = f"schema {writer.name} has no field {name!r} for the {role}, nor an alias or a default"
            raise UnusableSchemaError(Reason.MISSING_FIELD, detail)
    return Resolved(tuple((part.node, columns.get(part.name)) for part in writer.fields), defaults)


def _find(writer: Record, name: str, reader: Node | None) -> tuple[Part | None, Any]:
    """The writer's part for `name`, or else the reader's default (None: there is none)."""
    if isinstance(reader, Record):
        known = _named(reader, name)
        if known is None:
            return None, None
        old = {known.name, *known.aliases}
        found = next((part for part in writer.fields if part.name == known.name), None)
        found = found or next((part for part in writer.fields if part.name in old), None)
        return found, known.default if known.has_default else None
    return _named(writer, name), None


def _named(record: Record, name: str) -> Part | None:
    by_name = next((part for part in record.fields if part.name == name), None)
    return by_name or next((part for part in record.fields if name in part.aliases), None)


def _check(role: str, part: Part) -> None:
    branches = part.node.branches if isinstance(part.node, Union) else (part.node,)
    kinds: tuple[str, ...] = ("string", "enum") if role in _TEXTS else ("int", "long")
    if role == "value":
        kinds = ("double", "float", "int", "long")
    for branch in branches:
        kind = "enum" if isinstance(branch, Enum) else branch.kind if isinstance(branch, Primitive) else "other"
        if kind not in (*kinds, "null") or (kind == "null" and len(branches) == 1):
            wanted = " or ".join(kinds)
            raise UnusableSchemaError(Reason.WRONG_TYPE, f"field {part.name!r}, the {role}, must be {wanted}")
    rest = [b for b in branches if not isinstance(b, Enum) and not (isinstance(b, Primitive) and b.kind == "null")]
    if sum(isinstance(b, Enum) for b in branches) > (0 if rest else 1):
        detail = f"field {part.name!r}, the {role}, must be one enum, or one and null"
        raise UnusableSchemaError(Reason.WRONG_TYPE, detail)


def _number(role: str, default: Any) -> int | float:
    number = isinstance(default, int | float) and not isinstance(default, bool)
    fits = role == "value" or (role in LIMITS and isinstance(default, int) and 0 <= default <= LIMITS[role])
    if not number or not fits:
        raise UnusableSchemaError(Reason.WRONG_TYPE, f"the default of the {role} is {default!r}")
    return default  # type: ignore[no-any-return]


def _weigh(node: Node, within: tuple[int, ...] = ()) -> int:
    """Types of `node`, itself included. A record that holds itself has to do so in an array, a map or a union."""
    if isinstance(node, Union):
        inside = [_weigh(branch, within) for branch in node.branches if id(branch) not in within]
    elif isinstance(node, Record):
        if id(node) in within:
            return 1
        inside = [_weigh(part.node, (*within, id(node))) for part in node.fields]
    elif isinstance(node, Blocks):
        inside = [_weigh(node.item, within)]
    else:
        inside = []
    weight = 1 + sum(inside)
    if weight > LARGEST_SCHEMA:
        raise UnusableSchemaError(Reason.WRONG_TYPE, f"the schema has more than {LARGEST_SCHEMA} types")
    return weight
