"""replay, generate and flush against a real Kafka."""

import json
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from string import ascii_letters
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from meterpipe.adapters.kafka import new_admin, new_consumer
from meterpipe.cli import sending
from meterpipe.cli.main import cli
from meterpipe.core.codecs import CONTENT_ENVELOPE, Decoder
from meterpipe.core.control import CONTROL_HEADER, encode_control
from meterpipe.core.murmur2 import partition_of
from meterpipe.core.readings import KeyTable
from meterpipe.datasets.packaged import london_files, read_packaged_london
from meterpipe.local.paths import cache_dir
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of

HALF_HOUR = 1_800_000
FIRST = int(datetime(2013, 6, 1, tzinfo=UTC).timestamp() * 1000)
END_OF_DAY = FIRST + 86_400_000 + 300_000  # and the grace


@pytest.fixture
def config(pipeline) -> WorkerConfig:
    return pipeline(schema=False)


@pytest.fixture
def run(config, tmp_path):
    """Run a command for the pipeline of this test."""
    file = tmp_path / "config.json"
    file.write_text(config.model_dump_json(by_alias=True))

    def make(*args: str) -> Result:
        return CliRunner().invoke(cli, [args[0], "--config", str(file), *args[1:]])

    return make


def london(folder: Path, meters: list[str], rows: int = 4) -> Path:
    lines = ["LCLid,stdorToU,DateTime,KWH/hh (per half hour) "]
    lines += [
        f"{meter},Std,2013-06-01 {n // 2:02d}:{n % 2 * 30:02d}:00.0000000,{n}.25"
        for meter in meters
        for n in range(rows)
    ]
    path = folder / "block.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def everything(config: WorkerConfig) -> list[list[Message]]:
    """All messages of the readings topic, by partition."""
    topic = names_of(config.pipeline).readings
    consumer: Consumer = new_consumer(config.kafka, "test", enable_partition_eof=True)
    try:
        partitions = config.pipeline.spec.kafka.topics.readings.partitions
        consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
        found: list[list[Message]] = [[] for _ in range(partitions)]
        ended: set[int] = set()
        while len(ended) < partitions:
            message = consumer.poll(10)
            assert message is not None, "Kafka went silent"
            if message.error():
                ended.add(message.partition())
            else:
                found[message.partition()].append(message)
        return found
    finally:
        consumer.close()


def decoded(messages: list[Message]) -> list[tuple[str, int, float]]:
    keys = KeyTable()
    found = Decoder().decode([m.value() for m in messages], keys)
    assert not found.rejects
    names = list(keys.ids)
    readings = found.readings
    return [
        (names[k][0], t, v)
        for k, t, v in zip(readings.key.tolist(), readings.ts.tolist(), readings.value.tolist(), strict=True)
    ]


def assert_flushed(partitions: list[list[Message]], event_time: int) -> None:
    for messages in partitions:
        assert messages[-1].value() == encode_control(event_time)
        assert messages[-1].headers() == [CONTROL_HEADER]
        assert messages[-1].key() is None


METERS = ["MAC1", "MAC2", "with.dots", "ünïcode🙂"]


@pytest.mark.parametrize("form", ["json", "envelope"])
def test_readings_arrive_in_time_order_in_the_partition_of_their_meter_and_the_day_is_ended(
    config, run, tmp_path, form
):
    path = london(tmp_path, METERS)
    result = run("replay", "--dataset", "london", "--file", str(path), "--format", form, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["readings"], facts["failed"], facts["households"]) == (16, 0, 4)
    assert facts["flushedTo"] == "2013-06-02T00:05:00Z"
    partitions = everything(config)
    assert_flushed(partitions, END_OF_DAY)
    readings = []
    for number, messages in enumerate(partitions):
        own = decoded(messages)
        assert [t for _, t, _ in own] == sorted(t for _, t, _ in own)
        assert {partition_of(m.encode(), len(partitions)) for m, _, _ in own} <= {number}
        readings += own
        if form == "json":
            assert [m.key().decode() for m in messages[:-1]] == [meter for meter, _, _ in own]
        else:
            assert all(m.headers() == [CONTENT_ENVELOPE] for m in messages[:-1])
    assert sorted(readings) == sorted((m, FIRST + n * HALF_HOUR, n + 0.25) for m in METERS for n in range(4))


def test_more_households_than_the_file_has_limits_and_shifts(config, run, tmp_path):
    path = london(tmp_path, ["MAC1"])
    args = ("--households", "3", "--limit", "7", "--day-offset", "1", "--no-flush", "--from", "2013-06-01T00:30")
    result = run("replay", "--dataset", "london", "--file", str(path), *args, "--rate", "100000")
    assert result.exit_code == 0, result.output
    found = sorted(r for messages in everything(config) for r in decoded(messages))
    day = FIRST + 86_400_000
    expected = [
        (f"MAC1{s}", day + n * HALF_HOUR, n + 0.25 + e)
        for s, e in (("", 0), ("-1", 0.001), ("-2", 0.002))
        for n in (1, 2)
    ]
    assert found == sorted([*expected, ("MAC1", day + 3 * HALF_HOUR, 3.25)])


