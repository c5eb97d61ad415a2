"""Running other programs and telling what happens: the only place that starts a child and waits for it."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cluster.errors import ClusterError

_STARTED = time.monotonic()


def say(text: str) -> None:
    """Print a progress line with the seconds since the command began, to stderr so that stdout stays for results."""
    print(f"[{time.monotonic() - _STARTED:7.1f}s] {text}", file=sys.stderr, flush=True)


def run(
    *command: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | Path | None = None,
    timeout: float | None = None,
    hint: str = "",
) -> str:
    """Run a command and return its stdout.

    ``stdin`` is text to send, or a file to read. Raises ClusterError with the end of its output when it fails.
    """
    words = [str(word) for word in command]
    source = stdin.open("rb") if isinstance(stdin, Path) else None
    data = stdin.encode() if isinstance(stdin, str) else None
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env=env,
            input=data,
            stdin=source or (subprocess.DEVNULL if data is None else None),
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not installed", hint or "see what README.md asks for") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{_shown(words)}` did not end within {timeout:g} s", hint) from error
    finally:
        if source:
            source.close()
    if done.returncode:
        tail = "\n".join((done.stderr + done.stdout).decode(errors="replace").strip().splitlines()[-12:])
        raise ClusterError(f"`{_shown(words)}` failed with exit code {done.returncode}:\n{tail}", hint)
    return done.stdout.decode(errors="replace")


def succeeds(*command: str | Path, timeout: float = 10) -> bool:
    """Tell whether a command ends with exit code 0; every failure, a missing program too, is False."""
    try:
        run(*command, timeout=timeout)
    except ClusterError:
        return False
    return True


def wait_for(what: str, ready: Callable[[], bool], seconds: float, hint: str = "", pause: float = 0.1) -> None:
    """Ask ``ready`` again and again; raise ClusterError when it has not said yes within ``seconds``."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise ClusterError(f"{what}: not within {seconds:g} s", hint)
        time.sleep(pause)


def _shown(words: Sequence[str]) -> str:
    text = " ".join(words)
    return text if len(text) < 300 else text[:297] + "..."
