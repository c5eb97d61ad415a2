"""The tables of the medium-term store as data: what they shall be, how that differs from what is, the CQL between."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from meterpipe.core import open_alarms
from meterpipe.core.store_rows import bucket_unit
from meterpipe.spec.models import DAY, MeterPipeline
from meterpipe.spec.names import names_of

NETWORK = "NetworkTopologyStrategy"
TIME_WINDOW = "TimeWindowCompactionStrategy"
SIZE_TIERED = "SizeTieredCompactionStrategy"
TIME_WINDOWS = 30
"""Into how many files time-window compaction sorts the life of a row; a file goes whole when its rows have aged out."""
UNITS = {"D": "day", "M": "month", "Y": "year"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column as system_schema.columns describes it."""

    type: str
    kind: str = "regular"
    position: int = -1
    order: str = "none"


COLUMNS: Mapping[str, Column] = {
    "meter": Column("text", "partition_key", 0),
    "metric": Column("text", "partition_key", 1),
    "attribute": Column("text", "partition_key", 2),
    "bucket": Column("date", "partition_key", 3),
    "window_start": Column("timestamp", "clustering", 0, "desc"),
    "count": Column("bigint"),
    "min": Column("double"),
    "max": Column("double"),
    "sum": Column("double"),
    "avg": Column("double"),
    "first": Column("double"),
    "last": Column("double"),
    "revision": Column("int"),
}

