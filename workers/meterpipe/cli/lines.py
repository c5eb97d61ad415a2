"""Rows that come one after another, in columns that stay in line; and tables that come whole."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

WIDEST = 48


class Lines:
    """Makes lines of rows. Columns widen when they must, so that nothing has to be known beforehand."""

    def __init__(self, headings: Sequence[str]) -> None:
        self._headings, self._widths = list(headings), [len(heading) for heading in headings]
        self._begun = False

    def of(self, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """The lines of `rows`, before the first of all the headings."""
        table = [[_cell(row.get(heading)) for heading in self._headings] for row in rows]
        for cells in table:
            self._widths = [max(width, min(WIDEST, len(cell))) for width, cell in zip(self._widths, cells, strict=True)]
        head = [] if self._begun or not table else [click.style(self._line(self._headings), bold=True)]
        self._begun = self._begun or bool(table)
        return head + [self._line(cells) for cells in table]

    def _line(self, cells: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True)).rstrip()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else printable(str(value))


def printable(text: str) -> str:
    """The text with everything escaped that could steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def print_table(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> None:
    """A table of `rows`, whose names are the headings; numbers to the right, with thousands set apart."""
    if not rows:
        return
    console = Console()
    console.width = console.width if console.is_terminal else 240
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        number = any(_is_number(row[name]) for row in rows)
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{value:,}" if _is_number(value) else _cell(value) for value in row.values()))
    console.print(table, markup=False)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def print_json(facts: Any) -> None:
    """As JSON, for people and scripts."""
    click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
