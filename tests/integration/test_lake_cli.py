"""`meterpipe lake` and the upkeep behind it, on a real S3 server."""

import datetime as dt
import json

import pyarrow as pa
import pytest
from click.testing import CliRunner
from confluent_kafka import TopicPartition
from deltalake.exceptions import CommitFailedError
from meterpipe.adapters.archiver import Archiver
from meterpipe.adapters.kafka import new_admin
from meterpipe.adapters.lake import LakeTable, open_existing
from meterpipe.adapters.lake_jobs import compact, vacuum
from meterpipe.adapters.lake_writer import LakeWriter
from meterpipe.adapters.s3 import location_of, new_client
from meterpipe.cli.lake import lake
from meterpipe.core.lake_rows import merged
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Memory, Metric, Silent

from tests.integration.lake_helpers import (
    assert_exactly,
    count_of,
    lake_spec,
    reading,
    rows_of,
    send_values,
    span_of,
    step_until,
)


@pytest.fixture
def config(pipeline):
    return pipeline(lake_spec(partitions=2), schema=False)


@pytest.fixture
def run(config, tmp_path):
    """Run `meterpipe lake …` on the pipeline; gives back the JSON it printed."""
    file = tmp_path / "worker.json"
    file.write_text(config.model_dump_json(by_alias=True))

    def invoke(*args, exit_code=0, as_json=True):
        argv = [*args, "--config", str(file), *(["--json"] if as_json else [])]
        result = CliRunner().invoke(lake, argv)
        assert result.exit_code == exit_code, result.output
        return json.loads(result.stdout) if as_json and not exit_code else result.output

    return invoke


def archive(config, cuts, app="app/0"):
    """One commit a cut, of messages whose values are their offsets."""
    writer = LakeWriter(location_of(config), Silent())
    first = None
    for until in cuts:
        writer.take(span_of(first, until), {0: app})
        writer.attempt()
        first = until


def test_an_empty_lake_counts_zero(run):
    assert run("count")["rows"] == 0
    assert "no table yet" in run("show", as_json=False)


def test_readings_are_counted_from_the_log(config, run):
    archive(config, [10, 25])
    assert run("count")["rows"] == 25
    assert run("count", as_json=False) == "25\n"
    (day,) = run("show")["dates"]
    assert (day["date"], day["files"], day["rows"]) == ("1970-01-01", 2, 25)


def test_compaction_keeps_every_row_and_where_archiving_goes_on(config, run):
    archive(config, range(10, 130, 10))
    before = sorted(map(repr, rows_of(config)))
    done = run("compact")
    assert done == {"dates": 1, "filesBefore": 12, "filesAfter": 1}
    assert sorted(map(repr, rows_of(config))) == before
    assert count_of(config) == 120
    assert open_existing(location_of(config)).transaction_version("app/0") == 120
    assert run("compact") == {"dates": 0, "filesBefore": 0, "filesAfter": 0}
    rows = rows_of(config)
    assert [row["ts"] for row in rows] == sorted(row["ts"] for row in rows)


def test_compaction_keeps_what_arrives_meanwhile_and_gives_way_to_another_compaction(config):
    archive(config, [10, 20])
    location, date = location_of(config), dt.date(1970, 1, 1)
    one, other = LakeTable(location), LakeTable(location)
    rows = pa.concat_tables([one.read(path) for path, _ in one.files(date)])
    archive_on(config, 20, 30)
    one.replace(date, one.upload([merged(date, rows)]))
    assert_exactly(config, range(30))
    with pytest.raises(CommitFailedError):
        other.replace(date, other.upload([merged(date, rows)]))
    assert_exactly(config, range(30))
    late = LakeTable(location)
    compact(location)
    with pytest.raises(CommitFailedError):
        late.replace(date, late.upload([merged(date, rows)]))
    assert_exactly(config, range(30))


def archive_on(config, first, until):
    writer = LakeWriter(location_of(config), Silent())
    writer.take(span_of(first, until), {0: "app/0"})
    writer.attempt()


