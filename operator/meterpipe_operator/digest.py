"""Digests of values: equal values give equal digests, on every machine and in every release of Python. Pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

LENGTH = 16


def digest(value: Any) -> str:
    """16 hexadecimal digits of a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def digest_of_keys(data: Mapping[str, str], keys: Sequence[str]) -> str:
    """Digest of what a Secret holds under `keys`; other keys may change as they like."""
    return digest({key: data.get(key) for key in keys})
