"""Builds the C sources with the system's compiler. Without one the package works as well, only slower."""

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = (
    "workers/meterpipe/adapters/batches/columns.c",
    "workers/meterpipe/core/json_scan.c",
    "workers/meterpipe/core/weave.c",
)

FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC")


class Libraries(BuildHookInterface[Any]):
    """Compiles libraries that need nothing of Python: one file serves all its versions."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put each library beside its source; they are parts of wheels."""
        for name in SOURCES:
            source = Path(self.root, name)
            library = source.with_name(f"lib{source.stem}.so")  # Python would take json_scan.so for json_scan.py
            temporary = library.with_suffix(f".{os.getpid()}")
            command = [*shlex.split(os.environ.get("CC", "cc")), *FLAGS, "-o", str(temporary), str(source)]
            try:
                subprocess.run(command, check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as failed:
                detail = getattr(failed, "stderr", "") or failed
                self.app.display_warning(f"{name} was not compiled, Meterpipe will be slower: {detail}")
                return
            temporary.replace(library)
            build_data["artifacts"].append(str(library.relative_to(self.root)))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