def test_only_the_dates_asked_for_are_compacted(config, run):
    archive(config, [10, 20])
    assert run("compact", "--date", "2024-01-01")["dates"] == 0
    assert run("compact", "--date", "1970-01-01")["dates"] == 1
    assert "--date" in run("compact", "--date", "yesterday", exit_code=2)


def test_an_archiver_commits_while_its_table_is_compacted(config):
    archive(config, [10, 20, 30])
    writer = LakeWriter(location_of(config), Silent())
    writer.versions(["app/0"])  # its handle is older than the compaction
    compact(location_of(config))
    writer.take(span_of(30, 40), {0: "app/0"})
    assert writer.attempt().written == {0: 40}
    assert_exactly(config, range(40))


def test_where_archiving_goes_on_survives_checkpoints(config):
    archive(config, range(1, 121))
    assert any(
        "checkpoint" in found["Key"]
        for found in new_client(config.lake).list_objects_v2(
            Bucket=location_of(config).bucket, Prefix=f"{location_of(config).readings}/_delta_log/"
        )["Contents"]
    )
    assert LakeTable(location_of(config)).version("app/0") == 120
    assert_exactly(config, range(120))


def test_a_vacuum_spares_uploads_that_may_still_be_committed(config, run):
    archive(config, [10, 20])
    location = location_of(config)
    client, orphan = new_client(config.lake), f"{location.readings}/date=1970-01-01/part-x.zstd.parquet"
    client.put_object(Bucket=location.bucket, Key=orphan, Body=b"x")
    compact(location)
    assert run("vacuum", "--dry-run")["found"] == []
    assert run("vacuum")["deleted"] == []
    client.head_object(Bucket=location.bucket, Key=orphan)
    assert_exactly(config, range(20))


def test_a_vacuum_that_would_take_uploads_in_flight_is_refused(config, run):
    with pytest.raises(ValueError, match="at least 2"):
        vacuum(location_of(config), 1)
    assert "24" in run("vacuum", "--older-than", "1", exit_code=2)


def test_upkeep_of_a_lake_that_is_not_there_says_so(run):
    assert "nothing was archived" in run("compact", exit_code=1)


def test_a_lake_that_does_not_answer_is_named(config, tmp_path):
    nowhere = config.model_copy(update={"lake": config.lake.model_copy(update={"endpoint": "http://127.0.0.1:9"})})
    file = tmp_path / "nowhere.json"
    file.write_text(nowhere.model_dump_json(by_alias=True))
    result = CliRunner().invoke(lake, ["count", "--config", str(file)])
    assert result.exit_code == 1
    assert "Connection refused" in result.output


def test_a_gap_is_shown_and_once_its_loss_is_accepted_archiving_goes_on(config, run):
    topic = names_of(config.pipeline).readings
    send_values(config, [json.dumps(reading(i)).encode() for i in range(10)])
    first = Archiver(config, Silent())
    step_until(first, lambda: count_of(config) == 10)
    first.close()
    send_values(config, [json.dumps(reading(i)).encode() for i in range(10, 30)])
    admin = new_admin(config.kafka)
    admin.list_topics(topic, timeout=10)
    admin.delete_records([TopicPartition(topic, 0, 25)])[TopicPartition(topic, 0)].result()
    telemetry = Memory()
    archiver = Archiver(config, telemetry)
    step_until(archiver, lambda: bool(archiver._partitions.gaps))
    shown = {found["partition"]: found for found in run("show")["partitions"]}
    assert shown[0] == {
        "partition": 0, "archivedBefore": 10, "logBegin": 25, "logEnd": 30, "lag": 5,
        "condition": "OffsetsExpired", "lost": 15,
    }  # fmt: skip
    assert shown[1]["condition"] is None
    assert "15 offsets lost" in run("show", as_json=False)
    (done,) = run("accept-loss", "--yes", "--partition", "0")
    assert done["lost"] == 15
    archiver._settling.at = 0.0  # not to wait for its next look
    step_until(archiver, lambda: count_of(config) == 15)
    assert archiver.ready()
    assert telemetry.value(Metric.LAKE_GAP, partition="0") == 0
    archiver.close()
    assert_exactly(config, [*range(10), *range(25, 30)])
    assert run("accept-loss", "--yes") == []
