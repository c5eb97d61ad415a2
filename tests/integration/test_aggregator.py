"""One aggregator on a real Kafka: what comes out is what a recomputation says, and a restart resumes."""

import json
import time

import pyarrow as pa
import pytest
from click.testing import CliRunner
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from meterpipe.adapters.kafka import new_admin, new_producer
from meterpipe.adapters.topics import ensure_topics
from meterpipe.cli.main import cli
from meterpipe.core.aggregates import AGGREGATE_SCHEMA
from meterpipe.core.codecs import Decoder
from meterpipe.core.control import encode_control
from meterpipe.core.murmur2 import partition_of
from meterpipe.core.readings import KeyTable
from meterpipe.core.result_codec import decode_results
from meterpipe.datasets.oracle import Expected
from meterpipe.datasets.publish import Format
from meterpipe.spec.names import names_of

from tests.integration.harness import (
    Source,
    Worker,
    assert_exact,
    balance_of,
    expected_of,
    fleet_of,
    headers_of,
    partitions_of,
    reading,
    records_of,
    results_of,
    settle,
    wait_until,
)

START = 1_704_067_200_000
MINUTE = 60_000


@pytest.mark.parametrize("form", [Format.JSON, Format.ENVELOPE])
@pytest.mark.parametrize("output", ["columns", "json"])
def test_results_late_readings_and_balance_equal_a_recomputation(pipeline, tmp_path, output, form):
    config = pipeline({"aggregator": {"output": output}}, schema=False)
    source = Source(config, meters=60, hours=4, form=form)
    source.send()
    with fleet_of(config, tmp_path) as fleet:
        worker = fleet.start("aggregator")
        settle(fleet, config, "aggregator")
        fleet.wait_until(worker.ready, "ready")
        assert fleet.discharge(worker) == 0
    expected = source.expected()
    assert expected.balance.late
    assert expected.balance.duplicates
    assert expected.balance.superseded
    assert_exact(config, expected)
    assert late_of(config) == late_in(expected, source)


def late_of(config):
    decoder = Decoder()
    late = []
    for message in records_of(config, names_of(config.pipeline).late):
        keys = KeyTable()
        readings = decoder.decode([message.value()], keys).readings
        assert headers_of(message)["windows"] == "60,600,3600,86400"
        meters = [list(keys.ids)[k][0] for k in readings.key]
        assert all(partition_of(m.encode(), partitions_of(config)) == message.partition() for m in meters)
        late += zip(meters, readings.ts.tolist(), readings.value.tolist(), strict=True)
    return sorted(late)


def late_in(expected, source):
    table = pa.Table.from_batches(source.batches).take(pa.array(expected.late))
    return sorted(zip(*(table.column(name).to_pylist() for name in ("meter", "ts", "value")), strict=True))


