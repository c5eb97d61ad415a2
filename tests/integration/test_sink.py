"""The sink on a real Kafka and a real Cassandra: every row there once, with its values, whatever happens meanwhile."""

import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from meterpipe.adapters.cassandra import connect
from meterpipe.adapters.kafka import new_consumer, new_producer
from meterpipe.adapters.progress import Progress
from meterpipe.adapters.schema import apply_schema
from meterpipe.adapters.sink import Sink
from meterpipe.adapters.store_writer import StoreWriter
from meterpipe.cli.main import cli
from meterpipe.core.aggregates import AGGREGATE_SCHEMA, WINDOW_KEY, Result, to_ipc
from meterpipe.core.batching import Limits
from meterpipe.core.store_rows import store_rows
from meterpipe.local.services import down, up
from meterpipe.spec.names import names_of
from meterpipe.worker.frame import Health, run
from meterpipe.worker.telemetry import Memory, Metric, Silent

PATIENCE = 90.0
MINUTE = 60_000
START = 1_767_225_600_000  # 2026-01-01
ODD_METERS = ("a.b.c", "quote\"'s", "emoji 😀🔌", "", " ", "日本", "x" * 2000, "new\nline")


def rows_of(meters, starts, seed=0, window=60):
    """One row a meter and start; numbers that binary fractions hold exactly, but for a mean and a few odd ones."""
    random = np.random.default_rng(seed)
    rows = []
    for start in starts:
        for meter in meters:
            low, high, total, first, last = (float(x) for x in random.integers(-(2**30), 2**30, 5) / 1024)
            rows.append(
                (
                    meter,
                    "ELECTRICITY",
                    "ACTIVE_POWER",
                    start,
                    int(random.integers(1, window + 1)),
                    low,
                    high,
                    total,
                    first,
                    last,
                )
            )
    return rows


def table(rows):
    columns = [pa.array([row[i] for row in rows], field.type) for i, field in enumerate(AGGREGATE_SCHEMA)]
    return pa.table(
        [c.dictionary_encode() if c.type == pa.string() else c for c in columns], names=AGGREGATE_SCHEMA.names
    )


def columns(rows, window=60):
    (batch,) = table(rows).to_batches()
    return to_ipc(batch.replace_schema_metadata({WINDOW_KEY: str(window)}))


def json(row, window=60):
    return msgspec.json.encode(Result(*row[:3], window, *row[3:8], row[7] / row[4], *row[8:]))


def stored(row, revision=0):
    """A row as it is to be read back: the mean and the revision added."""
    return (*row[:8], row[7] / row[4], *row[8:], revision)


class Store:
    """What is in Cassandra, and a writer."""

    def __init__(self, config):
        self.keyspace = names_of(config.pipeline).keyspace
        self.session = connect(config.cassandra, 60.0)
        windows = config.pipeline.spec.aggregator.windows
        self.tables = {window: names_of(config.pipeline).table(window) for window in windows}

    def write(self, rows, window=60, revision=0, limits=None):
        writer = StoreWriter(self.session, self.keyspace, self.tables, Silent())
        writer.limits = limits or writer.limits
        flight = writer.submit(store_rows([table(rows)], window, revision))
        while not flight.done:
            writer.pump(0.1)

    def rows(self, window=60):
        names = "meter, metric, attribute, window_start, count, min, max, sum, avg, first, last, revision"
        found = self.session.execute(f"SELECT {names} FROM {self.keyspace}.{self.tables[window]}")
        return sorted(((*r[:3], round(r[3].replace(tzinfo=UTC).timestamp() * 1000), *r[4:]) for r in found), key=repr)


@pytest.fixture
def store():
    opened = []

    def make(config):
        opened.append(Store(config))
        return opened[-1]

    yield make
    for one in opened:
        one.session.cluster.shutdown()


@contextmanager
def sink(config):
    """A sink running in a thread; stopped in good order."""
    telemetry, stop, health, codes = Memory(), threading.Event(), Health(), []

    def work():
        codes.append(run(Sink(config, telemetry), telemetry, stop, health))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield telemetry, health
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert codes == [0]


