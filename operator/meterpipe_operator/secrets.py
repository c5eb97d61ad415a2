"""Which keys of which Secrets pods get: the user's own ones, mounted as they are, or copies of others'. Pure."""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence

from meterpipe_operator import kinds
from meterpipe_operator.digest import digest_of_keys
from meterpipe_operator.facts import Login, Missing, Secret
from meterpipe_operator.kinds import Manifest, Ref

Look = Callable[[Ref], Manifest | None]
"""Reads one object of the cluster, None if there is none (or the operator may not see it)."""


def mounted(look: Look, namespace: str, name: str, keys: Sequence[str], field: str, *also: str) -> Secret | Missing:
    """The user's Secret of a field of the specification; with the keys `also`, as far as it holds them."""
    data = data_of(look, namespace, name)
    if data is None:
        return Missing("SecretNotFound", f"{field}: there is no Secret {namespace}/{name}; make it with {_list(keys)}")
    if lacking := [key for key in keys if not data.get(key)]:
        reason = f"{field}: Secret {namespace}/{name} has no {_list(lacking)}, it holds {_list(sorted(data))}"
        return Missing("SecretIncomplete", reason)
    used = (*keys, *(key for key in also if data.get(key)))
    return Secret(name, used, digest_of_keys(data, used))


def copied(name: str, values: Mapping[str, str]) -> Secret:
    """A Secret that the operator writes; `values` are base64 by key."""
    return Secret(name, tuple(values), digest_of_keys(values, tuple(values)), copied=dict(values))


def login_of(data: Mapping[str, str], secret: Secret) -> Login | None:
    """Who a Secret with `username` and `password` speaks of; None if that is no text."""
    username = decoded(data.get("username", ""))
    return Login(username, secret) if username else None


def data_of(look: Look, namespace: str, name: str) -> Mapping[str, str] | None:
    """The data of a Secret, base64 by key; None if there is no such Secret."""
    found = look(Ref(kinds.SECRET, namespace, name))
    return None if found is None else (found.get("data") or {})


def decoded(value: str) -> str | None:
    """A base64 value as text without the blanks around it; None if it is not that."""
    try:
        return base64.b64decode(value, validate=True).decode().strip()
    except (binascii.Error, UnicodeDecodeError):
        return None


def encoded(text: str) -> str:
    """A text as base64."""
    return base64.b64encode(text.encode()).decode()


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
