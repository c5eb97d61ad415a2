"""What workers tell of themselves: every metric's one home, and the port they tell it to."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
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
    LOST = "meterpipe_lost_messages_total", Kind.COUNTER, "Messages that expired in Kafka before they were read"
    RESTORE_SECONDS = "meterpipe_restore_seconds", Kind.GAUGE, "Seconds the last restore of state took"
    INFO = "meterpipe_worker_info", Kind.GAUGE, "Always 1: which worker this is", ("pipeline", "worker", "version")
    BUFFERED = "meterpipe_buffered_readings", Kind.GAUGE, "Readings held until the next commit of the lake"
    LAKE_GAP = (
        "meterpipe_lake_gap_records",
        Kind.GAUGE,
        "Offsets deleted before they were archived; the partition waits for a decision",
        ("partition",),
    )
    JUDGED = (
        "meterpipe_judged_readings_total",
        Kind.COUNTER,
        "Readings that broke a rule of the validation, by rule and action (flag, quarantine)",
        ("rule", "action"),
    )
    ROUTED = "meterpipe_routed_readings_total", Kind.COUNTER, "Readings sent on, by route", ("route",)
    ROUTE_FAILED = (
        "meterpipe_route_failed_readings_total",
        Kind.COUNTER,
        "Readings not sent on, as an expression could not be worked out, by route",
        ("route",),
    )
    ALARMS = (
        "meterpipe_alarms_total",
        Kind.COUNTER,
        "Alarms raised and cleared, by kind and state",
        ("kind", "state"),
    )
    SKIPPED = "meterpipe_skipped_readings_total", Kind.COUNTER, "Input that a worker left to others to report"
    THRESHOLDS = "meterpipe_thresholds", Kind.GAUGE, "Thresholds of alarms in the partition", ("partition",)
    HELD_READINGS = (
        "meterpipe_held_readings",
        Kind.GAUGE,
        "Readings of registers that wait for a decision",
        ("partition",),
    )
    INGEST_REQUESTS = (
        "meterpipe_ingest_requests_total",
        Kind.COUNTER,
        "HTTP requests answered, by status; MQTT messages acknowledged (status ack)",
        ("adapter", "status"),
    )
    INGEST_REFUSED = (
        "meterpipe_ingest_refused_readings_total",
        Kind.COUNTER,
        "Readings that gateways sent and the edge refused, by reason",
        ("adapter", "reason"),
    )
    INGEST_PENDING = "meterpipe_ingest_pending_readings", Kind.GAUGE, "Readings taken in, not yet confirmed by Kafka"
    INGEST_ACK_SECONDS = (
        "meterpipe_ingest_ack_seconds",
        Kind.HISTOGRAM,
        "Seconds from having read a request or message until Kafka had its readings",
        ("adapter",),
    )
    NOTIFICATIONS = (
        "meterpipe_notifications_total",
        Kind.COUNTER,
        "Alarms for the webhook: delivered, refused (a dead letter) or skipped (a kind that is not posted)",
        ("outcome",),
    )
    WEBHOOK_ATTEMPTS = (
        "meterpipe_webhook_attempts_total",
        Kind.COUNTER,
        "Requests to the webhook, by what became of them: taken, again or refused",
        ("verdict",),
    )
    WEBHOOK_SECONDS = "meterpipe_webhook_seconds", Kind.HISTOGRAM, "Seconds until the webhook answered, or failed to"
    WEBHOOK_PENDING = "meterpipe_webhook_pending_alarms", Kind.GAUGE, "Alarms read that the webhook has not taken"
    API_REQUESTS = "meterpipe_api_requests_total", Kind.COUNTER, "Requests of the HTTP API answered", ("status",)
    OPEN_READINGS = "meterpipe_open_readings", Kind.GAUGE, "Readings held in open windows", ("partition",)


class Waiting:
    """How long a worker has waited for input: `with telemetry.waiting: messages = consumer.consume(...)`.

    Only the time asleep counts: a client that hands over thousands of messages works while it does so, and that is
    busy time. One thread uses it, not nested.
    """

    def __init__(
        self, wall: Callable[[], float] = time.monotonic, working: Callable[[], float] = time.thread_time
    ) -> None:
        self.seconds = 0.0
        self._wall, self._working = wall, working
        self._since = 0.0

    def __enter__(self) -> None:
        self._since = self._wall() - self._working()

    def __exit__(self, *_: object) -> None:
        self.seconds += max(0.0, self._wall() - self._working() - self._since)


class Telemetry(Protocol):
    """Where a worker's figures go. Called per batch, never per reading, from any thread.

    A metric told with the wrong verb or labels is a ValueError.
    """

    @property
    def waiting(self) -> Waiting:
        """Enter it around waiting for input; all other time of a step counts as busy."""

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Add `amount`, which is not negative, to a counter."""

    def gauge(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""

    def gauge_from(self, metric: Metric, read: Callable[[], float], **labels: str) -> None:
        """Have a gauge call `read`, from another thread, whenever it is asked for; NaN if it fails."""

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Add one observation to a histogram."""

    def forget(self, metric: Metric, **labels: str) -> None:
        """Drop a labelled series, e.g. of a partition that was revoked; nothing if there is none."""

    def span(
        self, name: str, links: Sequence[str] = (), **attributes: str | int | float
    ) -> AbstractContextManager[object]:
        """A trace span around one batch; `links` are W3C `traceparent` values of what the batch was made from."""


class Silent:
    """Telemetry that goes nowhere: for pure tests and benchmarks of a part."""

    def __init__(self) -> None:
        self.waiting = Waiting()

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

    def span(
        self, name: str, links: Sequence[str] = (), **attributes: str | int | float
    ) -> AbstractContextManager[object]:
        """Nothing."""
        return nullcontext()


def checked(metric: Metric, kind: Kind, labels: Mapping[str, str]) -> tuple[str, ...]:
    """The label values in the metric's order. ValueError if it is of another kind or has other labels."""
    if metric.kind is not kind:
        raise ValueError(f"{metric} is a {metric.kind}, not a {kind}")
    if labels.keys() != set(metric.labels):
        raise ValueError(f"{metric} has the labels {list(metric.labels)}, got {sorted(labels)}")
    return tuple(str(labels[name]) for name in metric.labels)


class Memory:
    """Telemetry kept in memory, for tests: what was told can be asked for."""

    def __init__(self) -> None:
        self.waiting = Waiting()
        self.observations: dict[tuple[str, ...], list[float]] = {}
        self.spans: list[tuple[str, tuple[str, ...], dict[str, str | int | float]]] = []
        self._values: dict[tuple[str, ...], float | Callable[[], float]] = {}

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Add."""
        if amount < 0:
            raise ValueError(f"{metric} only grows, got {amount}")
        key = (metric, *checked(metric, Kind.COUNTER, labels))
        self._values[key] = self.value(metric, **labels) + amount

    def gauge(self, metric: Metric, value: float, **labels: str) -> None:
        """Set."""
        self._values[(metric, *checked(metric, Kind.GAUGE, labels))] = value

    def gauge_from(self, metric: Metric, read: Callable[[], float], **labels: str) -> None:
        """Ask `read` from now on."""
        self._values[(metric, *checked(metric, Kind.GAUGE, labels))] = read

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Keep the observation."""
        self.observations.setdefault((metric, *checked(metric, Kind.HISTOGRAM, labels)), []).append(value)

    def forget(self, metric: Metric, **labels: str) -> None:
        """Drop the series."""
        key = (metric, *checked(metric, metric.kind, labels))
        if not metric.labels:
            raise ValueError(f"{metric} has no labels: it is one series that always exists")
        self._values.pop(key, None)
        self.observations.pop(key, None)

    def span(
        self, name: str, links: Sequence[str] = (), **attributes: str | int | float
    ) -> AbstractContextManager[object]:
        """Note the span."""
        self.spans.append((name, tuple(links), attributes))
        return nullcontext()

    def value(self, metric: Metric, **labels: str) -> float:
        """What a counter or gauge stands at; 0 if it was never told."""
        value = self._values.get((metric, *checked(metric, metric.kind, labels)), 0.0)
        return read_or_nan(value) if callable(value) else value

    def has(self, metric: Metric, **labels: str) -> bool:
        """Whether the series exists."""
        key = (metric, *checked(metric, metric.kind, labels))
        return key in self._values or key in self.observations


def read_or_nan(read: Callable[[], float]) -> float:
    """What `read` says. A gauge of a thing that is just going away must not break the others: NaN if it fails."""
    try:
        return float(read())
    except Exception:
        return math.nan
