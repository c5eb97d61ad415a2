"""The data sets by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from meterpipe.datasets.ampds import read_ampds_gas, read_ampds_water
from meterpipe.datasets.loaded import Loaded, ReadOptions, join
from meterpipe.datasets.london import read_london
from meterpipe.datasets.packaged import read_packaged_london
from meterpipe.datasets.sheet import BadFileError
from meterpipe.datasets.uci import read_uci


class Dataset(StrEnum):
    """Data sets that can be read."""

    LONDON = "london"
    UCI = "uci"
    AMPDS_WATER = "ampds-water"
    AMPDS_GAS = "ampds-gas"


@dataclass(frozen=True, slots=True)
class _Source:
    read: Callable[[Path, ReadOptions], Loaded]
    file: str  # its name where it is published


_SOURCES = {
    Dataset.LONDON: _Source(read_london, "block_0.csv"),
    Dataset.UCI: _Source(read_uci, "household_power_consumption.txt"),
    Dataset.AMPDS_WATER: _Source(read_ampds_water, "Water_WHW.csv"),
    Dataset.AMPDS_GAS: _Source(read_ampds_gas, "NaturalGas_WHG.csv"),
}


def load(dataset: Dataset, files: Sequence[Path], options: ReadOptions, cache: Path) -> Loaded:
    """The households of the files, or of the packaged data set if no file is given and there is one.

    With several files, households whose name a file does not hold are called after their file. Raises BadFileError and
    NotAvailableError.
    """
    source = _SOURCES[dataset]
    if not files:
        if dataset is Dataset.LONDON:
            return read_packaged_london(cache, options)
        raise BadFileError(
            f"data set {dataset} is not packaged: give its file (--file {source.file}, see docs/datasets.md)"
        )
    if len(files) == 1:
        return source.read(files[0], options)
    return join(source.read(file, replace(options, meter=file.name.split(".")[0])) for file in files)
