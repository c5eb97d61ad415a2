"""Free ports, remembered: a second run of a data directory answers at the same addresses."""

import json
import random
import socket
from collections.abc import Iterable
from contextlib import ExitStack

from meterpipe.local.errors import LocalError
from meterpipe.local.paths import DataDir

LOWEST, HIGHEST = 18_000, 32_000  # below the range the kernel takes ports of outgoing connections from
ATTEMPTS = 200


def reserve(data: DataDir, names: Iterable[str]) -> dict[str, int]:
    """A port for each name: the remembered one, or a free one that is remembered from now on."""
    known = _known(data)
    with ExitStack() as held:
        for name in names:
            if name not in known:
                known[name] = _free(held, avoid=set(known.values()))
    data.ports.write_text(json.dumps(known, indent=2))
    return known


def forget_taken(data: DataDir, names: Iterable[str]) -> None:
    """Forget remembered ports that another program took meanwhile; only for names whose service does not run."""
    known = _known(data)
    kept = {name: port for name, port in known.items() if name not in set(names) or _bindable(port)}
    data.ports.write_text(json.dumps(kept, indent=2))


def free(port: int) -> bool:
    """Whether nobody listens at this port of the machine."""
    return _bindable(port)


def _known(data: DataDir) -> dict[str, int]:
    try:
        known: dict[str, int] = json.loads(data.ports.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return known


def _free(held: ExitStack, avoid: set[int]) -> int:
    for _ in range(ATTEMPTS):
        port = random.randrange(LOWEST, HIGHEST)
        if port not in avoid and _bindable(port, held):
            return port
    raise LocalError(f"no free port between {LOWEST} and {HIGHEST}", "stop some of the programs that listen there")


def _bindable(port: int, held: ExitStack | None = None) -> bool:
    """Whether nobody listens at 127.0.0.1:port. With `held` it stays bound until that closes."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the services do: TIME_WAIT is no obstacle
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        return False
    if held:
        held.callback(listener.close)
    else:
        listener.close()
    return True
