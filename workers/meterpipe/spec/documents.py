"""YAML text to plain values, with the line of every field. Pure.

Kubernetes reads YAML 1.1, most people think in YAML 1.2. Plain scalars on which the two disagree (`no`, `010`, `1:30`,
`1_000`) are refused with the unambiguous spelling, duplicate keys are refused, timestamps stay text.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import yaml

Path = tuple[str | int, ...]

MAX_NODES = 20_000
MAX_DEPTH = 64

_PLAIN = "?"  # the tag of a scalar that does not name its type
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z")
_OCTAL_11 = re.compile(r"[-+]?0[0-9]+\Z")
_OCTAL_12 = re.compile(r"0o[0-7]+\Z")
_BINARY = re.compile(r"[-+]?0b[01]+\Z")
_GROUPED = re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?\Z")
_SEXAGESIMAL = re.compile(r"[-+]?[1-9][0-9]*(:[0-5]?[0-9])+(\.[0-9]*)?\Z")
_SPECIAL = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_BOOLEANS_11 = {"y": True, "yes": True, "on": True, "n": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something wrong with the YAML itself."""

    line: int
    path: Path
    reason: str
    way_out: str = ""


@dataclass(slots=True)
class Document:
    """One document of a file: its value, and the line (from 1) of every field and item."""

    line: int
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)

    def line_of(self, path: Path) -> int:
        """The line of `path`, or of the nearest field above it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, self.line)


LONGEST_NUMBER = 100
"""Characters of an integer; Python refuses to convert very long ones, and none here has so many."""


class _Loader(yaml.SafeLoader):
    """Composes nodes only; scalars get no type from it."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        """The tag of a node without one."""
        return _PLAIN if kind is yaml.ScalarNode else super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


def documents(text: str) -> Iterator[Document]:
    """Every document of `text` that is not empty. Broken YAML ends it with a document that holds the flaw."""
    try:
        for node in yaml.compose_all(text, Loader=_Loader):
            document = Document(line=node.start_mark.line + 1)
            document.value = _Reader(document).read(node, (), 0)
            if document.value is not None or document.flaws:
                yield document
    except yaml.YAMLError as problem:
        yield _broken(problem)
    except RecursionError:
        yield Document(1, flaws=[Flaw(1, (), "no valid YAML: nested too deep")])


def _broken(problem: yaml.YAMLError) -> Document:
    """A document that only says why the text is no YAML."""
    if isinstance(problem, yaml.MarkedYAMLError) and problem.problem_mark:
        line = problem.problem_mark.line + 1
        reason = " ".join(part for part in (problem.context, problem.problem) if part)
        way_out = "YAML indents with spaces only" if "'\\t'" in reason else ""
        return Document(line, flaws=[Flaw(line, (), f"no valid YAML: {reason}", way_out)])
    return Document(1, flaws=[Flaw(1, (), f"no valid YAML: {str(problem).splitlines()[0]}")])


class _Reader:
    """Turns the nodes of one document into values, noting lines and flaws."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._nodes = 0

    def read(self, node: yaml.Node, path: Path, depth: int) -> Any:
        """The value of `node`, which stands at `path`."""
        self._nodes += 1
        line = node.start_mark.line + 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            if not any("too deep" in flaw.reason for flaw in self._document.flaws):
                self._flaw(line, path[:4], "the document is too deep or too large", "aliases repeat their content")
            return None
        self._document.lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, i), depth + 1) for i, item in enumerate(node.value)]
        return self._scalar(cast("yaml.ScalarNode", node), path)

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.value == "<<" and key_node.style is None:
                merged |= self._merged(value_node, path, depth)
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            at = (*path, key)
            if key in seen:
                self._flaw(line, at, f"the key is given twice, first in line {seen[key]}", "keep one of them")
                continue
            seen[key] = line
            self._document.lines[at] = line
            values[key] = self.read(value_node, at, depth + 1)
        return merged | values

    def _merged(self, node: yaml.Node, path: Path, depth: int) -> dict[str, Any]:
        """The fields that `<<` brings: of a mapping, or of a list of mappings of which earlier ones win."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        result: dict[str, Any] = {}
        for source in sources:
            if isinstance(source, yaml.MappingNode):
                result = self._mapping(source, path, depth + 1) | result
            else:
                self._flaw(source.start_mark.line + 1, path, "'<<' merges mappings only")
        return result

    def _key(self, node: yaml.Node, path: Path) -> str | None:
        """A key as text, as JSON has it: 60 is "60"."""
        if not isinstance(node, yaml.ScalarNode):
            self._flaw(node.start_mark.line + 1, path, "a key must be text")
            return None
        value = self._scalar(node, (*path, node.value))
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        self._flaw(node.start_mark.line + 1, (*path, node.value), "a key must be text", f'write "{node.value}"')
        return None

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text = joined_surrogates(node.value)
        if node.tag == "tag:yaml.org,2002:str" or (node.tag == _PLAIN and node.style is not None):
            return text
        line = node.start_mark.line + 1
        if node.tag != _PLAIN:
            self._flaw(line, path, f"the YAML tag {node.tag} is not allowed", "leave it out")
            return text
        if len(text) > LONGEST_NUMBER and (_INT.match(text) or _HEX.match(text)):
            self._flaw(line, path, f"a number of {len(text)} digits", "put it in quotes if it is a text")
            return text[:LONGEST_NUMBER]
        trap = trap_of(text)
        if trap:
            self._flaw(line, path, *trap)
            return text
        return plain(text)

    def _flaw(self, line: int, path: Path, reason: str, way_out: str = "") -> None:
        self._document.flaws.append(Flaw(line, path, reason, way_out))


def joined_surrogates(text: str) -> str:
    r"""`text` with pairs such as `\ud83d\ude00`, which JSON writes for one character, made that character."""
    if not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def plain(text: str) -> Any:
    """The value of a plain scalar that all versions of YAML agree on."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INT.match(text):
        return int(text)
    if _HEX.match(text):
        return int(text, 16)
    if _FLOAT.match(text):
        return float(text)
    return _SPECIAL.get(text.lower(), text)


def trap_of(text: str) -> tuple[str, str] | None:
    """Reason and way out if YAML 1.1 and 1.2 read the plain scalar `text` differently."""
    if text.lower() in _BOOLEANS_11:
        meant = str(_BOOLEANS_11[text.lower()]).lower()
        return (
            f"`{text}` is {meant} to some YAML readers and text to others",
            f'write {meant}, or "{text}" for the text',
        )
    if _OCTAL_11.match(text):
        decimal = text.lstrip("-+").lstrip("0") or "0"
        return f"`{text}` is octal to some YAML readers and decimal to others", f'write {decimal}, or "{text}" for text'
    if _OCTAL_12.match(text):
        return f"`{text}` is octal to some YAML readers and text to others", f"write {int(text, 8)}"
    if _BINARY.match(text):
        return f"`{text}` is binary to some YAML readers and text to others", f'write {int(text, 2)}, or "{text}"'
    if _GROUPED.match(text):
        bare = text.replace("_", "")
        return f"`{text}` is a number to some YAML readers and text to others", f'write {bare}, or "{text}" for text'
    if _SEXAGESIMAL.match(text):
        return f"`{text}` is a number in base 60 to some YAML readers and text to others", f'write "{text}"'
    return None
