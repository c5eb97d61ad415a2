"""What is wrong with an input, said for people: where, with what value, why, and the way out. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from meterpipe.spec.documents import Path

Schema = Mapping[str, Any]

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one field of one file. `line` counts from 1; 0 where there is no file."""

    file: str
    line: int
    path: str
    reason: str
    value: Any = None
    way_out: str = ""

    def __str__(self) -> str:
        where = ":".join(part for part in (self.file, str(self.line or "")) if part)
        parts = [part for part in (where, self.path) if part]
        return ": ".join([*parts, f"{self.reason} ({self.way_out})" if self.way_out else self.reason])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class SpecError(ValueError):
    """An input is wrong. Holds every problem found, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(list(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def dotted(path: Path) -> str:
    """`spec.aggregator.windows[2]`; keys that are no plain name are quoted: `metadata.labels["a.b/c"]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier() or part.replace("-", "").isalnum():
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part)}]"
    return text


def nearest(name: str, names: Sequence[str], likeness: float = 0.6) -> str | None:
    """The one of `names` that `name` was probably meant to be, whatever its case and punctuation; 1 is equal."""
    squeezed = {_squeezed(known): known for known in names}
    found = get_close_matches(_squeezed(name), squeezed, n=1, cutoff=likeness)
    return squeezed[found[0]] if found else None


def _squeezed(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


def fields_at(schema: Schema, path: Path) -> list[str]:
    """Names of the fields of the object at `path` in a structural schema; none if it is no object."""
    for part in path:
        if isinstance(part, int):
            schema = schema.get("items", {})
        else:
            schema = schema.get("properties", {}).get(part) or schema.get("additionalProperties", {})
    return list(schema.get("properties", {}))


def explained(error: ErrorDetails, schema: Schema) -> tuple[Path, str, str]:
    """Path, reason and way out of one of pydantic's errors."""
    path: Path = tuple(part for part in error["loc"] if part != "[key]")
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return path, "unknown field", _right_name(path, schema)
    if kind == "missing":
        return path, "required, but missing", ""
    if kind in ("enum", "literal_error"):
        allowed = str(context["expected"]).replace(" or ", ", ")
        near = nearest(str(value), [choice.strip("'") for choice in allowed.split(", ")])
        return path, f"must be one of {allowed}, got {shown(value)}", f"did you mean {near}?" if near else ""
    if kind == "rule":
        reason = str(context["reason"])
        return path, reason if value is None or kind_of(value) == "object" else f"{reason}, got {shown(value)}", ""
    sentence = _SENTENCES.get(kind)
    if sentence is None:
        return path, f"{error['msg'][:1].lower()}{error['msg'][1:]}, got {shown(value)}", ""
    return path, f"{sentence(context)}, got {shown(value)}", _cast_hint(kind, value)


def _right_name(path: Path, schema: Schema) -> str:
    name, known = str(path[-1]), fields_at(schema, path[:-1])
    elsewhere = next((other for other in _everywhere(schema) if other[-1] == name), None)
    near = nearest(name, known, 0.8 if elsewhere else 0.6)  # another place of that very name is no typing error
    if near:
        return f"did you mean {near}?"
    if elsewhere:
        return f"that field is {dotted(elsewhere)}"
    return f"fields here: {', '.join(known)}" if known else ""


def _everywhere(schema: Schema, path: Path = ()) -> list[Path]:
    """Paths of all fields, nearest to the root first."""
    here: list[Path] = [(*path, name) for name in schema.get("properties", {})]
    below = [_everywhere(child, (*path, name)) for name, child in schema.get("properties", {}).items()]
    return sorted([*here, *(found for paths in below for found in paths)], key=len)


def _cast_hint(kind: str, value: Any) -> str:
    if kind == "string_type" and isinstance(value, int | float):
        return f'put it in quotes: "{json.dumps(value)}"'
    if kind == "int_type" and isinstance(value, str) and value.lstrip("-").isdigit():
        return f"leave the quotes out: {value}"
    if kind == "bool_type" and isinstance(value, str) and value.lower() in ("true", "false"):
        return f"leave the quotes out: {value.lower()}"
    return ""


def shown(value: Any) -> str:
    """A value as JSON, cut to a readable length."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def kind_of(value: Any) -> str:
    """JSON's word for the type of `value`."""
    if isinstance(value, bool):
        return "boolean"
    names: dict[type, str] = {dict: "object", list: "list", str: "text", int: "number", float: "number"}
    return names.get(type(value), "object" if value is not None else "null")


def _pattern(context: Mapping[str, Any]) -> str:
    pattern = str(context["pattern"])
    return _PATTERNS.get(pattern, f"must match {pattern}")


_BOTH_ENDS = "with a letter or digit at both ends"
_PATTERNS = {
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": f"must be lower-case letters, digits and '-', {_BOTH_ENDS}",
    r"^[a-zA-Z0-9._-]+$": "must be letters, digits, '.', '_' and '-'",
    r"^[a-z][a-z0-9_]*$": "must be lower-case letters, digits and '_', beginning with a letter",
    r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$": f"must be lower-case letters, digits, '.' and '-', {_BOTH_ENDS}",
    r"^https?://": "must begin with http:// or https://",
}
_OBJECT = "must be a mapping (name: value)"
_SENTENCES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "int_type": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "bool_type": lambda _: "must be true or false",
    "string_type": lambda _: "must be text",
    "path_type": lambda _: "must be a path",
    "tuple_type": lambda _: "must be a list",
    "list_type": lambda _: "must be a list",
    "dict_type": lambda _: _OBJECT,
    "model_type": lambda _: _OBJECT,
    "greater_than_equal": lambda c: f"must be at least {c['ge']}",
    "greater_than": lambda c: f"must be more than {c['gt']}",
    "less_than_equal": lambda c: f"must be at most {c['le']}",
    "less_than": lambda c: f"must be less than {c['lt']}",
    "too_short": lambda c: f"must have at least {c['min_length']} entries",
    "too_long": lambda c: f"must have at most {c['max_length']} entries",
    "string_too_short": lambda c: f"must have at least {c['min_length']} characters",
    "string_too_long": lambda c: f"must have at most {c['max_length']} characters",
    "string_pattern_mismatch": _pattern,
}
