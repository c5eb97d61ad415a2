from dataclasses import replace

import pytest
from meterpipe.core.cql import COLUMNS as ENCODED
from meterpipe.core.store_schema import COLUMNS, Column, Schema, Table, compaction, conflicts, plan, problems, wanted
from meterpipe.spec.models import MeterPipeline

DAY = 86_400


def want(**cassandra):
    resource = {
        "apiVersion": "meterpipe.io/v1alpha1",
        "kind": "MeterPipeline",
        "metadata": {"name": "p"},
        "spec": {"aggregator": {"windows": [60, 86_400]}, "cassandra": cassandra},
    }
    return wanted(MeterPipeline.model_validate(resource), "dc1")


def there(want):
    """The server after `want` was applied."""
    tables = {name: Table(dict(COLUMNS), want.ttl[w], compaction(want.ttl[w])) for w, name in want.tables.items()}
    replication = {"class": "org.apache.cassandra.locator.NetworkTopologyStrategy", "dc1": str(want.replicas)}
    return Schema(replication, tables)


def said(changes):
    return [change.what for change in changes]


def test_on_an_empty_server_all_is_created():
    changes = plan(want(), Schema())
    assert said(changes) == [
        "keyspace local_p created, 1 replicas in dc1",
        "table local_p.metrics_aggregates_60 created, rows kept 7776000 s",
        "table local_p.metrics_aggregates_86400 created, rows kept for ever",
    ]
    assert "PRIMARY KEY ((meter, metric, attribute, bucket), window_start)" in changes[1].cql
    assert "TimeWindowCompactionStrategy" in changes[1].cql
    assert "compaction" not in changes[2].cql


def test_what_is_there_is_left_alone_and_fit_to_be_written():
    assert plan(want(), there(want())) == []
    assert problems(want(), there(want())) == []


def test_another_time_to_live_changes_the_table_and_its_compaction():
    changes = plan(want(ttl={"60": 0, "86400": 30 * DAY}), there(want()))
    assert [change.cql.partition(" WITH ")[2] for change in changes] == [
        "default_time_to_live = 0 AND compaction = {'class': 'SizeTieredCompactionStrategy'}",
        "default_time_to_live = 2592000 AND compaction = {'class': 'TimeWindowCompactionStrategy', "
        "'compaction_window_unit': 'DAYS', 'compaction_window_size': '1'}",
    ]


def test_a_missing_column_is_added_and_until_then_rows_cannot_be_written():
    found = there(want())
    name = "metrics_aggregates_60"
    less = {c: column for c, column in COLUMNS.items() if c != "revision"}
    found = replace(found, tables={**found.tables, name: replace(found.tables[name], columns=less)})
    assert [change.cql for change in plan(want(), found)] == [f'ALTER TABLE "local_p".{name} ADD revision int']
    assert problems(want(), found) == [f"table local_p.{name} lacks revision: run `meterpipe schema apply`"]


def test_a_column_of_our_own_does_no_harm():
    assert conflicts({**COLUMNS, "note": Column("text")}) == []


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({**COLUMNS, "count": Column("int")}, "column count is int, wanted bigint"),
        ({**COLUMNS, "extra": Column("text", "clustering", 1, "asc")}, "unknown key column extra"),
        ({c: k for c, k in COLUMNS.items() if c != "bucket"}, "no key column bucket"),
    ],
)
def test_a_table_that_would_have_to_be_rebuilt_is_named_with_the_way_out(columns, why):
    assert [text.partition(";")[0] for text in conflicts(columns)] == [why]
    assert "drop the table" in conflicts(columns)[0]


def test_more_replicas_keep_the_other_datacenters_and_say_what_to_run():
    found = replace(there(want()), replication={"class": "NetworkTopologyStrategy", "dc1": "1", "far": "2"})
    (change,) = plan(want(replicationFactor=3), found)
    assert "run `nodetool repair --full local_p`" in change.what
    assert change.cql.endswith("replication = {'class': 'NetworkTopologyStrategy', 'dc1': '3', 'far': '2'}")


def test_a_keyspace_with_another_strategy_is_left_alone():
    assert plan(want(), replace(there(want()), replication={"class": "SimpleStrategy"})) == []


def test_what_is_missing_is_told():
    assert problems(want(), Schema()) == ["keyspace local_p is missing: run `meterpipe schema apply`"]
    found = replace(there(want()), tables={})
    assert len(problems(want(), found)) == 2


@pytest.mark.parametrize(("ttl", "window"), [(3600, "1 HOURS"), (29 * DAY, "24 HOURS"), (90 * DAY, "3 DAYS")])
def test_a_row_passes_about_thirty_time_windows_in_its_life(ttl, window):
    rule = compaction(ttl)
    assert f"{rule['compaction_window_size']} {rule['compaction_window_unit']}" == window


def test_the_encoder_writes_the_columns_of_the_table():
    assert list(ENCODED) == list(COLUMNS)
