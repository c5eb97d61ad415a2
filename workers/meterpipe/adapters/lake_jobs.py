"""Upkeep of the lake: what is archived, fewer and better files, no rubbish, and the way out of a gap."""

import logging
from collections.abc import Collection
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.writer.properties import ColumnProperties, WriterProperties

from meterpipe.adapters.kafka import new_admin, new_consumer
from meterpipe.adapters.lake import ROW_GROUP, LakeTable, open_existing, rows_by_date
from meterpipe.adapters.readings_topic import ASK_SECONDS, TopicIdentity
from meterpipe.adapters.s3 import LakeLocation, location_of
from meterpipe.core.lake_protocol import Gap, app_id, resume
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of

log = logging.getLogger(__name__)

TARGET_BYTES = 256 * 1024 * 1024
TRIES = 5

_WRITER = WriterProperties(
    compression="ZSTD",
    max_row_group_size=ROW_GROUP,
    column_properties={
        name: ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")
        for name in ("ts", "_offset", "_ingested_at")
    },
)


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did."""

    dates: int
    files_before: int
    files_after: int


def compact(
    location: LakeLocation, dates: Collection[str] | None = None, *, z_order: bool = False, target: int = TARGET_BYTES
) -> Compacted:
    """Merge the files of each date (`YYYY-MM-DD`; default: all) into files of about `target` bytes.

    With `z_order` they are sorted anew by meter and time, which costs more and makes reading one meter cheaper. Rows,
    and where the archivers go on, stay as they are; archivers may run meanwhile. Dates of one file are left alone.
    """
    table = _must_exist(location)
    wanted = [d for d, (files, _, _) in rows_by_date(table).items() if files > 1 and (dates is None or d in dates)]
    before = after = 0
    for date in wanted:
        metrics = _again(location, date, z_order, target)
        before += metrics["numFilesRemoved"]
        after += metrics["numFilesAdded"]
    return Compacted(len(wanted), before, after)


def _again(location: LakeLocation, date: str, z_order: bool, target: int) -> dict[str, int]:
    """Compact one date. Another compaction at the same time may win: look again, then."""
    for attempt in range(1, TRIES + 1):
        table = _must_exist(location)
        of_date = [("date", "=", date)]
        try:
            if z_order:
                return table.optimize.z_order(
                    ["meter", "ts"], partition_filters=of_date, target_size=target, writer_properties=_WRITER
                )
            return table.optimize.compact(partition_filters=of_date, target_size=target, writer_properties=_WRITER)
        except CommitFailedError:
            if attempt == TRIES:
                raise
            log.info("date %s was changed by another compaction, trying again", date)
    raise AssertionError("unreachable")


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
