"""The checkout's Dockerfile as data: it is the list of what goes into the image of workers and operator.

Only the few forms that file uses are understood; anything else is a ClusterError, so that the two ways of making the
image cannot drift apart unseen.
"""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from cluster.archive import ImageConfig
from cluster.errors import ClusterError

WORDS = {"ARG", "FROM", "RUN", "COPY", "ENV", "WORKDIR", "USER", "ENTRYPOINT"}


@dataclass(frozen=True)
class Contents:
    """What goes into the image: Debian packages, extras of pyproject.toml, files of the checkout; how it starts."""

    suite: str
    packages: tuple[str, ...]
    extras: tuple[str, ...]
    sources: tuple[str, ...]
    config: ImageConfig


def read(path: Path) -> Contents:
    """Read the Dockerfile at a path."""
    stages: list[list[tuple[str, str]]] = [[]]
    for word, rest in instructions(path.read_text()):
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest))
    arguments = dict(_assignment(rest) for stage in stages for word, rest in stage if word == "ARG")
    try:
        return Contents(
            arguments["DEBIAN"],
            tuple(arguments["PACKAGES"].split()),
            tuple(arguments["EXTRAS"].split()),
            tuple(name for stage in stages for word, rest in stage if word == "COPY" for name in _copied(rest)),
            _config(stages[-1]),
        )
    except KeyError as missing:
        raise ClusterError(f"{path} does not set ARG {missing}") from missing


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile, continued lines joined."""
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text))
    found = [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]
    if strange := {word for word, _ in found} - WORDS:
        raise ClusterError(f"the Dockerfile uses {', '.join(sorted(strange))}", "teach cluster/dockerfile.py about it")
    return found


def _assignment(text: str) -> tuple[str, str]:
    (word,) = shlex.split(text)
    name, _, value = word.partition("=")
    return name, value


def _copied(rest: str) -> list[str]:
    """Name what is copied out of the checkout."""
    words = shlex.split(rest)
    return [] if words[0].startswith("--from=") else words[:-1]


def _config(stage: list[tuple[str, str]]) -> ImageConfig:
    """Return how containers of the last stage start."""
    rests = dict(stage)
    env = tuple(item for word, rest in stage if word == "ENV" for item in shlex.split(rest))
    return ImageConfig(entrypoint=tuple(json.loads(rests["ENTRYPOINT"])), env=env, user=rests["USER"])
