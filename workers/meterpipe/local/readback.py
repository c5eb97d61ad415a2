"""All windows of a table as the store holds them, for comparison with what they must be."""

import pyarrow as pa
from cassandra.cluster import EXEC_PROFILE_DEFAULT, ExecutionProfile, Session
from cassandra.query import SimpleStatement, tuple_factory

from meterpipe.adapters.cassandra import connect
from meterpipe.core.aggregates import AGGREGATE_SCHEMA
from meterpipe.spec.connections import CassandraConnection

PAGE, PAGE_SECONDS = 5_000, 60.0
COLUMNS = ", ".join(f'"{name}"' for name in AGGREGATE_SCHEMA.names)


def read_windows(connection: CassandraConnection, keyspace: str, tables: dict[int, str]) -> dict[int, pa.Table]:
    """Every row of the tables, by window size, as AGGREGATE_SCHEMA. For what fits into memory."""
    session = connect(connection)
    try:
        profile = session.execution_profile_clone_update(
            EXEC_PROFILE_DEFAULT, row_factory=tuple_factory, request_timeout=PAGE_SECONDS
        )
        return {size: _read(session, profile, f"{keyspace}.{table}") for size, table in tables.items()}
    finally:
        session.cluster.shutdown()


def _read(session: Session, profile: ExecutionProfile, table: str) -> pa.Table:
    result = session.execute(
        SimpleStatement(f"SELECT {COLUMNS} FROM {table}", fetch_size=PAGE), execution_profile=profile
    )
    pages = []
    while True:
        if rows := result.current_rows:
            pages.append(_page(rows))
        if not result.has_more_pages:
            return pa.concat_tables(pages) if pages else AGGREGATE_SCHEMA.empty_table()
        result.fetch_next_page()


def _page(rows: list[tuple[object, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    stamps = pa.array(columns[3], pa.timestamp("ms")).cast(pa.int64())
    arrays = [
        stamps if field.name == "window_start" else pa.array(column, field.type)
        for field, column in zip(AGGREGATE_SCHEMA, columns, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=AGGREGATE_SCHEMA)
