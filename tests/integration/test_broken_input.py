"""Broken input: each kind has its right outcome, and nothing else is lost or moved by it."""

import time

import pyarrow as pa
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic
from meterpipe.adapters.kafka import new_admin, new_producer
from meterpipe.adapters.s3 import ensure_bucket
from meterpipe.adapters.schema import apply_schema
from meterpipe.adapters.topics import ensure_topics
from meterpipe.core.control import encode_control
from meterpipe.core.envelope_codec import split_envelope
from meterpipe.core.murmur2 import partition_of
from meterpipe.core.readings import READING_SCHEMA
from meterpipe.datasets.publish import Publisher, TooLargeError
from meterpipe.local.readback import read_windows
from meterpipe.local.services import down, up
from meterpipe.spec.names import names_of

from tests.integration.harness import (
    Source,
    assert_exact,
    balance_of,
    fleet_of,
    headers_of,
    partitions_of,
    progress_of,
    reading,
    records_of,
    results_of,
    settle,
)
from tests.integration.lake_helpers import count_of

MINUTE, HOUR = 60_000, 3_600_000
MEGABYTE = 1024 * 1024


def recently():
    """The start of a minute a quarter of an hour ago: readings of it are neither old nor ahead of their records."""
    return int(time.time() * 1000) // MINUTE * MINUTE - 15 * MINUTE


def home_of(config, meter):
    return partition_of(meter.encode(), partitions_of(config))


def send(config, *messages, **settings):
    """Each of `messages`: (partition, value) or (partition, value, key); durable, in this order."""
    producer, problems = new_producer(config.kafka, **settings), []
    for partition, value, *key in messages:
        producer.produce(
            names_of(config.pipeline).readings,
            value,
            key=key[0] if key else None,
            partition=partition,
            on_delivery=lambda error, _: problems.append(error) if error else None,
        )
    assert producer.flush(60) == 0
    assert problems == []


def aggregate(config, folder):
    with fleet_of(config, folder) as fleet:
        worker = fleet.start("aggregator")
        settle(fleet, config, "aggregator")
        assert fleet.restarts == 0, "the input crashed the aggregator"
        fleet.discharge(worker)


def letters_of(config):
    return records_of(config, names_of(config.pipeline).dead_letters)


def counts_of(config, window=60):
    """(meter, start): count, of all results; none twice."""
    rows = results_of(config, [window])[window].to_pylist()
    found = {(row["meter"], row["window_start"]): row["count"] for row in rows}
    assert len(found) == len(rows)
    return found


def envelope_of(*rows):
    columns = [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(READING_SCHEMA)]
    [(message, _)] = split_envelope(pa.record_batch(columns, names=READING_SCHEMA.names))
    return message


def test_each_broken_message_is_a_dead_letter_with_its_reason_and_all_others_count(pipeline, tmp_path):
    config, base = pipeline(schema=False), recently()
    home, good = home_of(config, "m"), reading("m", base, 1.0)
    elsewhere = next(f"m{i}" for i in range(100) if home_of(config, f"m{i}") != home)
    iso = "2024-01-01T00:00:00"
    broken = [
        (good[:-9], "malformed"),
        (good + b"}", "malformed"),
        (b"\x1f\x8b\x08junk", "malformed"),
        (b"\xff\xff\xff\xffjunk", "malformed"),
        (b"[1, 2]", "malformed"),
        (reading("m", base, float("nan")), "malformed"),
        (reading("m", base, float("inf")), "malformed"),
        (good.replace(b"1.0", b"1e999"), "out-of-range"),
        (reading("m", base, "1.0"), "wrong-type"),
        (reading("m", base, None), "wrong-type"),
        (reading("m", True, 1.0), "wrong-type"),
        (reading("m", "yesterday", 1.0), "wrong-type"),
        (reading(5, base, 1.0), "wrong-type"),
        (reading("m", base, 1.0, quality=300), "out-of-range"),
        (reading("m", 10**18, 1.0), "out-of-range"),
        (reading("m", iso, 1.0), "no-zone"),
        (reading("", base, 1.0), "missing-field"),
        (good.replace(b'"value"', b'"valve"'), "missing-field"),
        (b"", "empty"),
        (None, "empty"),
        (b"\x00\x00\x00\x00\x01avro", "unknown-format"),
        (reading(elsewhere, base, 1.0), "wrong-partition"),
        (reading("m", base + 2 * HOUR + 15 * MINUTE, 1.0), "too-far-ahead"),
        (encode_control(base)[:-1] + b',"more":1}', "missing-field"),
    ]
    messages = []
    for number, (value, _) in enumerate(broken):
        messages += [(home, reading("m", base + number * 1000, float(number))), (home, value, f"key-{number}")]
    send(config, *messages, (home, encode_control(base + HOUR)))
    aggregate(config, tmp_path)
    letters = letters_of(config)
    assert [m.value() or b"" for m in letters] == [value or b"" for value, _ in broken]
    told = [headers_of(m) for m in letters]
    assert [headers["reason"] for headers in told] == [reason for _, reason in broken]
    for number, (message, headers) in enumerate(zip(letters, told, strict=True)):
        assert message.key() == f"key-{number}".encode()
        assert headers["topic"] == names_of(config.pipeline).readings
        assert (int(headers["partition"]), int(headers["offset"])) == (home, 2 * number + 1)
        assert headers["count"] == "1"
    assert counts_of(config) == {("m", base): len(broken)}
    balance = balance_of(config)
    assert (balance.raw, balance.windows, balance.dead_letters, balance.late) == (2 * len(broken), len(broken), 24, 0)


