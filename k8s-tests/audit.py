"""Who wrote what to the API, from the API server's audit log."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness import run_tool


@dataclass
class Writes:
    """Writes by one user, as lines `verb resource namespace/name`."""

    user: str
    lines: list[str] = field(default_factory=list)


@contextmanager
def writes_of(user: str) -> Iterator[Writes]:
    """Collect what a user writes while the block runs; filled when it ends."""
    log = Path(json.loads(run_tool("status", "--json"))["logs"]) / "audit.log"
    begin = log.stat().st_size
    found = Writes(user)
    yield found
    with log.open("rb") as file:
        file.seek(begin)
        for line in file.read().decode(errors="replace").splitlines():
            if user in line and (told := _told(line, user)):
                found.lines.append(told)


def _told(line: str, user: str) -> str | None:
    try:
        event = json.loads(line)
    except ValueError:  # the first line may be a part of one
        return None
    if event.get("user", {}).get("username") != user:
        return None
    about = event.get("objectRef", {})
    what = "/".join(filter(None, (about.get("resource"), about.get("subresource"))))
    return f"{event['verb']} {what} {about.get('namespace', '')}/{about.get('name', '')}"
