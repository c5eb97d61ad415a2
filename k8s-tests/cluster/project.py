"""The layers of this checkout's own image: what its lock file names, and the project itself, as its Dockerfile says."""

import re
from collections.abc import Iterable
from pathlib import Path

from cluster import dockerfile
from cluster.archive import Entry
from cluster.errors import ClusterError
from cluster.layers import PATCH, PYTHON, UV_INSTALL, packed
from cluster.programs import HERE
from cluster.shell import run
from cluster.store import Store

CHECKOUT = HERE.parent.parent
PYPROJECT = CHECKOUT / "pyproject.toml"
LOCK = CHECKOUT / "requirements.lock"
CONTENTS = dockerfile.read(CHECKOUT / "Dockerfile")
SOURCES = tuple(CHECKOUT / name for name in CONTENTS.sources if name != LOCK.name)
OLD_LOCK = "make requirements.lock anew: it is older than pyproject.toml"
TARGET = "opt/meterpipe"


def locked_wheels(store: Store) -> Path:
    """Return a layer with the packages that the image's extras need, as requirements.lock pins them by hash."""
    if not LOCK.exists():
        raise ClusterError(f"{LOCK} does not exist", "`uv pip compile` makes it from pyproject.toml")
    # only names: versions and hashes are the lock file's
    command = ("uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", PATCH)
    extras = [f"--extra={extra}" for extra in CONTENTS.extras]
    needed = run(
        *command, *extras, "--constraint", LOCK, PYPROJECT, hint="is requirements.lock older than pyproject.toml?"
    )
    pinned = subset(LOCK.read_text(), names(needed))

    def gather(work: Path) -> list[Entry]:
        (work / "pinned.txt").write_text(pinned)
        run(*UV_INSTALL, work / "target", "--require-hashes", "-r", work / "pinned.txt", hint="`pip install uv`")
        return [_finished(work / "target")]

    return packed(store, "meterpipe-wheels", [pinned, *UV_INSTALL], gather)


def project(store: Store) -> Path:
    """Return a layer with the project itself, built and installed as for its users."""

    def gather(work: Path) -> list[Entry]:
        run(*UV_INSTALL, work / "target", CHECKOUT, hint="the lines above are the build's")
        return [_finished(work / "target")]

    return packed(store, "meterpipe-project", [*SOURCES, *UV_INSTALL], gather)


def names(requirements: str) -> set[str]:
    """Return the names of the packages in a requirements file."""
    return set(re.findall(r"(?m)^([a-z0-9][a-z0-9._-]*)==", requirements))


def subset(lock: str, wanted: Iterable[str]) -> str:
    """Return the blocks of a lock file, requirements with their hashes, of the wanted packages; all must be there."""
    blocks = re.split(r"(?m)^(?=[a-z0-9])", lock)
    kept = [block for block in blocks if names(block) & set(wanted)]
    if missing := set(wanted) - names("".join(kept)):
        raise ClusterError(f"requirements.lock does not name {', '.join(sorted(missing))}", OLD_LOCK)
    return "".join(re.sub(r"(?m)^\s*#.*\n", "", block) for block in kept)


def _finished(folder: Path) -> Entry:
    """Compile modules once for all pods, and let scripts start by the image's own Python."""
    (folder / ".lock").unlink(missing_ok=True)  # uv's own
    python = run("uv", "python", "find", PYTHON).strip()
    compiling = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
    run(python, *compiling, "-s", folder, "-p", f"/{TARGET}", folder)
    for script in filter(Path.is_file, (folder / "bin").glob("*")):
        first, newline, rest = script.read_bytes().partition(b"\n")
        if first.startswith(b"#!") and b"python" in first:
            script.write_bytes(b"#!/usr/bin/python3" + newline + rest)
    return Entry(TARGET, folder)