def send(config, window, messages, partition=None):
    producer = new_producer(config.kafka)
    for number, message in enumerate(messages):
        place = number % 4 if partition is None else partition
        producer.produce(names_of(config.pipeline).aggregates(window), value=message, partition=place)
    assert producer.flush(30) == 0


def eventually(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.05)


def all_committed(config):
    """Whether the group has committed all there is, markers of transactions included."""
    progress = Progress(config)
    try:
        eventually(lambda: progress.lag("sink") == 0, "all offsets committed")
    finally:
        progress.close()


def chunks(rows, size):
    return [rows[at : at + size] for at in range(0, len(rows), size)]


# what one writes is what one reads


def test_every_column_of_every_window_size_is_read_back_exactly(pipeline, store):
    config = pipeline(topics=False)
    there = store(config)
    for window in (60, 600, 3600, 86_400):
        starts = [START + i * window * 1000 for i in (-400, -1, 0, 1, 2, 399)]
        rows = rows_of([f"m{i}" for i in range(30)], starts, seed=window, window=window)
        there.write(rows, window)
        assert there.rows(window) == sorted(map(stored, rows), key=repr)


def test_writing_the_same_rows_twice_leaves_one_copy(pipeline, store):
    there = store(pipeline(topics=False))
    rows = rows_of(["m1", "m2"], [START + i * MINUTE for i in range(200)])
    there.write(rows)
    there.write(rows)
    assert there.rows() == sorted(map(stored, rows), key=repr)


@pytest.mark.parametrize("revisions", [(0, 7, 1001), (1001, 7, 0), (7, 1001, 0)])
def test_the_highest_revision_wins_in_whatever_order_it_comes(pipeline, store, revisions):
    there = store(pipeline(topics=False))
    versions = {revision: rows_of(["m1"], [START, START + MINUTE], seed=revision) for revision in revisions}
    for revision in revisions:
        there.write(versions[revision], revision=revision)
    assert there.rows() == sorted((stored(row, 1001) for row in versions[1001]), key=repr)


def test_meters_of_any_name_extreme_numbers_and_far_times_survive(pipeline, store):
    there = store(pipeline(topics=False))
    rows = rows_of(ODD_METERS, [-62_135_596_800_000, -MINUTE, 0, START, 253_402_300_740_000])
    extremes = (5e-324, 1.7976931348623157e308, -0.0, float("inf"), float("-inf"))
    rows.append(("extreme", "", "", START, 2**62, *extremes))
    there.write(rows)
    assert [row for row in there.rows() if row[0] == "extreme"] == [stored(rows[-1])]
    assert len(there.rows()) == len(rows)


def test_batches_the_server_finds_too_large_are_split_until_it_takes_them(pipeline, store):
    there = store(pipeline(topics=False))
    rows = rows_of([f"m{i}" for i in range(3000)], [START])
    there.write(rows, limits=Limits(own=3000, shared=3000, partitions=3000))
    assert there.rows() == sorted(map(stored, rows), key=repr)


# from Kafka


def test_both_forms_on_all_topics_arrive_and_all_offsets_are_committed(pipeline, store):
    config = pipeline()
    there = store(config)
    minutes = rows_of(ODD_METERS, [START + i * MINUTE for i in range(50)])
    hours = rows_of(["m1"], [START + i * 3_600_000 for i in range(30)])
    with sink(config) as (telemetry, health):
        send(config, 60, [columns(part) for part in chunks(minutes, 100)])
        send(config, 3600, [json(row, 3600) for row in hours])
        all_committed(config)
        eventually(health.ready, "ready")
    assert there.rows(60) == sorted(map(stored, minutes), key=repr)
    assert there.rows(3600) == sorted(map(stored, hours), key=repr)
    assert telemetry.value(Metric.ROWS, table="metrics_aggregates_60") == len(minutes)
    assert telemetry.value(Metric.ROWS, table="metrics_aggregates_3600") == len(hours)


