"""SQL expressions over a reading's columns: what is allowed in them, and what is wrong with one. Pure.

An expression is parsed by Polars and then looked at node by node: only what works on each row by itself and touches
nothing else is let through. Whatever is not known here is refused, so that a newer parser brings in nothing by itself.
"""

import json
import re
import warnings
from collections.abc import Iterator
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

MAX_LENGTH = 2000
MAX_DEPTH = 40
"""Of brackets, CASE and NOT, each within another."""
MAX_TERMS = 64
"""Operators of one expression: the engine's planning takes about the cube of their number, 3 s for 180 times OR."""

COLUMNS = ("meter", "metric", "attribute", "ts", "value", "span", "quality", "revision")
"""`ts` is a UTC time without zone, `span` the seconds a reading covers (INTERVAL is a word of SQL)."""

_TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\w+|\|\||[<>!]=|<>|[^\s\w]")
_CLOCK = frozenset(("now", "today", "localtime", "localtimestamp", "current_timestamp", "current_date", "current_time"))
"""Names of the clock, however they are written: no column is called so."""
_NODES = frozenset(("Column", "Literal", "BinaryExpr", "Ternary", "Cast", "Function", "Alias"))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OPERATORS = _words("and or not is in between like ilike when xor + - * / % = < > <= >= <> != || & | ^ ~")

_FUNCTIONS: MappingProxyType[str, frozenset[str] | None] = MappingProxyType(
    {
        "Boolean": _words("IsNull IsNotNull IsIn IsNan IsNotNan IsFinite IsInfinite Not IsBetween"),
        "StringExpr": _words(
            "Uppercase Lowercase StartsWith EndsWith Contains LenChars LenBytes Slice ConcatHorizontal"
            " StripChars StripCharsStart StripCharsEnd StripPrefix StripSuffix Head Tail Find Reverse Titlecase"
        ),
        "TemporalExpr": _words(
            "Year Month Day Hour Minute Second Millisecond WeekDay Week OrdinalDay Quarter IsoYear Date Time TimeStamp"
            " ToString Truncate"
        ),
        "Sql": None,
        "Pow": None,
    }
)
"""By family, the functions that work on each row by itself; None: all of the family."""
_SAFE_CASTS = _words("String Boolean Date")
"""Types to which CAST may turn a value: of readings' columns only texts can fail, and those fail by themselves."""
_PLAIN = _words(
    "Abs Negate Coalesce Sign Floor Ceil Round RoundSF Clip MinHorizontal MaxHorizontal Log Log1p Exp Trigonometry"
    " FillNull"
)
KNOWN = _words(
    "abs ceil coalesce concat date_part ends_with extract floor greatest if least left length lower ltrim nullif pow"
    " right round rtrim sign sqrt starts_with strpos substr trim try_cast upper"
)
"""Functions worth naming when a name is not known."""


class Want(StrEnum):
    """What an expression is for."""

    CONDITION = "condition"
    VALUE = "value"


@lru_cache(maxsize=1024)
def expression_problem(text: str, want: Want) -> str | None:
    """What is wrong with an expression, None if nothing: it is parsed, looked through and tried on no rows."""
    if len(text) > MAX_LENGTH:
        return f"has {len(text)} characters, at most {MAX_LENGTH} are taken"
    if depth_of(text) > MAX_DEPTH:
        return f"is nested more than {MAX_DEPTH} deep"
    words = _TOKEN.findall(text)
    if sum(word.lower() in _OPERATORS for word in words) > MAX_TERMS:
        return f"has too many terms: at most {MAX_TERMS} operators are taken; many alternatives are written IN (…)"
    if found := next((word for word in words if word.strip('"').lower() in _CLOCK), None):
        return f"{found} would be the time at which the worker started; compare ts with a timestamp"
    import polars as pl  # by need: it takes a fifth of a second

    try:
        expression = pl.sql_expr(text)
        if isinstance(expression, list):
            return "must be one expression"
        if problem := _forbidden(expression):
            return problem
        return _misfit(expression, want)
    except pl.exceptions.ColumnNotFoundError as error:
        return _unknown_column(str(error))
    except RecursionError:
        return "is nested too deep, or has too many terms"
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        return _told(error)


