"""The schema on a real server: made once, extended, verified; nothing else writes it."""

import pytest
from meterpipe.adapters.cassandra import StoreUnreachableError, connect
from meterpipe.adapters.schema import SchemaConflictError, apply_schema, verify_schema
from meterpipe.spec.names import names_of


@pytest.fixture
def session(cassandra):
    session = connect(cassandra)
    yield session
    session.cluster.shutdown()


def test_schema_is_made_once_and_a_second_time_changes_nothing(pipeline, session):
    config = pipeline(topics=False, schema=False)
    keyspace = names_of(config.pipeline).keyspace
    assert verify_schema(config) == [f"keyspace {keyspace} is missing: run `meterpipe schema apply`"]
    assert len(apply_schema(config, dry_run=True)) == 5
    assert len(verify_schema(config)) == 1
    assert len(apply_schema(config)) == 5
    assert apply_schema(config) == []
    assert verify_schema(config) == []
    tables = session.execute(
        "SELECT table_name, default_time_to_live AS ttl, compaction FROM system_schema.tables WHERE keyspace_name = %s",
        (keyspace,),
    )
    found = {row.table_name: (row.ttl, row.compaction["class"].rpartition(".")[2]) for row in tables}
    assert found["metrics_aggregates_60"] == (90 * 86_400, "TimeWindowCompactionStrategy")
    assert found["metrics_aggregates_86400"][0] == 0


def test_a_new_window_a_new_time_to_live_and_a_lost_column_are_added_to_what_is_there(pipeline, session):
    config = pipeline({"aggregator": {"windows": [60]}}, topics=False)
    keyspace = names_of(config.pipeline).keyspace
    session.execute(f"ALTER TABLE {keyspace}.metrics_aggregates_60 DROP revision")
    assert len(verify_schema(config)) == 1
    spec = {"aggregator": {"windows": [60, 3600]}, "cassandra": {"ttl": {"60": 3600}}}
    changed = pipeline(spec, topics=False, schema=False)
    changed = config.model_copy(update={"pipeline": config.pipeline.model_copy(update={"spec": changed.pipeline.spec})})
    assert apply_schema(changed) == [
        f"column {keyspace}.metrics_aggregates_60.revision added",
        f"table {keyspace}.metrics_aggregates_60: rows written from now on are kept 3600 s (before: 7776000 s); "
        "compaction TimeWindowCompactionStrategy",
        f"table {keyspace}.metrics_aggregates_3600 created, rows kept for ever",
    ]
    assert apply_schema(changed) == []
    assert verify_schema(changed) == []


def test_a_table_of_another_shape_is_refused_before_anything_changes(pipeline, session):
    config = pipeline({"aggregator": {"windows": [60, 600]}}, topics=False)
    keyspace = names_of(config.pipeline).keyspace
    session.execute(f"DROP TABLE {keyspace}.metrics_aggregates_60")
    session.execute(f"DROP TABLE {keyspace}.metrics_aggregates_600")
    session.execute(f"CREATE TABLE {keyspace}.metrics_aggregates_60 (meter text PRIMARY KEY, count int)")
    with pytest.raises(SchemaConflictError, match="column count is int, wanted bigint; drop the table"):
        apply_schema(config)
    assert any("metrics_aggregates_600 is missing" in problem for problem in verify_schema(config))


def test_a_store_that_is_not_there_is_named(pipeline):
    config = pipeline(topics=False, schema=False)
    nowhere = config.cassandra.model_copy(update={"port": 1})
    with pytest.raises(StoreUnreachableError, match=r"127\.0\.0\.1:1"):
        apply_schema(config.model_copy(update={"cassandra": nowhere}))


def test_another_datacenter_than_the_servers_is_named(pipeline):
    config = pipeline(topics=False, schema=False)
    elsewhere = config.cassandra.model_copy(update={"datacenter": "mars"})
    with pytest.raises(StoreUnreachableError, match="mars"):
        apply_schema(config.model_copy(update={"cassandra": elsewhere}))
