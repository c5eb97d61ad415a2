"""Thresholds as a sheet (CSV). Pure."""

import csv
import io
from collections.abc import Mapping

from meterpipe.core.alarms.thresholds import BadThresholdError, Threshold, check_threshold, encode_threshold_key
from meterpipe.core.readings import Key

WORDS = ("meter", "metric", "attribute")
NUMBERS = ("lower", "upper", "hysteresis", "minDuration")


def read_sheet(text: str) -> Mapping[Key, Threshold | None]:
    """The thresholds of a sheet, None where one is taken away. Raises BadThresholdError, which names the line."""
    rows = csv.reader(io.StringIO(text), strict=True)
    try:
        heading = [name.strip() for name in next(rows, [])]
        _check_heading(heading)
        found: dict[Key, Threshold | None] = {}
        for cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            try:
                key, threshold = _read(heading, cells)
                if key in found:
                    raise BadThresholdError(f"{', '.join(key)} is there twice")
            except BadThresholdError as problem:
                raise BadThresholdError(f"line {rows.line_num}: {problem}") from problem
            found[key] = threshold
    except csv.Error as problem:
        raise BadThresholdError(f"line {rows.line_num}: {problem}") from problem
    return found


def _check_heading(heading: list[str]) -> None:
    if unknown := [name for name in heading if name not in WORDS + NUMBERS]:
        raise BadThresholdError(f"line 1: {unknown[0]!r} is no column; there are {', '.join(WORDS + NUMBERS)}")
    if missing := [name for name in WORDS if name not in heading]:
        raise BadThresholdError(f"line 1: the column {missing[0]} is missing")
    if len(set(heading)) < len(heading):
        raise BadThresholdError("line 1: a column is there twice")


def _read(heading: list[str], cells: list[str]) -> tuple[Key, Threshold | None]:
    if len(cells) > len(heading):
        raise BadThresholdError(f"{len(cells)} cells, the first line has {len(heading)}")
    row = {name: cell.strip() for name, cell in zip(heading, cells, strict=False)}
    key = (row.get("meter", ""), row.get("metric", ""), row.get("attribute", ""))
    encode_threshold_key(key)
    numbers = [_number(name, row.get(name, "")) for name in NUMBERS]
    return key, None if numbers == [None] * len(NUMBERS) else check_threshold(Threshold(*numbers))


def _number(name: str, cell: str) -> float | None:
    try:
        return float(cell) if cell else None
    except ValueError:
        raise BadThresholdError(f"{name}: {cell!r} is no number") from None
