"""How an object differs from what was applied. Pure.

Only what we apply is looked at: the API server adds defaults and other managers add fields of their own, and both may
stay. What it writes in another way (quantities, values that say nothing) is not a difference.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

_QUANTITY = re.compile(r"([0-9.]+)(m|k|[MGTPE]i?|Ki)?")
_UNITS = {
    None: Decimal(1), "m": Decimal("0.001"), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9),
    "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18), "Ki": Decimal(2**10), "Mi": Decimal(2**20),
    "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
_QUANTITIES = frozenset(("requests", "limits", "sizeLimit"))
_KEYS = (("name",), ("mountPath",), ("uid",), ("key",))
"""What tells items of lists apart."""


def first_difference(wanted: Any, found: Any, path: str = "") -> str | None:
    """The path at which `found` lacks or contradicts something of `wanted`; None if it does not."""
    if isinstance(wanted, Mapping):
        return _of_mappings(wanted, found, path)
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return _of_lists(wanted, found, path)
    return None if _equal(wanted, found, path) else path


def quantity(text: Any) -> Decimal | None:
    """A Kubernetes quantity as a number; None if it is none."""
    match = _QUANTITY.fullmatch(str(text))
    return Decimal(match[1]) * _UNITS[match[2]] if match else None


def _of_mappings(wanted: Mapping[str, Any], found: Any, path: str) -> str | None:
    if not isinstance(found, Mapping):
        return None if not _says_something(wanted) and found is None else path
    for key, value in wanted.items():
        here = f"{path}.{key}" if path else key
        if key not in found and not _says_something(value):
            continue
        if different := first_difference(value, found.get(key), here):
            return different
    return None


def _of_lists(wanted: Sequence[Any], found: Any, path: str) -> str | None:
    if not isinstance(found, Sequence) or isinstance(found, str):
        return None if not wanted and found is None else path
    key = next((key for key in _KEYS if _keyed(wanted, key) and _keyed(found, key)), None)
    if key is None:
        if len(wanted) != len(found):
            return path
        pairs = zip(map(str, range(len(wanted))), wanted, found, strict=True)
    else:
        there = {_identity(one, key): one for one in found}
        pairs = ((_identity(one, key), one, there.get(_identity(one, key))) for one in wanted)  # type: ignore[assignment]
    for label, one, other in pairs:
        if different := first_difference(one, other, f"{path}[{label}]"):
            return different
    return None


def _keyed(items: Sequence[Any], key: tuple[str, ...]) -> bool:
    """Whether `key` tells all the items apart."""
    if not all(isinstance(one, Mapping) and all(part in one for part in key) for one in items):
        return False
    return len({_identity(one, key) for one in items}) == len(items)


def _identity(item: Mapping[str, Any], key: tuple[str, ...]) -> str:
    return ",".join(str(item[part]) for part in key)


def _says_something(value: Any) -> bool:
    """Whether the API server keeps such a value: it leaves out empty texts, lists, objects and what is false."""
    if isinstance(value, Mapping):
        return any(_says_something(inner) for inner in value.values())
    return value is not None and value is not False and value != "" and value != [] and value != ()


def _equal(wanted: Any, found: Any, path: str) -> bool:
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    if wanted == found:
        return True
    if _QUANTITIES.isdisjoint(re.split(r"[.\[\]]", path)):
        return False
    one, other = quantity(wanted), quantity(found)
    return one is not None and one == other
