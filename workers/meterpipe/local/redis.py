"""Embedded Redis or Valkey, whichever is on this machine; on a Debian-like one root installs Redis by apt-get.

It is started only where a pipeline tracks activity and names no server. Everything written is appended to a file, which
is brought to disk each second.
"""

from collections.abc import Mapping

from meterpipe.local import tools
from meterpipe.local.paths import DataDir
from meterpipe.local.probes import redis_answers
from meterpipe.local.process import Command
from meterpipe.local.program import Program
from meterpipe.spec.connections import RedisConnection

NAME = "redis"
PORTS = ("redis",)
PATIENCE = 15.0  # seconds between SIGTERM and SIGKILL


def connection(data: DataDir, ports: Mapping[str, int]) -> RedisConnection:
    """Where it answers."""
    return RedisConnection(host="127.0.0.1", port=ports["redis"])


def prepare(data: DataDir, ports: Mapping[str, int]) -> Program:
    """Find the server, make its folder."""
    server = tools.redis_server()
    home = data.service(NAME)
    home.mkdir(exist_ok=True)
    argv = (
        *(str(server), "--port", str(ports["redis"]), "--bind", "127.0.0.1", "--dir", str(home)),
        *("--appendonly", "yes", "--save", "", "--databases", "16"),
    )
    return Program(Command(NAME, argv, {}), lambda: redis_answers(ports["redis"]))
