"""Readings to a file in place of Kafka."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from meterpipe.datasets.json_rows import JsonRows
from meterpipe.datasets.publish import FIELDS

SUFFIXES = (".ndjson", ".arrow")


def write_file(batches: Iterable[pa.RecordBatch], path: Path) -> int:
    """Write one JSON reading a line (`.ndjson`) or an Arrow IPC file (`.arrow`, all columns); the number of readings.

    The file appears when it is complete. Raises ValueError for another ending, OSError.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: the ending must be {' or '.join(SUFFIXES)}")
    scratch = path.with_name(f"{path.name}.partial")
    try:
        count = _write_json(batches, scratch) if path.suffix == ".ndjson" else _write_arrow(batches, scratch)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    return count


def _write_json(batches: Iterable[pa.RecordBatch], path: Path) -> int:
    rows, count = JsonRows(FIELDS), 0
    with path.open("wb") as file:
        for batch in batches:
            values, _ = rows.encode(batch)
            file.write(b"\n".join(values) + b"\n" if values else b"")
            count += len(values)
    return count


def _write_arrow(batches: Iterable[pa.RecordBatch], path: Path) -> int:
    writer, count = None, 0
    try:
        for batch in batches:
            if writer is None:
                writer = pa.ipc.new_file(str(path), batch.schema)
            writer.write_batch(batch)
            count += len(batch)
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise ValueError("there are no readings to write")
    return count
