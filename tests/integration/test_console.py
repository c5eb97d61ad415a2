"""The console against a real Kafka, with results and dead letters that a real aggregator made."""

import json
from collections.abc import Callable
from contextlib import closing

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import KafkaException, TopicPartition
from meterpipe.adapters.aggregator import Aggregator
from meterpipe.adapters.kafka import new_consumer, new_producer
from meterpipe.adapters.letter_box import LetterBox, SupersededError
from meterpipe.adapters.progress import Progress
from meterpipe.adapters.topic_reader import TopicReader
from meterpipe.cli.main import cli
from meterpipe.core.control import encode_control
from meterpipe.core.letters import Choice, Letter
from meterpipe.core.murmur2 import partition_of
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Silent

from tests.integration.harness import records_of

START, MINUTE = 1_735_689_600_000, 60_000  # 2025-01-01
PARTITIONS = 2
METERS = ("house-1", "house-2", "flat-1")
MINUTES = 5
NO_ZONE = b'{"gateway":"house-1","metricType":"E","metricAttribute":"P","timestamp":"2025-01-01T00:00:00","value":1}'
GARBAGE = b"\x01\x02 no reading \xfe"


def reading(meter: str, minute: int) -> bytes:
    fields = {"gateway": meter, "metricType": "E", "metricAttribute": "P" if minute % 2 else "V"}
    return json.dumps(fields | {"timestamp": START + minute * MINUTE, "value": float(minute)}).encode()


def send(config: WorkerConfig, *messages: tuple[int, bytes, bytes | None]) -> None:
    producer = new_producer(config.kafka)
    for partition, value, key in messages:
        producer.produce(names_of(config.pipeline).readings, value, key, partition)
    assert producer.flush(30) == 0


def aggregate(config: WorkerConfig) -> None:
    """Until all that was sent is committed."""
    worker, progress = Aggregator(config, Silent()), Progress(config)
    try:
        while progress.lag("aggregator") and progress.remaining("aggregator"):
            for _ in range(5):
                worker.step()
    finally:
        progress.close()
        worker.close()


@pytest.fixture
def config(pipeline) -> WorkerConfig:
    """A pipeline through which have gone MINUTES of METERS, two broken messages, and the end of the day."""
    made = pipeline(
        {"kafka": {"topics": {"readings": {"partitions": PARTITIONS}}}, "aggregator": {"windows": [60, 3600]}},
        schema=False,
    )
    home = {meter: partition_of(meter.encode(), PARTITIONS) for meter in METERS}
    good = [(home[meter], reading(meter, minute), meter.encode()) for minute in range(MINUTES) for meter in METERS]
    ends = [(number, encode_control(START + 2 * 3_600_000), None) for number in range(PARTITIONS)]
    send(made, *good, (home["house-1"], NO_ZONE, b"house-1"), (1, GARBAGE, None), *ends)
    aggregate(made)
    return made


@pytest.fixture
def run(config, tmp_path) -> Callable[..., Result]:
    file = tmp_path / "config.json"
    file.write_text(config.model_dump_json(by_alias=True))
    return lambda *args: CliRunner().invoke(cli, [*args, "--config", str(file)], catch_exceptions=False)