def test_json_and_envelopes_may_be_mixed(pipeline, tmp_path):
    config = pipeline(schema=False)
    source = Source(config, meters=40, hours=2)
    lines, envelopes = source.publisher, Source(config, meters=1, hours=1, form=Format.ENVELOPE).publisher
    for i, piece in enumerate(source.pieces(0, source.count)):
        for at in range(0, len(piece), 500):
            out = envelopes if (at // 500 + i) % 2 else lines
            out.send(piece.slice(at, 500))
            out.finish()
    source._sent = source.count
    source.send()
    with fleet_of(config, tmp_path) as fleet:
        fleet.start("aggregator")
        settle(fleet, config, "aggregator")
    assert_exact(config, source.expected())


def test_a_restart_resumes_and_puts_nothing_out_again(pipeline, tmp_path):
    config = pipeline(schema=False)
    source = Source(config, meters=60, hours=3)
    source.send(0.5)
    with fleet_of(config, tmp_path) as fleet:
        first = fleet.start("aggregator")
        settle(fleet, config, "aggregator")
        assert fleet.discharge(first) == 0
        half = {window: len(table) for window, table in results_of(config).items()}
        assert half[60]
        second = fleet.start("aggregator", 1)
        fleet.wait_until(lambda: second.said("assigned partitions"), "assigned")
        assert fleet.discharge(second) == 0
        assert {window: len(table) for window, table in results_of(config).items()} == half
        source.send()
        fleet.start("aggregator", 2)
        settle(fleet, config, "aggregator")
    assert_exact(config, source.expected())


def test_a_new_window_size_and_a_removed_one_are_taken_over_by_a_restart(pipeline, tmp_path):
    config = pipeline({"aggregator": {"windows": [60, 600]}}, schema=False)
    source = Source(config, meters=20, hours=2)
    source.send(0.5)
    with fleet_of(config, tmp_path / "before") as fleet:
        worker = fleet.start("aggregator")
        settle(fleet, config, "aggregator")
        fleet.discharge(worker)
    changed = config.model_copy(update={"pipeline": with_windows(config.pipeline, (60, 300))})
    ensure_topics(changed)
    with fleet_of(changed, tmp_path / "after") as fleet:
        fleet.start("aggregator")
        source.send()
        settle(fleet, changed, "aggregator")
    expected = expected_of(changed, source.batches)
    assert_exact(changed, Expected({60: expected.windows[60]}, expected.balance, expected.late, expected.dead))
    fives = results_of(changed, [300])[300]
    whole = {row_key(row): row for row in expected.windows[300].drop_columns("abs_sum").to_pylist()}
    assert 0 < len(fives) < len(whole)
    assert all(whole[row_key(row)] == row for row in fives.to_pylist())
    tens = results_of(config, [600])[600]
    assert len({row_key(row) for row in tens.to_pylist()}) == len(tens)


def row_key(row):
    return row["meter"], row["window_start"]


def with_windows(resource, windows):
    aggregator = resource.spec.aggregator.model_copy(update={"windows": windows})
    return resource.model_copy(update={"spec": resource.spec.model_copy(update={"aggregator": aggregator})})


def test_a_control_record_closes_windows_and_what_comes_after_is_late(pipeline, tmp_path):
    config = pipeline({"aggregator": {"grace": 0, "windows": [60]}}, schema=False)
    names, producer = names_of(config.pipeline), new_producer(config.kafka)
    home = partition_of(b"m", partitions_of(config))
    for value in (
        reading("m", START, 1.0),
        encode_control(START + MINUTE - 1),
        reading("m", START + 1000, 2.0),
        encode_control(START + MINUTE),
        reading("m", START + 2000, 4.0),
        reading("m", START + MINUTE, 8.0),
        encode_control(START),  # event time does not go back
    ):
        producer.produce(names.readings, value, partition=home)
    assert producer.flush(30) == 0
    with fleet_of(config, tmp_path) as fleet:
        fleet.start("aggregator")
        settle(fleet, config, "aggregator")
    [row] = results_of(config)[60].to_pylist()
    assert (row["window_start"], row["count"], row["sum"]) == (START, 2, 3.0)
    balance = balance_of(config)
    assert (balance.raw, balance.windows, balance.late, balance.open) == (4, 2, 1, 1)


def test_results_as_json_say_what_the_reference_system_said(pipeline, tmp_path):
    config = pipeline({"aggregator": {"grace": 0, "windows": [60], "output": "json"}}, schema=False)
    names, producer = names_of(config.pipeline), new_producer(config.kafka)
    for second, value in ((0, 2.0), (10, 1.0), (59, 6.0), (60, 0.0)):
        producer.produce(names.readings, reading("m.1", START + second * 1000, value), key="m.1")
    assert producer.flush(30) == 0
    with fleet_of(config, tmp_path) as fleet:
        fleet.start("aggregator")
        settle(fleet, config, "aggregator")
    [message] = records_of(config, names.aggregates(60))
    assert message.key() == b"m.1"
    assert json.loads(message.value()) == {
        "gateway": "m.1",
        "metricType": "ELECTRICITY",
        "metricAttribute": "ACTIVE_POWER",
        "window": 60,
        "start": START,
        "count": 3,
        "min": 1.0,
        "max": 6.0,
        "sum": 9.0,
        "avg": 3.0,
        "first": 2.0,
        "last": 6.0,
    }
    assert decode_results([message.value()], [60]).rows == 1


def test_a_live_partition_that_falls_silent_still_closes_its_windows(pipeline, tmp_path):
    """Its readings come from a transaction, whose marker no consumer is given: the end is known all the same."""
    config = pipeline({"aggregator": {"grace": 0, "windows": [1]}}, schema=False)
    names = names_of(config.pipeline)
    producer = new_producer(config.kafka, transactional_id=f"{names.prefix}-source")
    producer.init_transactions()
    with fleet_of(config, tmp_path) as fleet:
        worker = fleet.start("aggregator")
        fleet.wait_until(lambda: worker.said("assigned partitions"), "assigned")
        producer.begin_transaction()
        producer.produce(names.readings, reading("m", int(time.time() * 1000), 1.0), key="m")
        producer.commit_transaction()
        fleet.wait_until(lambda: len(results_of(config)[1]) == 1, "the window closes")
    assert balance_of(config).open == 0


# somebody moved state or offsets


def reset(config, folder, *args):
    file = folder / "reset.json"
    file.write_text(config.model_dump_json(by_alias=True, exclude_none=True))
    return CliRunner().invoke(cli, ["reset", "aggregator", *args, "--config", str(file)])


def move_offsets(config, offset):
    names, admin = names_of(config.pipeline), new_admin(config.kafka)
    group = names.group("aggregator")
    places = [TopicPartition(names.readings, p, offset) for p in range(partitions_of(config))]
    admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])[group].result()


