"""Where things lie on this machine: the cache (may be deleted at any time) and the data directory (the user's data)."""

import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_DATA = Path(".meterpipe")


def cache_dir() -> Path:
    """Where jars, binaries and data sets are kept: METERPIPE_CACHE, else `meterpipe` in the user's cache folder."""
    if chosen := os.environ.get("METERPIPE_CACHE"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "meterpipe"


@dataclass(frozen=True, slots=True)
class DataDir:
    """The files of one pipeline on one machine. Everything below `root` belongs to it and goes with it."""

    root: Path

    @property
    def marker(self) -> Path:
        """Present in each data directory: `clean` removes no folder without it."""
        return self.root / "meterpipe.dir"

    @property
    def ports(self) -> Path:
        """Ports chosen at the first start, kept so that addresses stay the same."""
        return self.root / "ports.json"

    @property
    def connections(self) -> Path:
        """Where the running services are, as JSON."""
        return self.root / "connections.json"

    @property
    def in_use(self) -> Path:
        """Locked by whoever starts and stops the services of this directory."""
        return self.root / "in-use.lock"

    @property
    def workers(self) -> Path:
        """What the supervisor runs and at which ports, as JSON."""
        return self.root / "workers.json"

    @property
    def session(self) -> Path:
        """Locked by the process that runs a pipeline here, for as long as it does."""
        return self.root / "session.lock"

    @property
    def config(self) -> Path:
        """The WorkerConfig of the pipeline that ran here last."""
        return self.root / "config.json"

    def replayed(self, pipeline: str) -> Path:
        """Which real readings the demo has sent to a pipeline."""
        return self.root / f"replayed-{pipeline}.json"

    def service(self, name: str) -> Path:
        """Data and settings of one service."""
        return self.root / name

    @property
    def schemas(self) -> Path:
        """Avro schemas that workers looked up: they can start while the registry is away."""
        return self.root / "schemas"

    def log(self, name: str) -> Path:
        """Output of one process."""
        return self.root / "logs" / f"{name}.log"

    def pid(self, name: str) -> Path:
        """Which process runs under this name."""
        return self.root / "pids" / f"{name}.json"

    def secret(self, name: str) -> Path:
        """One secret, readable by the owner only."""
        return self.root / "secrets" / name

    def create(self) -> "DataDir":
        """Make the folders, absolute, and give the directory back."""
        data = DataDir(self.root.absolute())
        for folder in (data.root, data.root / "logs", data.root / "pids"):
            folder.mkdir(parents=True, exist_ok=True)
        data.secret("x").parent.mkdir(mode=0o700, exist_ok=True)
        data.marker.write_text("Data of Meterpipe; `meterpipe clean` removes it.\n")
        return data
