"""Brings batches into the lake, each exactly once, through errors, lost answers and rivals."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic

from deltalake.transaction import AddAction

from meterpipe.adapters.lake import LakeTable
from meterpipe.adapters.s3 import LakeLocation
from meterpipe.core.lake_buffer import Batch
from meterpipe.core.lake_protocol import Verdict, judge
from meterpipe.core.lake_rows import day_files
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger(__name__)

STAGED_SECONDS = 3600.0  # files uploaded longer ago are uploaded again: a vacuum might have taken them for rubbish


@dataclass(slots=True)
class Outcome:
    """What became of a batch: offsets now in the table by partition, and partitions that somebody else archives."""

    written: dict[int, int] = field(default_factory=dict)
    moved: set[int] = field(default_factory=set)


class LakeWriter:
    """Holds at most one batch, the *pending* one, until it is in the table or proves to be somebody else's."""

    def __init__(self, location: LakeLocation, telemetry: Telemetry, clock: Callable[[], float] = monotonic) -> None:
        self._location = location
        self._telemetry = telemetry
        self._clock = clock
        self._table: LakeTable | None = None
        self._apps: Mapping[int, str] = {}
        self._pending: Batch | None = None
        self._staged: list[AddAction] | None = None
        self._staged_at = 0.0
        self._outcome = Outcome()

    @property
    def pending(self) -> Batch | None:
        """The batch that is not known to be in the table."""
        return self._pending

    def versions(self, apps: Iterable[str]) -> dict[str, int | None]:
        """The table's present version of each Delta application. Creates the table if it is missing."""
        table = self._fresh()
        return {app: table.version(app) for app in apps}

    def take(self, batch: Batch, apps: Mapping[int, str]) -> None:
        """Make `batch` the pending one; `apps` are the Delta applications of its partitions."""
        if self._pending is not None:
            raise RuntimeError("the batch before is still pending")
        self._pending, self._staged, self._apps = batch, None, dict(apps)

    def attempt(self) -> Outcome:
        """Try to bring the pending batch into the table; afterwards none is pending.

        Raises one of LAKE_ERRORS if that fails or its outcome is unknown: the batch stays pending, the next attempt
        finds out. The versions are compared on one handle of the table and the commit goes through that same handle,
        so that it is refused if any of them changed in between.
        """
        try:
            while self._pending is not None:
                table = self._fresh()
                if not self._settle(self._pending, table):
                    self._write(self._pending, table)
        except BaseException:
            self._table = None  # its state is unknown; and changed credentials are read when it is opened again
            raise
        outcome, self._outcome = self._outcome, Outcome()
        return outcome

    def drop(self, partitions: Iterable[int]) -> None:
        """Let go of partitions of the pending batch; whoever owns them next reads them again."""
        if self._pending is None:
            return
        gone = self._pending.spans.keys() & set(partitions)
        if gone:
            rest = self._pending.without(gone)
            self._pending, self._staged = (rest if rest.spans else None), None

    def _fresh(self) -> LakeTable:
        if self._table is None:
            self._table = LakeTable(self._location)
        else:
            table, self._table = self._table, None
            table.refresh()
            self._table = table
        return self._table

    def _settle(self, batch: Batch, table: LakeTable) -> bool:
        """Take out of the batch what needs no writing; whether anything was taken out."""
        verdicts = {p: judge(span, table.version(self._apps[p])) for p, span in batch.spans.items()}
        written = [p for p, verdict in verdicts.items() if verdict is Verdict.WRITTEN]
        moved = [p for p, verdict in verdicts.items() if verdict is Verdict.MOVED]
        for p in written:
            log.info("partition %d: an earlier attempt had arrived, the lake ends before %d", p, batch.spans[p].next)
            self._outcome.written[p] = batch.spans[p].next
            self._telemetry.count(Metric.ROWS, int((batch.arrivals.partition == p).sum()), table="readings")
        for p in moved:
            log.warning(
                "partition %d: expected the lake to end before %s, it ends before %s: somebody else archives it; "
                "what is held of it is dropped",
                *(p, batch.spans[p].first, table.version(self._apps[p])),
            )
            self._outcome.moved.add(p)
        self.drop([*written, *moved])
        return bool(written or moved)

    def _write(self, batch: Batch, table: LakeTable) -> None:
        began = self._clock()
        if self._staged is None or began - self._staged_at > STAGED_SECONDS:
            with self._telemetry.span("lake upload", rows=len(batch.arrivals)):
                self._staged = table.upload(day_files(batch.arrivals, batch.keys))
            self._staged_at = self._clock()
        with self._telemetry.span("lake commit", rows=len(batch.arrivals), files=len(self._staged)):
            table.commit(self._staged, {self._apps[p]: span.next for p, span in batch.spans.items()})
        files = len(self._staged)
        self._pending, self._staged = None, None
        self._outcome.written |= {p: span.next for p, span in batch.spans.items()}
        seconds = self._clock() - began
        self._telemetry.observe(Metric.WRITE_SECONDS, seconds)
        self._telemetry.count(Metric.ROWS, len(batch.arrivals), table="readings")
        self._telemetry.count(Metric.COMMITS)
        log.info("committed %d readings in %d files to the lake in %.2f s", len(batch.arrivals), files, seconds)