def test_offsets_that_somebody_moved_stop_the_aggregator_until_they_are_put_back(pipeline, tmp_path):
    config = pipeline(schema=False)
    source = Source(config, meters=40, hours=2)
    source.send(0.5)
    with fleet_of(config, tmp_path) as fleet:
        worker = fleet.start("aggregator")
        settle(fleet, config, "aggregator")
        in_use = reset(config, tmp_path, "--to-changelog")
        assert (in_use.exit_code, "stop all aggregators first" in in_use.output) == (1, True)
        fleet.discharge(worker)
        move_offsets(config, 7)
        refused = Worker("aggregator", config, tmp_path, "refused")
        assert refused.process.wait(120) == 1
        assert refused.said("the group has committed offset 7")
        assert refused.said("meterpipe reset aggregator --help")
        wait_until(lambda: reset(config, tmp_path, "--to-changelog").exit_code == 0, "the crashed one is gone")
        source.send()
        fleet.start("aggregator", 1)
        settle(fleet, config, "aggregator")
    assert_exact(config, source.expected())


def test_a_lost_changelog_is_rebuilt_from_the_readings(pipeline, tmp_path):
    config = pipeline(schema=False)
    source = Source(config, meters=40, hours=2)
    source.send(0.5)
    with fleet_of(config, tmp_path) as fleet:
        worker = fleet.start("aggregator")
        settle(fleet, config, "aggregator")
        fleet.discharge(worker)
        assert reset(config, tmp_path, "--to-beginning").exit_code == 1  # not without asking
        assert reset(config, tmp_path, "--to-beginning", "--yes").exit_code == 0
        source.send()
        fleet.start("aggregator", 1)
        settle(fleet, config, "aggregator")
    expected = source.expected()
    twice = {window: table.to_pylist() for window, table in results_of(config).items()}
    once = {window: {row_key(row): row for row in rows} for window, rows in twice.items()}
    assert all(once[window][row_key(row)] == row for window, rows in twice.items() for row in rows)
    assert_exact(
        config, expected, {w: pa.Table.from_pylist([*rows.values()], AGGREGATE_SCHEMA) for w, rows in once.items()}
    )
