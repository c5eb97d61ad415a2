"""The schema of the medium-term store on a real server: `apply_schema` is its only writer, workers verify and wait."""

from cassandra.cluster import Session

from meterpipe.adapters.cassandra import connect
from meterpipe.core.store_schema import (
    Column,
    Schema,
    Table,
    Wanted,
    conflicts,
    plan,
    problems,
    wanted,
    wanted_of_alarms,
)
from meterpipe.spec.connections import CassandraConnection, WorkerConfig

SCHEMA_SECONDS = 60.0


class SchemaConflictError(Exception):
    """A table of that name exists and cannot hold our rows."""


def apply_schema(config: WorkerConfig, dry_run: bool = False) -> list[str]:
    """Create or extend keyspace and tables; what was (or with `dry_run` would be) changed, in words.

    Raises SchemaConflictError, before anything is changed, if a table that exists would have to be rebuilt.
    """
    connection = needed(config)
    session = connect(connection, SCHEMA_SECONDS)
    try:
        want = wanted(config.pipeline, connection.datacenter)
        found = observe(session, want)
        clashes = [
            f"table {want.keyspace}.{name}: {why}"
            for name, table in found.tables.items()
            for why in conflicts(table.columns, name)
        ]
        if clashes:
            raise SchemaConflictError("; ".join(clashes))
        changes = plan(want, found)
        for change in [] if dry_run else changes:
            session.execute(change.cql)
        return [change.what for change in changes]
    finally:
        session.cluster.shutdown()


def verify_schema(config: WorkerConfig) -> list[str]:
    """Why the sink could not write, and the way out; empty if it can."""
    session = connect(needed(config))
    try:
        return missing(session, config)
    finally:
        session.cluster.shutdown()


def missing(session: Session, config: WorkerConfig) -> list[str]:
    """As `verify_schema`, on an open session."""
    want = wanted(config.pipeline, needed(config).datacenter)
    return problems(want, observe(session, want))


def missing_of_alarms(session: Session, config: WorkerConfig) -> list[str]:
    """Why open alarms could not be written, and the way out; empty if they can."""
    want = wanted_of_alarms(config.pipeline, needed(config).datacenter)
    return problems(want, observe(session, want))


def needed(config: WorkerConfig) -> CassandraConnection:
    """Where Cassandra is. ValueError if the configuration does not say."""
    if config.cassandra is None:
        raise ValueError("cassandra: the configuration does not say where Cassandra is")
    return config.cassandra


def observe(session: Session, want: Wanted) -> Schema:
    """The keyspace as it is. Read from the server's own tables, not from the driver's copy, which may lag behind."""
    keyspaces = session.execute(
        "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s", (want.keyspace,)
    )
    keyspace = keyspaces.one()
    if keyspace is None:
        return Schema()
    columns: dict[str, dict[str, Column]] = {}
    for row in session.execute(
        "SELECT table_name, column_name, type, kind, position, clustering_order"
        " FROM system_schema.columns WHERE keyspace_name = %s",
        (want.keyspace,),
    ):
        described = Column(row.type, row.kind, row.position, row.clustering_order)
        columns.setdefault(row.table_name, {})[row.column_name] = described
    tables = {
        row.table_name: Table(columns.get(row.table_name, {}), row.default_time_to_live, dict(row.compaction))
        for row in session.execute(
            "SELECT table_name, default_time_to_live, compaction FROM system_schema.tables WHERE keyspace_name = %s",
            (want.keyspace,),
        )
    }
    return Schema(dict(keyspace.replication), {name: tables[name] for name in tables if name in want.names})
