"""Embedded S3: versitygw over a folder. Keys are made at the first start and kept in files."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from meterpipe.local import artifacts
from meterpipe.local.paths import DataDir
from meterpipe.local.probes import http_ok
from meterpipe.local.process import Command
from meterpipe.local.program import Program
from meterpipe.spec.connections import LakeConnection

NAME = "s3"
PORTS = ("s3",)
PATIENCE = 10.0  # seconds between SIGTERM and SIGKILL
HEALTH = "/health"


def connection(data: DataDir, ports: Mapping[str, int]) -> LakeConnection:
    """Where it answers."""
    return LakeConnection(
        endpoint=f"http://127.0.0.1:{ports['s3']}",
        access_key_file=data.secret("s3-access-key"),
        secret_key_file=data.secret("s3-secret-key"),
    )


def prepare(data: DataDir, ports: Mapping[str, int]) -> Program:
    """Build the binary, make the keys and the folder."""
    binary = artifacts.s3_server()
    objects, metadata = data.service(NAME) / "objects", data.service(NAME) / "metadata"
    for folder in (objects, metadata):
        folder.mkdir(parents=True, exist_ok=True)
    sidecar = () if _keeps_attributes(objects) else ("--sidecar", str(metadata))
    argv = (
        *(str(binary), "--quiet", "--health", HEALTH, "--port", f"127.0.0.1:{ports['s3']}"),
        *("posix", *sidecar, str(objects)),
    )
    env = {
        "ROOT_ACCESS_KEY": _secret(data.secret("s3-access-key"), 10),
        "ROOT_SECRET_KEY": _secret(data.secret("s3-secret-key"), 20),
    }
    return Program(Command(NAME, argv, env), lambda: http_ok(ports["s3"], HEALTH))


def _secret(path: Path, length: int) -> str:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(length))
    return path.read_text()


def _keeps_attributes(folder: Path) -> bool:
    """Whether the file system stores extended attributes, where the server keeps ETags; it keeps files beside else."""
    try:
        os.setxattr(folder, "user.meterpipe", b"1")
    except OSError:
        return False
    return True
