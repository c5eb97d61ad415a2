"""Build results outside the checkout, each in a folder named after the hash of what it was made from."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.shell import say

KEPT_PER_NAME = 2  # results of one name that stay: the present one and the one before, for a switch of branches


def cache_root() -> Path:
    """Return the project's cache folder: METERPIPE_CACHE, else meterpipe in the user's cache folder."""
    if chosen := os.environ.get("METERPIPE_CACHE"):
        return Path(chosen).absolute() / "k8s"
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).absolute() / "meterpipe" / "k8s"


def fingerprint(inputs: Iterable[str | Path]) -> str:
    """Hash texts and files (a folder stands for all files below it) to 16 hex digits.

    A file counts by its content and its name below the given folder, never by its place on the machine; what Python
    compiles beside its sources does not count.
    """
    digest = hashlib.sha256()
    for item in inputs:
        if isinstance(item, str):
            _feed(digest.update, b"text", item.encode())
            continue
        for path in files_below(item):
            if path.parent.name == "__pycache__":
                continue
            _feed(digest.update, str(path.relative_to(item.parent)).encode(), path.read_bytes())
    return digest.hexdigest()[:16]


def files_below(path: Path) -> list[Path]:
    """List the files at or below a path in a fixed order."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


class Store:
    """Makes a result once per set of inputs; safe for several processes at the same time."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, name: str, inputs: Iterable[str | Path], make: Callable[[Path], None]) -> Path:
        """Return the folder of a result; ``make`` fills it when these inputs have not been seen before."""
        folder = self.root / f"{name}-{fingerprint(inputs)}"
        if not folder.exists():
            with self.lock(name):
                if not folder.exists():
                    self._make(folder, name, make)
        os.utime(folder)
        return folder

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock of this name against other processes."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f".{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _make(self, folder: Path, name: str, make: Callable[[Path], None]) -> None:
        draft = self.root / f".{folder.name}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        say(f"{name}: building")
        make(draft)
        draft.rename(folder)
        say(f"{name}: built")
        digits = len(folder.name) - len(name)
        same = [p for p in self.root.glob(f"{name}-*") if len(p.name) - len(name) == digits]
        for old in sorted(same, key=lambda p: p.stat().st_mtime, reverse=True)[KEPT_PER_NAME:]:
            shutil.rmtree(old, ignore_errors=True)


def _feed(update: Callable[[bytes], None], *parts: bytes) -> None:
    for part in parts:
        update(len(part).to_bytes(8, "big"))
        update(part)