OPEN_ALARMS: Mapping[str, Column] = {
    "meter": Column("text", "partition_key", 0),
    "metric": Column("text", "clustering", 0, "asc"),
    "attribute": Column("text", "clustering", 1, "asc"),
    "kind": Column("text", "clustering", 2, "asc"),
    "id": Column("text"),
    "raised_at": Column("timestamp"),
    "value": Column("double"),
    "limit_value": Column("double"),
    "threshold_partition": Column("int"),
    "threshold_offset": Column("bigint"),
    "reading_partition": Column("int"),
    "reading_offset": Column("bigint"),
}
REMEDIES = {open_alarms.TABLE: "drop the table (the topic of alarms can be read again)"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is on the server."""

    columns: Mapping[str, Column]
    ttl: int
    compaction: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Schema:
    """A keyspace as it is on the server; no replication means that there is none."""

    replication: Mapping[str, str] | None = None
    tables: Mapping[str, Table] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One statement, and what it changes in words."""

    what: str
    cql: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """The tables a pipeline needs: window size in seconds to seconds a row is kept (0: for ever), and open alarms."""

    keyspace: str
    datacenter: str
    replicas: int
    ttl: Mapping[int, int]
    tables: Mapping[int, str]
    open_alarms: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Of all tables."""
        return (*self.tables.values(), *((open_alarms.TABLE,) if self.open_alarms else ()))


def wanted(pipeline: MeterPipeline, datacenter: str) -> Wanted:
    """What `pipeline` needs in `datacenter`."""
    names, spec = names_of(pipeline), pipeline.spec
    windows = spec.aggregator.windows
    return Wanted(
        names.keyspace,
        datacenter,
        spec.cassandra.replication_factor,
        {window: spec.cassandra.ttl_of(window) for window in windows},
        {window: names.table(window) for window in windows},
        spec.alarms.enabled and spec.alarms.notifier.open_alarms,
    )


def wanted_of_alarms(pipeline: MeterPipeline, datacenter: str) -> Wanted:
    """What the notifier needs."""
    return Wanted(names_of(pipeline).keyspace, datacenter, pipeline.spec.cassandra.replication_factor, {}, {}, True)


def columns_of(name: str) -> Mapping[str, Column]:
    """The columns a table of that name shall have."""
    return OPEN_ALARMS if name == open_alarms.TABLE else COLUMNS


def compaction(ttl: int) -> dict[str, str]:
    """Compaction of a table whose rows live `ttl` seconds; empty: the server's default."""
    if ttl == 0:
        return {}
    unit, seconds = ("DAYS", DAY) if ttl >= TIME_WINDOWS * DAY else ("HOURS", 3600)
    size = max(1, -(-ttl // (TIME_WINDOWS * seconds)))
    return {"class": TIME_WINDOW, "compaction_window_unit": unit, "compaction_window_size": str(size)}


def plan(want: Wanted, found: Schema) -> list[Change]:
    """What to run so that the server has all of `want`. Nothing is ever dropped, retyped or narrowed."""
    changes = _keyspace(want, found)
    for window, name in want.tables.items():
        table = found.tables.get(name)
        if table is None:
            kept = f"rows kept {want.ttl[window]} s" if want.ttl[window] else "rows kept for ever"
            changes.append(Change(f"table {want.keyspace}.{name} created, {kept}", create_table(want, window)))
        else:
            changes += _columns(want, name, table) + _ageing(want, window, name, table)
    if want.open_alarms:
        alarms = found.tables.get(open_alarms.TABLE)
        changes += _columns(want, open_alarms.TABLE, alarms) if alarms else [_create_open_alarms(want)]
    return changes


def problems(want: Wanted, found: Schema) -> list[str]:
    """Why rows cannot be written to `found`, and the way out; empty if they can."""
    if found.replication is None:
        return [f"keyspace {want.keyspace} is missing: run `meterpipe schema apply`"]
    lacking = [name for name in want.names if name not in found.tables]
    said = [f"table {want.keyspace}.{name} is missing: run `meterpipe schema apply`" for name in lacking]
    for name in want.names:
        if name in found.tables:
            columns, shall = found.tables[name].columns, columns_of(name)
            absent = [c for c in shall if c not in columns and shall[c].kind == "regular"]
            if absent:
                said.append(f"table {want.keyspace}.{name} lacks {', '.join(absent)}: run `meterpipe schema apply`")
            said += [f"table {want.keyspace}.{name}: {why}" for why in conflicts(columns, name)]
    return said


def conflicts(columns: Mapping[str, Column], table: str = "") -> list[str]:
    """Differences of a table that no additive change heals. `table`: its name, if it is not one of windows."""
    said = []
    shall = columns_of(table)
    for name, column in shall.items():
        there = columns.get(name)
        if there is None and column.kind != "regular":
            said.append(f"no key column {name}")
        elif there is not None and there != column:
            said.append(f"column {name} is {_describe(there)}, wanted {_describe(column)}")
    said += [f"unknown key column {name}" for name, c in columns.items() if name not in shall and c.kind != "regular"]
    remedy = REMEDIES.get(table, "drop the table (its rows can be replayed)")
    return [f"{why}; {remedy} or choose another spec.cassandra.keyspace" for why in said]


def _describe(column: Column) -> str:
    order = f" {column.order}" if column.order != "none" else ""
    place = "" if column.kind == "regular" else f" ({column.kind.replace('_', ' ')} {column.position}{order})"
    return f"{column.type}{place}"


def create_table(want: Wanted, window: int) -> str:
    """CREATE TABLE of one window size."""
    columns = ", ".join(f"{name} {column.type}" for name, column in COLUMNS.items())
    unit = UNITS[bucket_unit(window)]
    options = [
        "CLUSTERING ORDER BY (window_start DESC)",
        f"default_time_to_live = {want.ttl[window]}",
        f"comment = 'Windows of {window} s; bucket is the first day of their {unit}, UTC'",
    ]
    if rule := compaction(want.ttl[window]):
        options.append(f"compaction = {_map(rule)}")
    return (
        f'CREATE TABLE IF NOT EXISTS "{want.keyspace}".{want.tables[window]} ({columns}, '
        f"PRIMARY KEY ((meter, metric, attribute, bucket), window_start)) WITH {' AND '.join(options)}"
    )


def _create_open_alarms(want: Wanted) -> Change:
    columns = ", ".join(f"{name} {column.type}" for name, column in OPEN_ALARMS.items())
    cql = (
        f'CREATE TABLE IF NOT EXISTS "{want.keyspace}".{open_alarms.TABLE} ({columns}, '
        "PRIMARY KEY ((meter), metric, attribute, kind)) WITH comment = 'Alarms that are raised and not cleared; "
        "the write time of a row is the offset of its event'"
    )
    return Change(f"table {want.keyspace}.{open_alarms.TABLE} created", cql)


def _keyspace(want: Wanted, found: Schema) -> list[Change]:
    factor = str(want.replicas)
    name, there = want.keyspace, found.replication
    if there is None:
        rule = {"class": NETWORK, want.datacenter: factor}
        cql = f'CREATE KEYSPACE IF NOT EXISTS "{name}" WITH replication = {_map(rule)}'
        return [Change(f"keyspace {name} created, {factor} replicas in {want.datacenter}", cql)]
    if not there.get("class", "").endswith(NETWORK) or there.get(want.datacenter) == factor:
        return []  # another strategy is somebody's choice: left alone
    rule = {**there, "class": NETWORK, want.datacenter: factor}
    before = there.get(want.datacenter, "0")
    what = (
        f"keyspace {name} now has {factor} replicas in {want.datacenter} instead of {before}: "
        f"run `nodetool {'repair --full' if int(before) < want.replicas else 'cleanup'} {name}` on each node"
    )
    return [Change(what, f'ALTER KEYSPACE "{name}" WITH replication = {_map(rule)}')]


def _columns(want: Wanted, name: str, table: Table) -> list[Change]:
    absent = {
        c: column for c, column in columns_of(name).items() if c not in table.columns and column.kind == "regular"
    }
    return [
        Change(
            f"column {want.keyspace}.{name}.{c} added", f'ALTER TABLE "{want.keyspace}".{name} ADD {c} {column.type}'
        )
        for c, column in absent.items()
    ]


def _ageing(want: Wanted, window: int, name: str, table: Table) -> list[Change]:
    ttl, rule = want.ttl[window], compaction(want.ttl[window])
    if not rule and table.compaction.get("class", "").endswith(TIME_WINDOW):
        rule = {"class": SIZE_TIERED}
    same = all(
        table.compaction.get(k, "").endswith(v) if k == "class" else table.compaction.get(k) == v
        for k, v in rule.items()
    )
    options, said = [], []
    if table.ttl != ttl:
        options.append(f"default_time_to_live = {ttl}")
        said.append(f"rows written from now on are kept {f'{ttl} s' if ttl else 'for ever'} (before: {table.ttl} s)")
    if not same:
        options.append(f"compaction = {_map(rule)}")
        said.append(f"compaction {rule['class']}")
    if not options:
        return []
    cql = f'ALTER TABLE "{want.keyspace}".{name} WITH {" AND ".join(options)}'
    return [Change(f"table {want.keyspace}.{name}: {'; '.join(said)}", cql)]


def _map(items: Mapping[str, str]) -> str:
    quoted = ("'" + text.replace("'", "''") + "'" for pair in items.items() for text in pair)
    pairs = list(quoted)
    return "{" + ", ".join(f"{k}: {v}" for k, v in zip(pairs[::2], pairs[1::2], strict=True)) + "}"
