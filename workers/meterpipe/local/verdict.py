"""The end of a demo: what the stores hold beside what they must hold."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from meterpipe.adapters.lake import count_rows, open_existing
from meterpipe.adapters.s3 import location_of
from meterpipe.core.balance import Balance
from meterpipe.datasets.oracle import Rules, differences, expect, log_of
from meterpipe.local.errors import LocalError
from meterpipe.local.readback import read_windows
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.models import Duplicates
from meterpipe.spec.names import names_of


@dataclass(frozen=True, slots=True)
class WindowCheck:
    """One window size: how many windows there must be, how many rows there are, what differs."""

    size: int
    expected: int
    rows: int
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that a demo found."""

    windows: tuple[WindowCheck, ...]
    lake_rows: int
    balance: Balance

    @property
    def problems(self) -> list[str]:
        """What is not as it must be; empty if all is."""
        found = [f"{check.size} s: {line}" for check in self.windows for line in check.wrong]
        if self.balance.missing:
            found.append(f"balance: {self.balance.missing:,} readings are unaccounted for")
        if self.balance.open:
            found.append(f"balance: {self.balance.open:,} readings are in windows that have not closed")
        if self.lake_rows != self.balance.raw:
            found.append(f"lake: {self.lake_rows:,} rows, {self.balance.raw:,} readings arrived")
        return found


def judge(config: WorkerConfig, batches: Sequence[pa.RecordBatch], balance: Balance) -> Verdict:
    """Read the stores and compare them with a recomputation from `batches`, all readings ever sent, in order."""
    if config.cassandra is None:
        raise LocalError("there is no Cassandra to compare with", "give spec.cassandra.replicas at least 1")
    spec, names = config.pipeline.spec, names_of(config.pipeline)
    aggregator = spec.aggregator
    rules = Rules(aggregator.windows, aggregator.grace, aggregator.duplicates is Duplicates.DROP)
    expected = expect(log_of(batches, spec.kafka.topics.readings.partitions), rules)
    tables = {size: names.table(size) for size in aggregator.windows}
    found = read_windows(config.cassandra, names.keyspace, tables)
    lake = open_existing(location_of(config))
    return Verdict(
        windows=tuple(
            WindowCheck(size, len(want), len(found[size]), tuple(differences(want, found[size], limit=3)))
            for size, want in expected.windows.items()
        ),
        lake_rows=count_rows(lake) if lake else 0,
        balance=balance,
    )


def show(verdict: Verdict, console: Console) -> None:
    """The tables a demo ends with."""
    windows = Table(title="Windows", title_justify="left", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("size", "recomputed", "rows in Cassandra", "equal"):
        windows.add_column(title, justify="right")
    for check in verdict.windows:
        windows.add_row(f"{check.size:,} s", f"{check.expected:,}", f"{check.rows:,}", mark(not check.wrong))
    console.print(windows)
    console.print()
    balance = verdict.balance
    balanced, archived = not balance.missing and not balance.open, verdict.lake_rows == balance.raw
    table = Table(
        title="Readings", title_justify="left", box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0)
    )
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("")
    for name, count in (
        ("in windows", balance.windows),
        ("duplicates", balance.duplicates),
        ("superseded", balance.superseded),
        ("late", balance.late),
        ("dead letters", balance.dead_letters),
    ):
        table.add_row(name, f"{count:,}", "")
    table.add_row("raw", f"{balance.raw:,}", f"{mark(balanced)} the sum of the above")
    table.add_row("rows in the lake", f"{verdict.lake_rows:,}", f"{mark(archived)} equal to raw")
    console.print(table)
    for line in verdict.problems:
        console.print(f"[red]✘[/] {line}", highlight=False)


def mark(good: bool) -> str:
    """A tick or a cross."""
    return "[green]✔[/]" if good else "[red]✘[/]"
