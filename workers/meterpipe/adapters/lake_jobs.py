"""Upkeep of the lake: what is archived, fewer and better files, no rubbish, and the way out of a gap."""

import datetime as dt
import logging
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from meterpipe.adapters.kafka import new_admin, new_consumer
from meterpipe.adapters.lake import LakeTable, open_existing, rows_by_date
from meterpipe.adapters.readings_topic import ASK_SECONDS, TopicIdentity
from meterpipe.adapters.s3 import LakeLocation, location_of
from meterpipe.core.lake_protocol import Gap, app_id, resume
from meterpipe.core.lake_rows import merged
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of

log = logging.getLogger(__name__)

TRIES = 5
FILE_ROWS = 4_000_000  # of a merged file; all are in memory at a time, about half a gigabyte


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did."""

    dates: int
    files_before: int
    files_after: int


def compact(location: LakeLocation, dates: Collection[str] | None = None) -> Compacted:
    """Merge the files of each date (`YYYY-MM-DD`; default: all) into few, sorted by meter and time throughout.

    Rows, and where the archivers go on, stay as they are; archivers may run meanwhile. Dates that are in good order
    are left alone.
    """
    chosen = [
        dt.date.fromisoformat(date)
        for date, (files, rows, _) in rows_by_date(_must_exist(location)).items()
        if files > math.ceil(rows / FILE_ROWS) and (dates is None or date in dates)
    ]
    before = after = 0
    for date in chosen:
        gone, new = _compact(location, date)
        before, after = before + gone, after + new
    return Compacted(len(chosen), before, after)


def _compact(location: LakeLocation, date: dt.date) -> tuple[int, int]:
    """Compact one date; (files before, after). Another compaction at the same time may win: look again, then."""
    for attempt in range(1, TRIES + 1):
        table = LakeTable(location)
        files = table.files(date)
        new = [
            added
            for part in _parts(files)
            for added in table.upload([merged(date, pa.concat_tables([table.read(path) for path in part]))])
        ]
        try:
            table.replace(date, new)
            break
        except CommitFailedError:
            if attempt == TRIES:
                raise
            log.info("date %s was changed by another compaction, trying again", date)
    return len(files), len(new)


def _parts(files: Sequence[tuple[str, int]]) -> Iterator[list[str]]:
    """Paths of files to be sorted together, about FILE_ROWS a part."""
    part: list[str] = []
    rows = 0
    for path, count in files:
        if part and rows + count > FILE_ROWS:
            yield part
            part, rows = [], 0
        part.append(path)
        rows += count
    if part:
        yield part


def vacuum(location: LakeLocation, hours: int, *, dry_run: bool = False) -> list[str]:
    """Delete files that have not been part of the table for `hours`: merged ones and uploads never committed.

    `hours` bounds how far back readers can go, and must exceed the hour for which an archiver keeps an upload.
    """
    if hours < 2:
        raise ValueError(
            f"an archiver may still commit files uploaded an hour ago; hours must be at least 2, got {hours}"
        )
    return _must_exist(location).vacuum(
        retention_hours=hours, dry_run=dry_run, enforce_retention_duration=False, full=True
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one partition is archived. `version`: offset before which all is in the lake; None: nothing yet."""

    partition: int
    version: int | None
    low: int
    high: int
    gap: Gap | None

    @property
    def lag(self) -> int:
        """Messages of the log that are not archived."""
        return max(0, self.high - max(self.low, self.version or 0))


def progress(config: WorkerConfig, table: LakeTable | DeltaTable | None) -> dict[str, Progress]:
    """Each partition's progress by its Delta application. KafkaException if Kafka does not answer."""
    topic = names_of(config.pipeline).readings
    admin = new_admin(config.kafka)
    identity = TopicIdentity(admin, topic)
    uuid, cluster = identity.now(), identity.cluster()
    if uuid is None:
        return {}
    found = {}
    consumer = new_consumer(config.kafka, names_of(config.pipeline).group("archiver"))
    try:
        for partition in sorted(admin.list_topics(topic, timeout=ASK_SECONDS).topics[topic].partitions):
            ends = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=ASK_SECONDS)
            if ends is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            low, high = ends
            app = app_id(cluster, uuid, partition)
            version = _version(table, app)
            start = resume(version, low, high)
            found[app] = Progress(partition, version, low, high, start if isinstance(start, Gap) else None)
    finally:
        consumer.close()
    return found


def _version(table: LakeTable | DeltaTable | None, app: str) -> int | None:
    if table is None:
        return None
    return table.version(app) if isinstance(table, LakeTable) else table.transaction_version(app)


def accept_loss(config: WorkerConfig, partitions: Collection[int]) -> list[Progress]:
    """Let archiving go on behind the gap of the given partitions (none: of all that have one); those it was done for.

    Archivers notice within half a minute. What is missing stays missing: the offsets lost are in the gap of each.
    """
    table = LakeTable(location_of(config))
    chosen = {
        app: found
        for app, found in progress(config, table).items()
        if found.gap and (not partitions or found.partition in partitions)
    }
    if chosen:
        table.commit([], {app: found.gap.found for app, found in chosen.items() if found.gap})
    return list(chosen.values())


def _must_exist(location: LakeLocation) -> DeltaTable:
    table = open_existing(location)
    if table is None:
        raise NoLakeError(f"there is no lake at {location.table_uri} yet: nothing was archived")
    return table


class NoLakeError(Exception):
    """The table does not exist."""
