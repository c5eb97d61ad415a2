"""What the services run from: jars by Maven and the S3 server by Go, made once and kept in the cache."""

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from meterpipe.local import tools
from meterpipe.local.paths import cache_dir

RECIPES = Path(__file__).with_name("recipes")
S3_SERVER = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"


def jars(recipe: str) -> Path:
    """A folder with the jars that `recipes/<recipe>/pom.xml` names and all they need."""
    pom = RECIPES / recipe / "pom.xml"

    def make(folder: Path) -> None:
        _maven("dependency:copy-dependencies", pom, folder)

    return _made(f"{recipe}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}", make)


def registry_app() -> Path:
    """The schema registry's folder, unpacked."""
    pom = RECIPES / "registry" / "pom.xml"

    def make(folder: Path) -> None:
        _maven("dependency:copy", pom, folder)
        (archive,) = folder.glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        archive.unlink()

    return _made(f"registry-{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}", make)


def _maven(goal: str, pom: Path, folder: Path) -> None:
    java_home = tools.java().parent.parent
    tools.run(
        [
            *(str(tools.maven()), "-q", "-B", "-f", str(pom), goal),
            *(f"-DoutputDirectory={folder}", "-DincludeScope=runtime"),
        ],
        env={} if os.environ.get("JAVA_HOME") else {"JAVA_HOME": str(java_home)},
        way_out="Maven must reach a repository; a mirror goes into ~/.m2/settings.xml",
    )


def s3_server() -> Path:
    """The S3 server's binary, built from its Go module."""

    def make(folder: Path) -> None:
        tools.run(
            [str(tools.go()), "install", S3_SERVER],
            env={"GOBIN": str(folder), "CGO_ENABLED": "0"},
            way_out="Go must reach a module proxy; GOPROXY names it",
        )

    return _made(f"versitygw-{S3_SERVER.rpartition('@')[2]}", make) / "versitygw"


def _made(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, filled by `make` the first time. Complete or absent, also after a crash."""
    folder = cache_dir() / name
    if not folder.exists():
        with tools.locked(name):
            if not folder.exists():
                draft = folder.with_name(f".{name}.draft")
                shutil.rmtree(draft, ignore_errors=True)
                draft.mkdir(parents=True)
                make(draft)
                draft.rename(folder)
    return folder