def test_broken_rows_of_an_envelope_are_named_and_the_others_count(pipeline, tmp_path):
    config, base = pipeline(schema=False), recently()
    home = home_of(config, "m")
    elsewhere = next(f"m{i}" for i in range(100) if home_of(config, f"m{i}") != home)
    rows = [
        ("m", "E", "P", base, 1.0, 0, 0, 0),
        ("m", "E", "P", base + 1000, float("nan"), 0, 0, 0),
        (elsewhere, "E", "P", base + 2000, 1.0, 0, 0, 0),
        ("m", "E", "P", base + 3 * HOUR, 1.0, 0, 0, 0),
        ("m", "E", "P", base + 4000, float("-inf"), 0, 0, 0),
        ("m", "E", "P", base + 5000, 1.0, 0, 0, 0),
    ]
    message = envelope_of(*rows)
    send(config, (home, message), (home, message[: len(message) // 2]), (home, encode_control(base + HOUR)))
    aggregate(config, tmp_path)
    letters = letters_of(config)
    told = sorted((h["reason"], h.get("rows"), h["count"]) for h in map(headers_of, letters))
    assert told == [
        ("malformed", None, "1"),
        ("out-of-range", "1,4", "2"),
        ("too-far-ahead", "3", "1"),
        ("wrong-partition", "2", "1"),
    ]
    assert sum(m.value() == message for m in letters) == 3
    assert counts_of(config) == {("m", base): 2}


def test_a_reading_from_the_future_moves_no_watermark(pipeline, tmp_path):
    config, base = pipeline(schema=False), recently()
    home = home_of(config, "m")
    ahead = reading("m", int(time.time() * 1000) + 2 * HOUR, 1.0)
    send(config, (home, reading("m", base, 1.0)), (home, ahead), (home, reading("m", base + 1000, 2.0)))
    aggregate(config, tmp_path)
    balance = balance_of(config)
    assert (balance.raw, balance.dead_letters, balance.late, balance.open) == (3, 1, 0, 2)


def test_1970_is_a_normal_window_at_first_and_late_afterwards(pipeline, tmp_path):
    config, base = pipeline(schema=False), recently()
    first = next(f"m{i}" for i in range(100) if home_of(config, f"m{i}") == 0)
    other = next(f"m{i}" for i in range(100) if home_of(config, f"m{i}") == 1)
    send(
        config,
        (0, reading(first, 0, 1.0)),
        (0, reading(first, base, 2.0)),
        (0, encode_control(base + HOUR)),
        (1, reading(other, base, 1.0)),
        (1, reading(other, 1000, 2.0)),
        (1, encode_control(base + HOUR)),
    )
    aggregate(config, tmp_path)
    assert counts_of(config) == {(first, 0): 1, (first, base): 1, (other, base): 1}
    assert balance_of(config).late == 1
    assert len(records_of(config, names_of(config.pipeline).late)) == 1


NAMES = (
    "a.b.c",
    "quote\"'s",
    "emoji 😀🔌",
    " ",
    "日本",
    "x" * 2000,
    "new\nline",
    "nul\0",
    "back\\slash",
    "{",
    "-",
    "/",
)


@pytest.mark.parametrize("output", ["columns", "json"])
def test_meters_may_be_called_anything(pipeline, tmp_path, output):
    config, base = pipeline({"aggregator": {"output": output}}, schema=False), recently()
    messages = [(home_of(config, name), reading(name, base, 1.0), name) for name in NAMES]
    messages += [
        (home_of(config, name), envelope_of((name, "ELECTRICITY", "ACTIVE_POWER", base + 1000, 2.0, 0, 0, 0)))
        for name in NAMES
    ]
    messages += [(partition, encode_control(base + HOUR)) for partition in range(partitions_of(config))]
    send(config, *messages)
    aggregate(config, tmp_path)
    assert counts_of(config) == {(name, base): 2 for name in NAMES}
    assert letters_of(config) == []


# large messages


def test_a_message_of_10_mb_is_refused_at_the_producer_with_a_clear_error(pipeline):
    config = pipeline(schema=False)
    names = names_of(config.pipeline)
    out = Publisher(new_producer(config.kafka), names.readings, partitions_of(config))
    row = ("m" * 10 * MEGABYTE, "E", "P", 0, 1.0, 0, 0, 0)
    columns = [pa.array([value], field.type) for value, field in zip(row, READING_SCHEMA, strict=True)]
    with pytest.raises(TooLargeError, match=rf"meter 'm+\.\.\.' takes 1048\d+ bytes; topic {names.readings} takes"):
        out.send(pa.record_batch(columns, names=READING_SCHEMA.names))
    with pytest.raises(KafkaException) as refused:
        new_producer(config.kafka).produce(names.readings, b"x" * 10 * MEGABYTE)
    assert refused.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE


def test_where_the_topic_allows_it_a_message_of_10_mb_is_a_dead_letter(pipeline, kafka, tmp_path):
    name = f"large-{time.time_ns()}"
    topic = NewTopic(
        name, 4, 1, config={"max.message.bytes": str(11 * MEGABYTE), "message.timestamp.type": "LogAppendTime"}
    )
    admin = new_admin(kafka)
    admin.create_topics([topic])[name].result()
    config, base = pipeline({"kafka": {"topics": {"readings": {"name": name}}}}, schema=False), recently()
    home, junk = home_of(config, "m"), b"{" + b"x" * 10 * MEGABYTE
    giant = reading("g" * 10 * MEGABYTE, base, 1.0)
    padded = reading("m", base + 1000, 1.0, comment="y" * 10 * MEGABYTE)
    send(
        config,
        *((home, value) for value in (reading("m", base, 1.0), junk, giant, padded, encode_control(base + HOUR))),
        message_max_bytes=11 * MEGABYTE,
        compression_type="none",
    )
    aggregate(config, tmp_path)
    assert [(m.value(), headers_of(m)["reason"]) for m in letters_of(config)] == [
        (junk, "malformed"),
        (giant, "out-of-range"),
    ]
    assert counts_of(config) == {("m", base): 2}


# what is under the pipeline breaks


def recreate(config):
    names, admin = names_of(config.pipeline), new_admin(config.kafka)
    admin.delete_topics([names.readings])[names.readings].result()
    while names.readings in admin.list_topics(timeout=30).topics:
        time.sleep(0.05)
    ensure_topics(config)


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_a_recreated_topic_is_read_from_its_beginning_with_the_windows_still_open(pipeline, tmp_path, running):
    hasty = {"commitIntervalMs": 100}  # commits before it is noticed that the topic is another one
    config, base = pipeline({"aggregator": hasty}, schema=False), recently()
    home = home_of(config, "m")
    before = [(home, reading("m", base + i * 1000, 1.0)) for i in range(10)]
    after = [(home, reading("m", base + i * 1000, 1.0)) for i in range(10, 25)]
    with fleet_of(config, tmp_path) as fleet:
        worker = fleet.start("aggregator")
        send(config, *before)
        settle(fleet, config, "aggregator")
        if not running:
            fleet.discharge(worker)
        recreate(config)
        send(config, *after, (home, encode_control(base + HOUR)))
        if not running:
            fleet.start("aggregator", 1)
        with progress_of(config) as progress:
            fleet.wait_until(lambda: progress.balance().raw == 25 and not progress.balance().open, "all is counted")
    assert counts_of(config) == {("m", base): 25}


def test_messages_that_expired_unread_are_told_and_the_rest_is_counted(pipeline, tmp_path):
    config, base = pipeline(schema=False), recently()
    home = home_of(config, "m")
    send(config, *((home, reading("m", base + i * 1000, 1.0)) for i in range(10)))
    with fleet_of(config, tmp_path) as fleet:
        first = fleet.start("aggregator")
        settle(fleet, config, "aggregator")
        fleet.discharge(first)
        send(config, *((home, reading("m", base + i * 1000, 1.0)) for i in range(10, 30)))
        where = TopicPartition(names_of(config.pipeline).readings, home, 15)
        admin = new_admin(config.kafka)
        admin.delete_records([where])[where].result()
        send(config, (home, encode_control(base + HOUR)))
        second = fleet.start("aggregator", 1)
        settle(fleet, config, "aggregator")
        assert second.said("5 messages expired before they were read")
    assert counts_of(config) == {("m", base): 25}


def test_stores_that_are_away_at_the_start_or_for_a_while_miss_nothing(pipeline, own_services, tmp_path):
    data, own = own_services("cassandra", "s3")
    config = pipeline({"lake": {"flush": {"seconds": 1, "rows": 10_000}}}, schema=False)
    config = config.model_copy(update={"cassandra": own.cassandra, "lake": own.lake})
    ensure_bucket(own.lake, config.pipeline.spec.lake.bucket)
    apply_schema(config)
    down(data, ["cassandra"])
    source = Source(config, meters=40, hours=4)
    with fleet_of(config, tmp_path) as fleet:
        for kind in ("aggregator", "sink", "archiver"):
            fleet.start(kind)
        with source.flowing(half=10):
            fleet.wait_until(lambda: count_of(config), "the lake grows")
            down(data, ["s3"])
            time.sleep(8)
            up(data, tethered=True, only=["cassandra", "s3"])
        settle(fleet, config, "aggregator")
        settle(fleet, config, "sink")
        fleet.wait_until(lambda: count_of(config) >= source.count, "the lake has all readings")
        assert fleet.restarts == 0
    expected, names = source.expected(), names_of(config.pipeline)
    assert_exact(config, expected)
    tables = {window: names.table(window) for window in expected.windows}
    assert_exact(config, expected, read_windows(config.cassandra, names.keyspace, tables))
    assert count_of(config) == source.count
