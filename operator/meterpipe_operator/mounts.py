"""Where pods find their files: one projected volume with the configuration and the keys of their secrets. Pure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meterpipe_operator.digest import digest
from meterpipe_operator.facts import Secret

ROOT = Path("/etc/meterpipe")
CONFIG_FILE = "worker.json"
VOLUME = "settings"

Mounted = Mapping[str, Secret]
"""By role: kafka, cassandra, lake."""


def path_of(role: str, key: str) -> Path:
    """Where a pod finds a key of the secret it has in that role."""
    return ROOT / "secrets" / role / key


def volume(config_map: str, secrets: Mounted) -> dict[str, Any]:
    """The volume: one config file, and of each secret the keys that are used and no others."""
    sources: list[dict[str, Any]] = [
        {"configMap": {"name": config_map, "items": [{"key": CONFIG_FILE, "path": CONFIG_FILE}]}}
    ]
    for role, secret in sorted(secrets.items()):
        items = [{"key": key, "path": f"secrets/{role}/{key}"} for key in secret.keys]
        sources.append({"secret": {"name": secret.name, "items": items}})
    return {"name": VOLUME, "projected": {"defaultMode": 0o440, "sources": sources}}


def secrets_digest(secrets: Mounted) -> str:
    """Changes when a mounted value does."""
    return digest({role: secret.digest for role, secret in secrets.items()})