def test_rows_of_an_aborted_transaction_are_never_written(pipeline, store):
    config = pipeline()
    topic = names_of(config.pipeline).aggregates(60)
    producer = new_producer(config.kafka, transactional_id=f"{topic}-test")
    producer.init_transactions()
    kept, dropped = rows_of(["kept"], [START]), rows_of(["dropped"], [START])
    for rows, finish in ((dropped, producer.abort_transaction), (kept, producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(topic, value=columns(rows), partition=0)
        producer.flush()
        finish()
    with sink(config):
        all_committed(config)
    assert store(config).rows() == [stored(kept[0])]


def test_poison_messages_become_dead_letters_and_harm_no_other(pipeline, store):
    config = pipeline()
    names = names_of(config.pipeline)
    good = rows_of([f"m{i}" for i in range(10)], [START])
    poison = [b"\xff\xff\xff\xffjunk", b"{", columns(rows_of(["m"], [START]), 61), json(good[0])[:-9]]
    mixed = [*good[:1], rows_of(["never"], [10**15])[0], *good[1:]]
    with sink(config) as (telemetry, _):
        send(config, 60, [*poison[:2], columns(mixed), *poison[2:]], partition=1)
        all_committed(config)
    assert store(config).rows() == sorted(map(stored, good), key=repr)
    reader = new_consumer(config.kafka, f"{names.prefix}-letters")
    reader.subscribe([names.dead_letters])
    letters = []
    eventually(lambda: letters.extend(reader.consume(10, 0.2)) or len(letters) == 5, "five dead letters")
    reader.close()
    found = {message.value(): {k: v.decode() for k, v in message.headers()} for message in letters}
    assert {value: headers["reason"] for value, headers in found.items()} == {
        poison[0]: "malformed",
        poison[1]: "malformed",
        poison[2]: "out-of-range",
        poison[3]: "malformed",
        columns(mixed): "out-of-range",
    }
    assert found[columns(mixed)]["rows"] == "1"
    assert found[poison[1]] | {"detail": ""} == {
        "reason": "malformed",
        "detail": "",
        "topic": names.aggregates(60),
        "partition": "1",
        "offset": "1",
        "count": "1",
    }
    assert telemetry.value(Metric.DEAD_LETTERS, reason="malformed") == 3


def worker(config, tmp_path):
    """A sink in a process of its own."""
    file = tmp_path / "worker.json"
    file.write_text(config.model_dump_json(by_alias=True, exclude_none=True))
    argv = [sys.executable, "-m", "meterpipe.cli.main", "worker", "sink", "--config", str(file), "--port", "0"]
    log = (tmp_path / "sink.log").open("ab")
    return subprocess.Popen(argv, stdout=log, stderr=log)


def test_a_sink_killed_between_write_and_commit_leaves_right_rows(pipeline, store, tmp_path):
    config = pipeline()
    there = store(config)
    rows = rows_of([f"m{i}" for i in range(1000)], [START + i * MINUTE for i in range(40)])
    send(config, 60, [columns(part) for part in chunks(rows, 4000)])
    any_row = f"SELECT meter FROM {there.keyspace}.metrics_aggregates_60 LIMIT 1"
    process = worker(config, tmp_path)
    try:
        eventually(lambda: there.session.execute(any_row).one(), "a row")
    finally:
        process.kill()
        process.wait()
    with sink(config):
        all_committed(config)
    assert there.rows() == sorted(map(stored, rows), key=repr)


def test_two_sinks_share_the_partitions_and_one_that_leaves_hands_over(pipeline, store):
    config = pipeline()
    rows = rows_of([f"m{i}" for i in range(200)], [START + i * MINUTE for i in range(40)])
    with sink(config) as (first, _):
        send(config, 60, [columns(part) for part in chunks(rows[:4000], 200)])
        with sink(config) as (second, _):
            eventually(lambda: second.value(Metric.PARTITIONS) == first.value(Metric.PARTITIONS) == 8, "8 and 8")
            send(config, 60, [columns(part) for part in chunks(rows[4000:], 200)])
        eventually(lambda: first.value(Metric.PARTITIONS) == 16, "all partitions")
        all_committed(config)
    assert store(config).rows() == sorted(map(stored, rows), key=repr)


def test_cassandra_down_at_the_start_and_in_the_middle_is_survived(pipeline, kafka, own_services, store):
    data, connections = own_services("cassandra")
    config = pipeline(schema=False).model_copy(update={"cassandra": connections.cassandra})
    apply_schema(config)
    down(data, ["cassandra"])
    parts = [
        rows_of([f"m{i}" for i in range(300)], [START + (10 * k + i) * MINUTE for i in range(10)], k) for k in range(4)
    ]
    with sink(config) as (telemetry, health):
        send(config, 60, [columns(part) for part in chunks(parts[0], 500)])
        time.sleep(2)
        assert health.live()
        assert not health.ready()
        up(data, tethered=True, only=["cassandra"])
        all_committed(config)
        assert health.live()
        eventually(health.ready, "ready")
        send(config, 60, [columns(part) for part in chunks(parts[1], 500)])
        down(data, ["cassandra"])
        send(config, 60, [columns(part) for part in chunks(parts[2], 500)])
        eventually(lambda: telemetry.value(Metric.RETRIES) > 0 and not health.ready(), "a write that failed")
        assert health.live()
        up(data, tethered=True, only=["cassandra"])
        all_committed(config)
        send(config, 60, [columns(parts[3])])
        all_committed(config)
        eventually(health.ready, "ready again")
    expected = [stored(row) for part in parts for row in part]
    assert store(config).rows() == sorted(expected, key=repr)


# reading back


@pytest.fixture
def filled(pipeline, store, tmp_path):
    config = pipeline(topics=False)
    there = store(config)
    rows = rows_of(["house-1"], [START + i * MINUTE for i in range(3000)])
    there.write(rows)
    there.write([(*row[:2], "VOLTAGE", *row[3:]) for row in rows[:3]])
    there.write(rows_of(["house-1"], [START]), window=86_400)
    file = tmp_path / "worker.json"
    file.write_text(config.model_dump_json(by_alias=True, exclude_none=True))
    return rows, lambda *args: CliRunner().invoke(cli, ["get", *args, "--config", str(file)])


def test_get_prints_windows_of_many_days_in_order_in_all_forms(filled):
    rows, get = filled
    asked = (
        "house-1",
        "--metric",
        "ELECTRICITY",
        "--attribute",
        "ACTIVE_POWER",
        "--from",
        "2026-01-01",
        "--to",
        "2026-02-01",
    )
    found = get(*asked, "--limit", "5000", "--json")
    assert found.exit_code == 0
    records = msgspec.json.decode(found.stdout)
    starts = [round(datetime.fromisoformat(record["start"]).timestamp() * 1000) for record in records]
    assert starts == [row[3] for row in rows]
    assert [(r["count"], r["min"], r["max"], r["sum"], r["first"], r["last"]) for r in records] == [
        row[4:] for row in rows
    ]
    as_csv = get(*asked, "--limit", "2", "--csv", "--tz", "Asia/Kolkata")
    assert as_csv.stdout.splitlines()[1].startswith("house-1,ELECTRICITY,ACTIVE_POWER,2026-01-01T05:30:00+05:30,")
    assert "more than 2 rows" in as_csv.stderr
    assert "2026-01-01T00:00:00Z" in get(*asked, "--limit", "2").stdout


def test_get_without_a_channel_shows_all_of_the_meter(filled):
    _, get = filled
    found = get("house-1", "--from", "2026-01-01", "--to", "2026-01-01T00:02", "--json")
    assert {(r["attribute"], r["start"]) for r in msgspec.json.decode(found.stdout)} >= {
        ("ACTIVE_POWER", "2026-01-01T00:00:00Z")
    }


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("hause-1", "--from", "2026-01-01"), 1, "near it: house-1"),
        (("house-1", "--metric", "WATER", "--from", "2026-01-01"), 1, "it has ELECTRICITY/ACTIVE_POWER"),
        (
            ("house-1", "--window", "61", "--from", "2026-01-01"),
            2,
            "the pipeline has windows of 60, 600, 3600, 86400 s",
        ),
        (("house-1", "--from", "2026-01-02", "--to", "2026-01-01"), 2, "is not before"),
        (("house-1", "--from", "yesterday"), 2, "'yesterday' is no time"),
        (("house-1", "--from", "2027-01-01"), 0, "no windows of 60 s from 2027-01-01T00:00:00Z"),
    ],
)
def test_get_says_what_is_wrong(filled, args, code, said):
    _, get = filled
    found = get(*args)
    assert found.exit_code == code
    assert said in found.stderr
