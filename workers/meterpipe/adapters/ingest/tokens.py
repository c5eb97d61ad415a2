"""Who may post: bearer tokens of gateway groups, from files that may change while the worker runs."""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from meterpipe.spec.ingest import GatewayGroup

log = logging.getLogger(__name__)

SHORTEST = 16
RELOAD_S = 5.0
ANYONE = GatewayGroup(name="anonymous", secret_name="none")


class TokenError(Exception):
    """A token file that cannot be used; says which and why, never the token."""


class Tokens:
    """Finds the group of a request. Tokens are kept as SHA-256, so looking one up tells nothing by its time."""

    def __init__(
        self,
        groups: Sequence[GatewayGroup],
        files: Mapping[str, Path],
        anonymous: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises TokenError if a file is missing, empty, or has a token that is too short or another group's."""
        self._groups = {group.name: group for group in groups}
        self._files = {name: files[name] for name in self._groups if name in files}
        if missing := self._groups.keys() - self._files.keys():
            raise TokenError(f"no token file for the groups {', '.join(sorted(missing))}")
        self._anonymous, self._clock = anonymous, clock
        self._changed = self._times()
        self._known = self._read()
        self._looked = clock()

    def group_of(self, authorization: str | None) -> GatewayGroup | None:
        """The group whose token an Authorization header bears; None if it has no right to post."""
        self._reload()
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() == "bearer":
            found = self._known.get(_digest(token.strip()))
            if found is not None:
                return self._groups[found]
        return ANYONE if self._anonymous else None

    def _reload(self) -> None:
        """Read the files again if one has changed; a broken one is logged, and the tokens known so far stay."""
        now = self._clock()
        if now - self._looked < RELOAD_S:
            return
        self._looked = now
        try:
            changed = self._times()
            if changed != self._changed:
                self._known, self._changed = self._read(), changed
                log.info("tokens of the gateway groups read anew")
        except TokenError as error:
            log.error("tokens stay as they were: %s", error)

    def _times(self) -> dict[str, int]:
        try:
            return {name: file.stat().st_mtime_ns for name, file in self._files.items()}
        except OSError as error:
            raise TokenError(f"token file: {error}") from error

    def _read(self) -> dict[bytes, str]:
        known: dict[bytes, str] = {}
        for name, file in self._files.items():
            tokens = [line.strip() for line in _text(file).splitlines() if line.strip()]
            if not tokens:
                raise TokenError(f"{file} of group {name} has no token")
            for token in tokens:
                if len(token) < SHORTEST:
                    raise TokenError(f"{file} of group {name} has a token of fewer than {SHORTEST} characters")
                owner = known.setdefault(_digest(token), name)
                if owner != name:
                    raise TokenError(f"groups {owner} and {name} have a token in common")
        return known


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenError(f"token file: {error}") from error


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
