"""The Delta table of the readings: reading its state, adding files to it, exactly once.

Files are written and uploaded by us (pyarrow: half the CPU of the Delta library's writer, and one small memory
footprint whatever the number of dates), then made part of the table in one commit of the Delta log.
"""

import datetime as dt
import json
import re
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction

from meterpipe.adapters.s3 import IMPATIENT, S3_ERRORS, UPLOADS, LakeLocation, error_code, new_client, storage_options
from meterpipe.core.lake_rows import FILE_SCHEMA, TABLE_SCHEMA, DayFile

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LAKE_ERRORS = (DeltaError, OSError, *S3_ERRORS)
"""What the table and the bucket raise when they cannot do what is asked; trying again may help."""

ROW_GROUP = 131_072  # rows: small enough that the readings of one meter are found without reading much else
CHECKPOINT_INTERVAL = 50  # commits: opening the table reads at most so many log entries


class WrongTableError(Exception):
    """What lies at the lake's place is another table. Trying again does not help."""


class LakeTable:
    """One handle of the table. It shows the table as of its last `refresh`; `commit` holds only if that is still so."""

    def __init__(self, location: LakeLocation) -> None:
        self._location = location
        options = {**storage_options(location.connection), **IMPATIENT}
        self._client: S3Client = new_client(location.connection)
        self._table = _open_or_create(location.table_uri, options)

    def refresh(self) -> None:
        """Take notice of all commits so far."""
        self._table.update_incremental()

    def version(self, app: str) -> int | None:
        """The version of a Delta application as of the last refresh."""
        return self._table.transaction_version(app)

    def upload(self, files: Iterable[DayFile]) -> list[AddAction]:
        """Put data files next to the table. They are no part of it until they are committed."""

        def put(file: DayFile) -> AddAction:
            body = encode(file.rows)
            path = f"date={file.date.isoformat()}/part-{uuid.uuid4()}.zstd.parquet"
            self._client.put_object(
                Bucket=self._location.bucket, Key=f"{self._location.readings}/{path}", Body=pa.BufferReader(body)
            )
            return AddAction(
                path=path,
                size=body.size,
                partition_values={"date": file.date.isoformat()},
                modification_time=int(time.time() * 1000),
                data_change=True,
                stats=json.dumps(file.statistics),
            )

        with ThreadPoolExecutor(UPLOADS, thread_name_prefix="lake-upload") as pool:
            return list(pool.map(put, files))

    def files(self, date: dt.date) -> list[tuple[str, int]]:
        """(path, rows) of each data file of a date, as of the last refresh."""
        found = pa.table(self._table.get_add_actions(flatten=True)).to_pylist()
        return [(file["path"], file["num_records"]) for file in found if file["partition.date"] == date]

    def read(self, path: str) -> pa.Table:
        """The rows of one data file."""
        key = f"{self._location.readings}/{path}"
        body = self._client.get_object(Bucket=self._location.bucket, Key=key)["Body"].read()
        return pq.read_table(pa.BufferReader(body)).select(FILE_SCHEMA.names)

    def replace(self, date: dt.date, files: Sequence[AddAction]) -> None:
        """Put `files` in the place of those that this handle shows of a date; files added meanwhile stay.

        Refused (CommitFailedError) if the date was compacted by us or rows of it deleted by others meanwhile; but the
        library does not notice an OPTIMIZE of another engine (measured), so there must be none at the same time.
        """
        for file in files:
            file.data_change = False
        self._table.create_write_transaction(
            list(files),
            mode="overwrite",
            schema=TABLE_SCHEMA,
            partition_by=["date"],
            partition_filters=[("date", "=", date.isoformat())],
            commit_properties=CommitProperties(
                app_transactions=[Transaction(f"compaction/{date.isoformat()}", self._table.version())]
            ),
        )

    def commit(self, files: Sequence[AddAction], versions: Mapping[str, int]) -> None:
        """Add files and set application versions, both or nothing.

        Refused (CommitFailedError) if any of the applications was committed by anyone since the last refresh: always
        compare the versions of this handle first. After any error the outcome is unknown until a new handle is asked.
        """
        self._table.create_write_transaction(
            list(files),
            mode="append",
            schema=TABLE_SCHEMA,
            partition_by=["date"],
            commit_properties=CommitProperties(
                app_transactions=[Transaction(app, version) for app, version in versions.items()]
            ),
        )


