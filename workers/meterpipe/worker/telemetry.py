"""What workers tell of themselves: every metric's one home, and the port they tell it to."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    """Prometheus metric types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(StrEnum):
    """Names of all metrics. Fixed: autoscaling, dashboards and alerts rely on them."""

    kind: Kind
    help: str
    labels: tuple[str, ...]

    def __new__(cls, name: str, kind: Kind, text: str, labels: tuple[str, ...] = ()) -> "Metric":
        """A name with its type, meaning and labels."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.kind, member.help, member.labels = kind, text, labels
        return member

    RECORDS = "meterpipe_records_total", Kind.COUNTER, "Kafka messages consumed"
    READINGS = "meterpipe_readings_total", Kind.COUNTER, "Readings (or result rows, in the sink) taken in"
    BUSY = "meterpipe_busy_seconds_total", Kind.COUNTER, "Seconds spent working, waiting for input left out"
    LAG = "meterpipe_lag_records", Kind.GAUGE, "End of the partition minus position", ("topic", "partition")
    PARTITIONS = "meterpipe_assigned_partitions", Kind.GAUGE, "Partitions this worker owns"
    COMMIT_AGE = "meterpipe_commit_age_seconds", Kind.GAUGE, "Seconds since the last commit"
    COMMITS = "meterpipe_commits_total", Kind.COUNTER, "Commits (transactions, offsets or lake commits)"
    ABORTS = "meterpipe_aborts_total", Kind.COUNTER, "Transactions given up; their input is read again"
    WATERMARK_DELAY = (
        "meterpipe_watermark_delay_seconds",
        Kind.GAUGE,
        "Wall time minus the partition's watermark",
        ("partition",),
    )
    LATE = "meterpipe_late_readings_total", Kind.COUNTER, "Readings whose window had closed"
    DUPLICATES = "meterpipe_duplicate_readings_total", Kind.COUNTER, "Readings equal to the one that counts"
    SUPERSEDED = "meterpipe_superseded_readings_total", Kind.COUNTER, "Readings replaced by a better one"
    DEAD_LETTERS = "meterpipe_dead_letters_total", Kind.COUNTER, "Input refused, by reason", ("reason",)
    WINDOWS = "meterpipe_windows_closed_total", Kind.COUNTER, "Results put out, by size in seconds", ("window",)
    ROWS = "meterpipe_rows_written_total", Kind.COUNTER, "Rows made durable in the store or lake", ("table",)
    WRITE_SECONDS = "meterpipe_write_seconds", Kind.HISTOGRAM, "Seconds one write took until its acknowledgement"
    RETRIES = "meterpipe_write_retries_total", Kind.COUNTER, "Writes tried again"
    RESTORE_SECONDS = "meterpipe_restore_seconds", Kind.GAUGE, "Seconds the last restore of state took"
    OPEN_READINGS = "meterpipe_open_readings", Kind.GAUGE, "Readings held in open windows", ("partition",)


class Telemetry(Protocol):
    """Where a worker's figures go. Called per batch, never per reading."""

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Add `amount` to a counter."""

    def gauge(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""

    def gauge_from(self, metric: Metric, read: Callable[[], float], **labels: str) -> None:
        """Have a gauge call `read` whenever it is asked for."""

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Add one observation to a histogram."""

    def forget(self, metric: Metric, **labels: str) -> None:
        """Drop a labelled series, e.g. of a partition that was revoked."""

    def span(self, name: str, **attributes: str | int | float) -> AbstractContextManager[object]:
        """A trace span around one batch."""


class Silent:
    """Telemetry that goes nowhere: for pure tests and benchmarks of a part."""

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Nothing."""

    def gauge(self, metric: Metric, value: float, **labels: str) -> None:
        """Nothing."""

    def gauge_from(self, metric: Metric, read: Callable[[], float], **labels: str) -> None:
        """Nothing."""

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Nothing."""

    def forget(self, metric: Metric, **labels: str) -> None:
        """Nothing."""

    def span(self, name: str, **attributes: str | int | float) -> AbstractContextManager[object]:
        """Nothing."""
        return nullcontext()