def test_a_broken_line_ends_with_code_2_before_anything_is_sent(config, run, tmp_path):
    path = london(tmp_path, ["MAC1"], rows=30)
    lines = path.read_text().split("\n")
    lines[16] = lines[16].replace(".25", ".2x5")
    path.write_text("\n".join(lines))
    result = run("replay", "--dataset", "london", "--file", str(path))
    assert result.exit_code == 2
    assert "block.csv:17: column KWH/hh (per half hour): found '15.2x5', expected a number (kWh)" in result.stderr
    assert "--skip-broken" in result.stderr
    assert everything(config) == [[], [], [], []]
    skipping = run("replay", "--dataset", "london", "--file", str(path), "--skip-broken", "--json")
    assert json.loads(skipping.stdout)["brokenLines"] == 1
    assert json.loads(skipping.stdout)["readings"] == 29


def test_a_message_larger_than_a_topic_takes_is_refused_at_the_producer(config, run, tmp_path):
    path = london(tmp_path, ["x" * 1_500_000], rows=1)
    for form in ("json", "envelope"):
        result = run("replay", "--dataset", "london", "--file", str(path), "--format", form)
        assert result.exit_code == 1
        assert "1000000" in result.stderr
        assert "bytes" in result.stderr
    assert everything(config) == [[], [], [], []]


def test_readings_that_the_broker_refuses_are_counted_and_no_window_is_closed(config, run, tmp_path):
    limit_messages(config, 2000)
    long = "".join(Random(1).choices(ascii_letters, k=6000))  # random: compression must not make it fit
    path = london(tmp_path, ["ok", long], rows=3)
    result = run("replay", "--dataset", "london", "--file", str(path), "--json", "--rate", "50")  # a batch each
    assert result.exit_code == 1
    assert "3 readings were not delivered" in result.stderr
    facts = json.loads(result.stdout)
    assert (facts["readings"], facts["failed"], facts["flushedTo"]) == (3, 3, None)
    found = [m for messages in everything(config) for m in messages]
    assert [m[0] for m in decoded(found)] == ["ok"] * 3


def test_a_topic_or_kafka_that_is_not_there_is_named(pipeline, tmp_path, monkeypatch):
    path = london(tmp_path, ["MAC1"])
    file = tmp_path / "config.json"
    absent = pipeline(schema=False, topics=False)
    file.write_text(absent.model_dump_json(by_alias=True))
    args = ["replay", "--config", str(file), "--dataset", "london", "--file", str(path)]
    result = CliRunner().invoke(cli, args)
    assert (result.exit_code, f"no topic {names_of(absent.pipeline).readings}" in result.stderr) == (1, True)
    monkeypatch.setattr(sending, "CONNECT_S", 0.5)
    nowhere = absent.model_copy(update={"kafka": absent.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:9"})})
    file.write_text(nowhere.model_dump_json(by_alias=True))
    result = CliRunner().invoke(cli, args)
    assert (result.exit_code, "Kafka at 127.0.0.1:9" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--dataset", "uci"], "not packaged"),
        (["--dataset", "london", "--file", "absent.csv"], "absent.csv"),
        (["--dataset", "london", "--timezone", "Mars/Base"], "no IANA time zone"),
        (["--dataset", "london", "--rate", "fast"], "no rate"),
        (["--dataset", "london", "--attribute", "VOLTAGE"], "it has ACTIVE_ENERGY"),
        (["--dataset", "london", "--from", "2020-01-01"], "reaches from"),
        (["--dataset", "london", "--from", "yesterday"], "no time"),
    ],
)
def test_wrong_input_ends_with_code_2_and_a_way_out(run, args, message):
    result = run("replay", *args)
    assert (result.exit_code, message in result.stderr) == (2, True), result.output


def test_generated_readings_arrive_with_their_defects_counted(config, run):
    args = ["--meters", "20", "--days", "0.1", "--duplicate-rate", "0.1", "--late-rate", "0.05", "--json"]
    result = run("generate", *args)
    assert result.exit_code == 0, result.output
    facts: dict[str, Any] = json.loads(result.stdout)
    partitions = everything(config)
    assert_flushed(partitions, int(datetime(2024, 1, 2, 0, 5, tzinfo=UTC).timestamp() * 1000))
    found = [r for messages in partitions for r in decoded(messages)]
    assert len(found) == facts["readings"] == 20 * 144 + facts["defects"]["duplicate"]
    assert len(found) - len(set(found)) == facts["defects"]["duplicate"]
    assert set(facts["defects"]) == {"duplicate", "late"}


def test_flush_tells_every_partition_the_time(config, run):
    result = run("flush", "--event-time", "2013-06-02T00:05:00Z", "--json")
    assert (result.exit_code, json.loads(result.stdout)["flushedTo"]) == (0, "2013-06-02T00:05:00Z")
    assert_flushed(everything(config), END_OF_DAY)


def test_the_packaged_households_are_whole_and_have_their_known_defects():
    loaded = read_packaged_london(cache_dir())
    first, second = loaded.households
    assert [(h.meter, len(h), int((h.ts[1:] == h.ts[:-1]).sum())) for h in (first, second)] == [
        ("MAC000002", 22_536, 15),
        ("MAC000003", 35_468, 24),
    ]
    assert "had day and month swapped" in loaded.notes[0]
    assert second.ts[0] == int(datetime(2012, 2, 20, 13, tzinfo=UTC).timestamp() * 1000)
    assert second.ts[-1] == int(datetime(2014, 2, 28, tzinfo=UTC).timestamp() * 1000)
    assert max(second.ts[1:] - second.ts[:-1]) == 2 * HALF_HOUR
    assert all(path.exists() for path in london_files(cache_dir()).values())


def limit_messages(config: WorkerConfig, size: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, names_of(config.pipeline).readings, incremental_configs=[entry])
    admin = new_admin(config.kafka)
    for future in admin.incremental_alter_configs([topic]).values():
        future.result()