@pytest.fixture
def told(run) -> Callable[..., object]:
    """What a command prints as JSON."""

    def make(*args: str) -> object:
        result = run(*args, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return make


def lines(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_tail_shows_what_flows(run):
    seen = lines(run("tail", "--from", "beginning", "--exit", "--json"))
    assert len(seen) == MINUTES * len(METERS)
    assert {(row["meter"], row["time"]) for row in seen} >= {(meter, "2025-01-01T00:04:00Z") for meter in METERS}

    chosen = lines(run("tail", "--from", "1h", "--exit", "--meter", "house-*", "--attribute", "V", "--json"))
    assert sorted(row["value"] for row in chosen) == [0.0, 0.0, 2.0, 2.0, 4.0, 4.0]
    assert len(lines(run("tail", "--from", "beginning", "-n", "4", "--json"))) == 4
    assert lines(run("tail", "--exit", "--json")) == []

    results = lines(run("tail", "results", "--window", "3600", "--from", "beginning", "--exit", "--json"))
    assert sorted((row["meter"], row["attribute"], row["count"], row["avg"]) for row in results) == sorted(
        (meter, attribute, count, 2.0) for meter in METERS for attribute, count in (("P", 2), ("V", 3))
    )
    plain = run("tail", "--from", "-1", "--exit")
    assert "cannot be decoded" not in plain.stdout
    text = run("tail", "--from", "beginning", "--exit", "--meter", "flat-1")
    assert text.stdout.splitlines()[0].split()[:4] == ["arrived", "partition", "offset", "meter"]
    assert len(text.stdout.splitlines()) == 1 + MINUTES
    assert "1 malformed, 1 no-zone" in text.stderr


def test_topics_and_lag_tell_how_far_everything_is(run, told, config):
    topics = {one["role"]: one for one in told("topics", "--size")}
    assert topics["readings"]["records"] == MINUTES * len(METERS) + 2 + PARTITIONS
    assert sum(topics["readings"]["ends"]) == topics["readings"]["records"]
    assert topics["readings"]["bytes"] > 1000
    assert (topics["results 60 s"]["partitions"], topics["results 60 s"]["retention_s"]) == (PARTITIONS, 604_800)
    assert topics["changelog"]["compacted"]
    assert "local-" in run("topics", "list", "--partitions").stdout

    lag = told("lag")
    assert lag["aggregator"]["lag"] == 0
    assert lag["sink"]["group"] == "absent"
    assert lag["sink"]["lag"] == sum(one["end"] for one in lag["sink"]["partitions"]) > 0
    assert lag["archiver"]["lag"] == topics["readings"]["records"]
    exact = told("lag", "--exact", "--worker", "sink")
    assert 0 < exact["sink"]["lag"] < lag["sink"]["lag"]
    assert run("lag", "--worker", "aggregator", "--fail-above", "0").exit_code == 0
    behind = run("lag", "--fail-above", "0", "--partitions")
    assert behind.exit_code == 1
    assert "sink, archiver" in behind.stderr
    assert names_of(config.pipeline).readings in behind.stdout


def test_a_dead_letter_is_shown_and_replayed_once(run, told, config):
    letters = {one["reason"]: one for one in told("dead-letters", "list")}
    assert set(letters) == {"no-zone", "malformed"}
    zone, garbage = letters["no-zone"], letters["malformed"]
    assert (zone["key"], garbage["key"], zone["replayed"]) == ("house-1", None, False)
    assert [one["reason"] for one in told("dead-letters", "list", "--reason", "no-zone")] == ["no-zone"]

    shown = run("dead-letters", "show", zone["letter"])
    assert "2025-01-01T00:00:00" in shown.stdout
    assert f"{garbage['topic']}" in run("dead-letters", "show", garbage["letter"]).stdout
    assert "|.. no reading .|" in run("dead-letters", "show", garbage["letter"]).stdout
    assert run("dead-letters", "show", garbage["letter"], "--raw").stdout_bytes == GARBAGE
    assert run("dead-letters", "show", "0:9999").exit_code == 1

    topic = names_of(config.pipeline).readings
    before = len(records_of(config, topic))
    assert told("dead-letters", "replay", "--all", "--dry-run")["sent"] == 2
    assert len(records_of(config, topic)) == before
    assert told("dead-letters", "replay", "--reason", "no-zone", "--yes")["sent"] == 1
    again = told("dead-letters", "replay", "--all", "--yes")
    assert (again["sent"], again["replayedBefore"]) == (1, 1)
    assert told("dead-letters", "replay", "--all", "--yes")["sent"] == 0

    new = [record for record in records_of(config, topic) if dict(record.headers() or ()).get("replayed-from")]
    assert len(records_of(config, topic)) == before + 2
    assert {(one.value(), one.key(), one.partition()) for one in new} == {
        (NO_ZONE, b"house-1", partition_of(b"house-1", PARTITIONS)),
        (GARBAGE, None, garbage["partition"]),
    }
    assert all(one["replayed"] for one in told("dead-letters", "list"))


def test_a_replay_that_dies_midway_is_neither_lost_nor_doubled(config):
    names, reader = names_of(config.pipeline), TopicReader(config.kafka, "test")
    try:
        dead = new_producer(config.kafka, transactional_id=names.group("dead-letters-replay"))
        dead.init_transactions(30)
        dead.begin_transaction()
        dead.produce(names.readings, NO_ZONE, b"house-1")
        assert dead.flush(30) == 0
        box = LetterBox(config, reader)
        assert (box.replay(Choice()).sent, box.replay(Choice()).sent) == (2, 0)
        with pytest.raises(KafkaException):  # it was only asleep, and wakes
            dead.commit_transaction(10)
    finally:
        reader.close()
    values = [record.value() for record in records_of(config, names.readings)]
    assert (values.count(NO_ZONE), values.count(GARBAGE)) == (2, 2)  # as they came, and once again


def test_track_tells_what_delay_every_window_had(run, told, config):
    seen = told("track", "--from", "beginning", "--exit")
    windows = {"60": MINUTES * len(METERS), "3600": 2 * len(METERS)}
    assert seen["readings"] == MINUTES * len(METERS)
    assert {size: one["results"] for size, one in seen["windows"].items()} == windows
    assert [one["unexplained"] for one in seen["windows"].values()] == [0, 0]
    assert all(0 <= one["delayMs"]["p50"] <= one["delayMs"]["max"] for one in seen["windows"].values())
    total = sum(windows.values())
    assert (seen["results"]["count"], seen["rows"]["count"], seen["lakeRows"]["count"]) == (total, 0, 0)

    with closing(Progress(config)) as progress:
        places = [row[:2] for row in progress.places("sink")]
    sink = new_consumer(config.kafka, names_of(config.pipeline).group("sink"))
    sink.commit(offsets=[TopicPartition(*place, 1000) for place in places], asynchronous=False)
    sink.close()
    assert told("track", "--rows", str(total), "--from", "beginning", "--timeout", "60")["rows"]["count"] == total
    text = run("track", "--rows", str(total + 1), "--from", "beginning", "--timeout", "2")
    assert text.exit_code == 1
    assert f"{total + 1} rows in Cassandra ({total} so far)" in text.stderr
    assert "p99" in text.stdout


def test_of_two_replays_at_a_time_the_later_one_goes_on_alone(config):
    topic = names_of(config.pipeline).readings
    with closing(TopicReader(config.kafka, "test")) as reader, closing(TopicReader(config.kafka, "test")) as other:

        class Meanwhile(Choice):
            """All letters; another replay takes place while this one looks at the first."""

            def __contains__(self, letter: Letter) -> bool:
                outcomes.append(LetterBox(config, other).replay(Choice()).sent)
                return True

        outcomes: list[int] = []
        with pytest.raises(SupersededError):
            LetterBox(config, reader).replay(Meanwhile())
    assert outcomes == [2, 0]
    values = [record.value() for record in records_of(config, topic)]
    assert (values.count(NO_ZONE), values.count(GARBAGE)) == (2, 2)
