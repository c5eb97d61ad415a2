"""Progress on the terminal: one panel that is drawn again on a TTY, plain lines elsewhere."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.live import Live as Panel
from rich.table import Table

from meterpipe.local.live import Figures

PLAIN_EVERY = 2.0  # seconds between two plain lines


class View(Protocol):
    """Where progress goes."""

    def say(self, line: str) -> None:
        """Something happened."""

    def show(self, figures: Figures, extra: Sequence[tuple[str, str]] = ()) -> None:
        """This is how far it is; `extra` goes in front: (name, value)."""


@contextmanager
def view(console: Console) -> Iterator[View]:
    """The view that fits the console."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Panel(console=console, refresh_per_second=4, transient=True) as panel:
        yield _Panel(console, panel)


def cells(figures: Figures) -> list[tuple[str, str]]:
    """The figures as (name, value) in the order they are shown."""
    lag = " ".join(f"{kind} {count:,}" for kind, count in figures.lag.items())
    return [
        ("readings", f"{figures.readings:,}"),
        ("readings/s", f"{figures.rate:,.0f}"),
        ("lag", lag or "-"),
        ("windows closed", f"{figures.windows:,}"),
        ("rows written", f"{figures.rows:,}"),
        ("lake rows", f"{figures.lake_rows:,}"),
    ]


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = -PLAIN_EVERY

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def show(self, figures: Figures, extra: Sequence[tuple[str, str]] = ()) -> None:
        if figures.seconds - self._shown >= PLAIN_EVERY:
            self._shown = figures.seconds
            text = "  ".join(f"{name} {value}" for name, value in (*extra, *cells(figures)))
            self.say(f"{figures.seconds:6.1f} s  {text}")


class _Panel:
    def __init__(self, console: Console, panel: Panel) -> None:
        self._console, self._panel = console, panel

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False)

    def show(self, figures: Figures, extra: Sequence[tuple[str, str]] = ()) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column(justify="left", style="bold")
        for name, value in (*extra, *cells(figures)):
            table.add_row(name, value)
        table.add_row("seconds", f"{figures.seconds:.0f}")
        self._panel.update(table)