def parse(text: str) -> "pl.Expr":
    """The expression of a text in which there is no problem."""
    import polars as pl

    return pl.sql_expr(text)


def empty_frame() -> "pl.DataFrame":
    """No readings, with the columns and types that expressions work on. Wide: `quality + 10` must not wrap around."""
    import polars as pl

    types = (pl.String, pl.String, pl.String, pl.Datetime("ms"), pl.Float64, pl.Int64, pl.Int64, pl.Int64)
    return pl.DataFrame(schema=dict(zip(COLUMNS, types, strict=True)))


def depth_of(text: str) -> int:
    """How deep brackets, CASE, NOT and signs are nested at most, told without a parser."""
    depth = deepest = run = 0
    for word in _TOKEN.findall(text):
        lowered = word.lower()
        run = run + 1 if lowered in ("not", "-", "+", "~") else 0
        if lowered in ("(", "[", "case"):
            depth += 1
        elif lowered in (")", "]", "end"):
            depth -= 1
        deepest = max(deepest, depth + run)
    return deepest


def _forbidden(expression: "pl.Expr") -> str | None:
    """The first thing in an expression that is not allowed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the text form may change with the version: an unknown node is refused
        tree = json.loads(expression.meta.serialize(format="json"))
    for node, body in _nodes(tree):
        if node not in _NODES:
            return _NAMED.get(node, f"{node} is not allowed; each reading is judged by itself")
        if node == "Cast" and body["options"] == "Strict" and body["dtype"].get("Literal") not in _SAFE_CASTS:
            return "CAST fails as a whole where one value does not fit; use TRY_CAST, which gives NULL then"
        if node == "Function" and (found := _function(body["function"])):
            return found
    return None


_NAMED = {
    "SubPlan": "a query within an expression is not allowed",
    "Agg": "aggregates are not allowed: each reading is judged by itself",
    "Len": "aggregates are not allowed: each reading is judged by itself",
    "Over": "window functions are not allowed: each reading is judged by itself",
    "Explode": "a list cannot become rows",
    "Selector": "columns must be named",
}


def _function(function: Any) -> str | None:
    kind, what = next(iter(function.items())) if isinstance(function, dict) else (function, None)
    if kind in _PLAIN:
        return None
    if kind in _FUNCTIONS:
        allowed = _FUNCTIONS[kind]
        name = next(iter(what)) if isinstance(what, dict) else what
        return None if allowed is None or name in allowed else f"the function {name} is not allowed"
    return f"the function {kind} is not allowed"


def _nodes(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every expression node of a tree: those that stand where an expression stands."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            yield node, None
            continue
        (kind, body), *_ = node.items()
        yield kind, body
        waiting += _inputs(kind, body)


def _inputs(kind: str, body: Any) -> list[Any]:
    match kind:
        case "BinaryExpr":
            return [body["left"], body["right"]]
        case "Ternary":
            return [body["predicate"], body["truthy"], body["falsy"]]
        case "Cast":
            return [body["expr"]]
        case "Function":
            return list(body["input"])
        case "Alias":
            return [body[0]]
    return []


def _misfit(expression: "pl.Expr", want: Want) -> str | None:
    """What is wrong with the type of the result."""
    import polars as pl

    frame = empty_frame().lazy().select(expression.alias("result"))
    found = frame.collect_schema()["result"]
    frame.collect()
    if want is Want.CONDITION and found != pl.Boolean:
        return f"must be true or false, is {found}"
    if found.is_nested() or found in (pl.Object, pl.Binary):
        return f"must be a single value, is {found}"
    return None


def _unknown_column(message: str) -> str:
    found = re.search(r'column "([^"]*)"', message)
    name = found[1] if found else ""
    near = get_close_matches(name, COLUMNS, n=1)
    return f"has no column {name!r}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(COLUMNS)}")


def _told(error: Exception) -> str:
    message = str(error).splitlines()[0]
    if found := re.search(r"unsupported function '([^']*)'", message):
        near = get_close_matches(found[1], KNOWN, n=1)
        return f"has no function {found[1]!r}" + (f"; did you mean {near[0]}?" if near else "")
    return f"cannot be read: {message}"