def encode(rows: pa.Table) -> pa.Buffer:
    """A Parquet file of FILE_SCHEMA's columns. Times and offsets ascend, so they are stored as differences."""
    sink = pa.BufferOutputStream()
    ascending = ("ts", "_offset", "_ingested_at")
    with pq.ParquetWriter(
        sink,
        rows.schema,
        compression="zstd",
        use_dictionary=[name for name in FILE_SCHEMA.names if name not in ascending],
        column_encoding=dict.fromkeys(ascending, "DELTA_BINARY_PACKED"),
        write_page_index=True,
        store_schema=False,
        sorting_columns=[pq.SortingColumn(FILE_SCHEMA.get_field_index(name)) for name in ("meter", "ts")],
    ) as writer:
        writer.write_table(rows, row_group_size=ROW_GROUP)
    return sink.getvalue()


def _open_or_create(uri: str, options: dict[str, str]) -> DeltaTable:
    try:
        table = DeltaTable(uri, storage_options=options)
    except TableNotFoundError:
        try:
            table = DeltaTable.create(
                uri,
                TABLE_SCHEMA,
                mode="ignore",
                partition_by=["date"],
                name="readings",
                description="Every reading as it arrived. Exactly once: see the txn entries of the log.",
                configuration={
                    "delta.checkpointInterval": str(CHECKPOINT_INTERVAL),
                    "delta.dataSkippingStatsColumns": ",".join(FILE_SCHEMA.names),
                },
                storage_options=options,
            )
        except CommitFailedError:  # another archiver created it at the same moment
            table = DeltaTable(uri, storage_options=options)
    _check(table)
    return table


def _check(table: DeltaTable) -> None:
    columns = pa.schema(table.schema().to_arrow())
    partitioned_by = table.metadata().partition_columns
    if partitioned_by != ["date"]:
        raise WrongTableError(f"{table.table_uri} is partitioned by {partitioned_by}, not by ['date']: not our table")
    for field in TABLE_SCHEMA:
        at = columns.get_field_index(field.name)
        if at < 0:
            raise WrongTableError(f"{table.table_uri} has no column {field.name!r}: not our table")


def open_existing(location: LakeLocation) -> DeltaTable | None:
    """The table as it is; None if there is none yet."""
    try:
        return DeltaTable(location.table_uri, storage_options=storage_options(location.connection))
    except TableNotFoundError:
        return None


def rows_by_date(table: DeltaTable) -> dict[str, tuple[int, int, int]]:
    """(files, rows, bytes) by date, from the log alone: no data file is read."""
    files = pa.table(table.get_add_actions(flatten=True))
    grouped = (
        files.select(["partition.date", "num_records", "size_bytes"])
        .group_by("partition.date")
        .aggregate([("num_records", "count"), ("num_records", "sum"), ("size_bytes", "sum")])
    )
    return {
        str(row["partition.date"]): (row["num_records_count"], row["num_records_sum"] or 0, row["size_bytes_sum"] or 0)
        for row in sorted(grouped.to_pylist(), key=lambda row: str(row["partition.date"]))
    }


def count_rows(table: DeltaTable) -> int:
    """Rows of the table, from the log alone."""
    return int(pc.sum(pa.table(table.get_add_actions(flatten=True)).column("num_records")).as_py() or 0)


def explain(problem: BaseException) -> str:
    """An error of the lake in one line, with its cause in plain words where the server's own are not."""
    text = " ".join(_COLOUR.sub("", str(problem)).split()) or type(problem).__name__
    if isinstance(problem, S3_ERRORS) and hasattr(problem, "response"):
        code = error_code(problem)  # type: ignore[arg-type]
        hint = HINTS.get(code)
        return f"{text} ({hint})" if hint else text
    return text


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # the Delta library colours its errors

HINTS: Mapping[str, str] = {
    "NoSuchBucket": "create the bucket, or correct lake.bucket",
    "AccessDenied": "the credentials may not write below lake.prefix",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "InvalidAccessKeyId": "the access key is unknown to the server",
    "QuotaExceeded": "the storage is full",
}
