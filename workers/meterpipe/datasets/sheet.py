"""CSV files as columns of text, and the parsers that turn them into numbers and instants.

A broken field is remembered, not raised: the reader decides at the end (`Sheet.good`) whether the first one stops it or
all are left out and counted. Line numbers are those an editor shows.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

MISSING = frozenset({b"", b"?", b"Null", b"NULL", b"null", b"NA", b"NaN", b"nan"})
"""Ways in which the known files say that there is no value."""
_NUMBER = re.compile(rb"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")
_BLOCK = 16 * 1024 * 1024  # bytes read at once; a line must fit


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken field, or a broken line if `column` is empty."""

    line: int
    column: str
    value: str
    expected: str

    def __str__(self) -> str:
        where = f"column {self.column}: " if self.column else ""
        shown = self.value if len(self.value) <= 80 else f"{self.value[:77]}..."
        return f"{self.line}: {where}found {shown!r}, expected {self.expected}"


class BadFileError(ValueError):
    """A file, or a line of it, that can't be read. The message begins with the file (and line)."""


class BrokenLineError(BadFileError):
    """A line that can't be read; the others may be had by skipping it."""


class Sheet:
    """The rows of one CSV file. `columns` are arrays of binary, `line` the 1-based line of each row."""

    def __init__(
        self, path: Path, columns: dict[str, pa.Array], line: npt.NDArray[np.int64], problems: list[Problem]
    ) -> None:
        self.path = path
        self.columns = columns
        self.line = line
        self._problems = problems
        self._broken_lines = len(problems)  # lines that did not even become rows
        self._bad = np.zeros(len(line), bool)

    def __len__(self) -> int:
        return len(self.line)

    def numbers(self, name: str, expected: str) -> npt.NDArray[np.float64]:
        """A column of finite numbers; NaN where there is no value."""
        column = self.columns[name]
        column = pc.if_else(pc.is_in(column, pa.array(sorted(MISSING), pa.binary())), None, column)
        try:
            values = column.view(pa.string()).cast(pa.float64())
        except pa.ArrowInvalid:
            values = self._numbers_slowly(name, column, expected)
        array = values.to_numpy(zero_copy_only=False)
        infinite = np.isinf(array)
        if infinite.any():
            self._mark(name, infinite, f"{expected}, finite")
        return np.asarray(array, np.float64)

    def _numbers_slowly(self, name: str, column: pa.Array, expected: str) -> pa.Array:
        encoded = column.dictionary_encode()
        words = encoded.dictionary.to_pylist()
        fine = [_NUMBER.fullmatch(word) is not None for word in words]
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        self._mark(name, np.append(~np.array(fine, bool), False)[codes], expected)
        parsed = pa.array([float(word) if ok else None for word, ok in zip(words, fine, strict=True)], pa.float64())
        return parsed.take(encoded.indices)

    def words(self, name: str) -> tuple[npt.NDArray[np.int64], list[bytes]]:
        """A column as codes into its distinct words: what repeats is parsed once."""
        encoded = self.columns[name].dictionary_encode()
        return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()

    def parsed(self, name: str, parse: Callable[[bytes], int | None], expected: str) -> npt.NDArray[np.int64]:
        """A column by a function of its distinct words; None is a broken field (and 0 in the result)."""
        codes, words = self.words(name)
        found = [parse(word) for word in words]
        self._mark(name, np.array([f is None for f in found], bool)[codes] if len(codes) else self._bad, expected)
        return np.array([f or 0 for f in found], np.int64)[codes] if len(codes) else np.empty(0, np.int64)

    def mark(self, name: str, bad: npt.NDArray[np.bool_], expected: str) -> None:
        """Say that the fields of column `name` are broken where `bad`."""
        self._mark(name, bad, expected)

    def _mark(self, name: str, bad: npt.NDArray[np.bool_], expected: str) -> None:
        new = bad & ~self._bad
        if new.any():
            row = int(np.flatnonzero(new)[0])
            value = self.columns[name][row].as_py().decode(errors="replace")
            self._problems.append(Problem(int(self.line[row]), name, value, expected))
            self._bad |= bad

    def good(self, skip_broken: bool) -> tuple[npt.NDArray[np.bool_], int]:
        """Which rows are whole, and how many lines are broken. Raises BrokenLineError unless skipping."""
        broken = self._broken_lines + int(self._bad.sum())
        if broken and not skip_broken:
            first = min(self._problems, key=lambda p: p.line)
            more = f" ({broken} broken lines in all)" if broken > 1 else ""
            raise BrokenLineError(f"{self.path}:{first}{more}")
        return ~self._bad, broken


def read_sheet(path: Path, required: tuple[str, ...], delimiter: str = ",") -> Sheet:
    """The file with at least the `required` columns (in any order). gzip, bz2, zstd are told by the file's ending.

    Raises BadFileError if it can't be read, has no header, or lacks a column.
    """
    problems: list[Problem] = []

    def remember(row: pa.csv.InvalidRow) -> str:
        fields = f"{row.expected_columns} fields separated by {delimiter!r}, as in the header"
        problems.append(Problem(row.number, "", row.text, fields))
        return "skip"

    header = header_of(path, delimiter)
    if missing := [name for name in required if name not in header]:
        wanted = delimiter.join(required)
        raise BadFileError(
            f"{path}:1: no column {', '.join(missing)}: found {delimiter.join(header)!r}, need {wanted!r}"
        )
    try:
        table = pa.csv.read_csv(
            str(path),
            read_options=pa.csv.ReadOptions(
                use_threads=False, block_size=_BLOCK, column_names=header, skip_rows=1
            ),  # threads lose line numbers
            parse_options=pa.csv.ParseOptions(
                delimiter=delimiter, quote_char=False, ignore_empty_lines=False, invalid_row_handler=remember
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.binary()),
                include_columns=list(required),
                strings_can_be_null=False,
            ),
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise BadFileError(f"{path}: {error}") from error
    line = _lines(table.num_rows, [p.line for p in problems])
    columns = {name: _one_chunk(table.column(name)) for name in required}
    blank = np.ones(table.num_rows, bool)
    for column in columns.values():
        blank &= pc.equal(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
    if blank.any():
        keep = pa.array(~blank)
        columns, line = {name: column.filter(keep) for name, column in columns.items()}, line[~blank]
    return Sheet(path, columns, line, problems)


def header_of(path: Path, delimiter: str) -> list[str]:
    """Names in the first line. Raises BadFileError if there is none."""
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            first = stream.read(64 * 1024).split(b"\n", 1)[0]
    except (OSError, pa.ArrowInvalid) as error:
        raise BadFileError(f"{path}: {error}") from error
    if not first.strip():
        raise BadFileError(f"{path}:1: the file is empty, or its first line is: a header was expected")
    return [name.strip() for name in first.decode("utf-8-sig", errors="replace").strip("\r").split(delimiter)]


def _lines(rows: int, skipped: list[int]) -> npt.NDArray[np.int64]:
    """Line of each row: the header is line 1, `skipped` lines gave no row."""
    every = np.arange(2, rows + len(skipped) + 2, dtype=np.int64)
    return np.delete(every, np.array(skipped, np.int64) - 2)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        combined = pa.concat_arrays(combined.chunks) if combined.num_chunks else pa.array([], column.type)
    return combined
