"""The archiver on real Kafka and a real S3 server: every reading once, whatever happens to it."""

import json
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from confluent_kafka import TopicPartition
from deltalake.exceptions import CommitFailedError
from meterpipe.adapters.archiver import Archiver
from meterpipe.adapters.kafka import new_admin, new_consumer
from meterpipe.adapters.lake import LAKE_ERRORS, LakeTable, open_existing
from meterpipe.adapters.lake_writer import LakeWriter
from meterpipe.adapters.s3 import location_of
from meterpipe.adapters.topics import ensure_topics
from meterpipe.core.control import encode_control
from meterpipe.core.envelope_codec import encode_envelopes
from meterpipe.core.readings import READING_SCHEMA
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Memory, Metric, Silent

from tests.integration.lake_helpers import (
    START,
    Process,
    Stream,
    assert_exactly,
    count_of,
    lake_spec,
    reading,
    rows_of,
    send,
    send_values,
    span_of,
    step_until,
    wait_until,
)


@pytest.fixture
def processes(tmp_path):
    """Start archivers; those left over end with the test."""
    started = []

    def start(config, name="archiver"):
        started.append(Process(config, tmp_path, f"{name}{len(started)}"))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()


@pytest.fixture
def archiver_of():
    """Archivers in this process, closed with the test."""
    made = []

    def make(config, telemetry=None):
        made.append(Archiver(config, telemetry or Memory()))
        return made[-1]

    yield make
    for one in made:
        one._receiver.close()
        one._consumer.close()


@pytest.fixture
def config(pipeline):
    return pipeline(lake_spec(), schema=False)


def follow(archiver, partitions=4):
    step_until(archiver, lambda: len(archiver._partitions.apps) == partitions)


# --- what is archived


def test_every_reading_is_archived_as_it_arrived(config, archiver_of):
    meters = ["émeter.1", 'quo"te', "it's", "🏠🔌", "line\nbreak", "{}", "a/b c%20=?&#"]
    values = [json.dumps(reading(i, m), ensure_ascii=i % 2 == 0).encode() for i, m in enumerate(meters)]
    extra = reading(99, "all") | {"interval": 900, "quality": 255, "revision": 65535, "value": -0.1}
    send_values(config, [*values, json.dumps(extra).encode()], partition=2)
    archiver = archiver_of(config)
    step_until(archiver, lambda: count_of(config) == 8)
    rows = sorted(rows_of(config), key=lambda row: row["_offset"])
    assert [row["meter"] for row in rows] == [*meters, "all"]
    assert [row["_offset"] for row in rows] == list(range(8))
    assert {row["_partition"] for row in rows} == {2}
    assert {row["date"].isoformat() for row in rows} == {"2023-11-14"}
    last = rows[-1]
    assert (last["interval_s"], last["quality"], last["revision"], last["value"]) == (900, 255, 65535, -0.1)
    consumer = new_consumer(config.kafka, "reads-timestamps")
    consumer.assign([TopicPartition(names_of(config.pipeline).readings, 2, 0)])
    messages = consumer.consume(8, 30)
    consumer.close()
    assert [row["_ingested_at"] for row in rows] == [m.timestamp()[1] for m in messages]


def test_late_and_future_readings_are_archived_undecodable_ones_and_control_records_are_not(config, archiver_of):
    telemetry = Memory()
    good = [reading(0), reading(1) | {"timestamp": 0}, reading(2) | {"timestamp": 4_000_000_000_000}]
    good += [reading(3) | {"timestamp": -86_400_001}]
    bad = [b"{", b"", None, b"\x00\x00", b'{"gateway": "x"}', encode_control(START)]
    send_values(
        config, [*(json.dumps(g).encode() for g in good[:2]), *bad, *(json.dumps(g).encode() for g in good[2:])]
    )
    archiver = archiver_of(config, telemetry)
    step_until(archiver, lambda: count_of(config) == 4)
    assert_exactly(config, range(4))
    assert {row["date"].isoformat() for row in rows_of(config)} == {
        "2023-11-14",
        "1970-01-01",
        "2096-10-02",
        "1969-12-30",
    }
    assert telemetry.value(Metric.READINGS) == 4
    app = archiver._partitions.apps[0]
    assert open_existing(location_of(config)).transaction_version(app) == 10


def test_messages_without_readings_need_no_commit_but_show_in_the_lag(config, archiver_of):
    send_values(config, [encode_control(START)] * 3, partition=1)
    archiver = archiver_of(config)
    group, topic = names_of(config.pipeline).group("archiver"), names_of(config.pipeline).readings
    watcher = new_consumer(config.kafka, group)
    step_until(archiver, lambda: watcher.committed([TopicPartition(topic, 1)], timeout=10)[0].offset == 3)
    watcher.close()
    assert open_existing(location_of(config)).version() == 0
    send_values(config, [json.dumps(reading(7)).encode()], partition=0)
    step_until(archiver, lambda: count_of(config) == 1)
    table = open_existing(location_of(config))
    assert table.transaction_version(archiver._partitions.apps[1]) == 3  # goes along with the next commit


def test_envelopes_keep_the_place_of_each_reading(config, archiver_of):
    n = 500
    batch = pa.record_batch(
        [
            pa.array([f"m{i % 10}" for i in range(n)]),
            pa.array(["WATER"] * n),
            pa.array(["VOLUME"] * n),
            pa.array([START + i for i in range(n)]),
            pa.array([float(i) for i in range(n)]),
            pa.array([0] * n, pa.int32()),
            pa.array([0] * n, pa.uint8()),
            pa.array([0] * n, pa.uint16()),
        ],
        schema=READING_SCHEMA,
    )
    for partition, value, _ in encode_envelopes(batch, partitions=4, max_bytes=20_000):
        send_values(config, [value], partition)
    archiver = archiver_of(config)
    step_until(archiver, lambda: count_of(config) == n)
    assert_exactly(config, range(n))
    by_message = {}
    for row in rows_of(config):
        by_message.setdefault((row["_partition"], row["_offset"]), []).append(row["_index"])
    assert all(sorted(indices) == list(range(len(indices))) for indices in by_message.values())
    assert max(map(len, by_message.values())) > 1


def test_closing_writes_what_is_held(pipeline):
    config = pipeline(lake_spec(seconds=3600, rows=1_000_000), schema=False)
    send(config, range(500))
    archiver = Archiver(config, Silent())
    step_until(archiver, lambda: archiver._buffer.rows == 500)
    assert count_of(config) == 0
    archiver.close()
    assert_exactly(config, range(500))


# --- crashes and rivals


@pytest.fixture
def stream(config):
    """Readings that keep coming in until the test has seen enough."""
    stream = Stream(config, seed=1)
    yield stream
    stream.stop()


def test_killed_at_random_moments_every_reading_is_archived_once(config, stream, processes):
    rng = random.Random(3)
    for sight in ("reading on at offset", "committed", "reading on at offset", "committed", "committed"):
        one = processes(config)
        wait_until(lambda one=one, sight=sight: one.said(sight), pause=0.02)
        time.sleep(rng.random() * 1.5)
        one.kill()
    last = processes(config)
    total = stream.stop()
    wait_until(lambda: count_of(config) >= total)
    assert last.stop() == 0
    assert_exactly(config, range(total))


def test_one_archiver_joins_and_one_leaves_while_readings_arrive(config, stream, processes):
    first = processes(config)
    wait_until(lambda: first.said("committed"))
    second = processes(config)
    wait_until(lambda: second.said("committed"))
    assert first.stop() == 0
    alone = count_of(config)
    wait_until(lambda: count_of(config) > alone)
    total = stream.stop()
    wait_until(lambda: count_of(config) >= total)
    assert second.stop() == 0
    assert_exactly(config, range(total))


def test_a_paused_archiver_that_wakes_after_its_partitions_moved_changes_nothing(config, stream, processes):
    zombie = processes(config, "zombie")
    wait_until(lambda: zombie.said("committed"), pause=0.02)
    time.sleep(0.7)  # somewhere between two commits, with readings held
    zombie.signal(signal.SIGSTOP)
    other = processes(config, "other")
    wait_until(lambda: other.said("committed"))
    zombie.signal(signal.SIGCONT)
    woken = count_of(config)
    wait_until(lambda: count_of(config) > woken)
    total = stream.stop()
    wait_until(lambda: count_of(config) >= total)
    assert zombie.stop() == 0
    assert other.stop() == 0
    assert_exactly(config, range(total))


def test_a_commit_through_a_handle_older_than_another_commit_of_its_partition_is_refused(config):
    location = location_of(config)
    sleeper, rival = LakeTable(location), LakeTable(location)
    assert sleeper.version("app/0") == rival.version("app/0")  # both checked, both may go on
    rival.commit([], {"app/0": 10})
    with pytest.raises(CommitFailedError):
        sleeper.commit([], {"app/0": 10})
    sleeper.refresh()
    assert sleeper.version("app/0") == 10


def test_a_span_that_a_rival_has_written_is_not_written_again(config):
    writers = [LakeWriter(location_of(config), Silent()) for _ in range(3)]
    for writer, until in zip(writers, (50, 50, 70), strict=True):
        writer.versions(["app/0"])  # all have their handle before anyone commits
        writer.take(span_of(None, until), {0: "app/0"})
    assert writers[0].attempt().written == {0: 50}
    assert writers[1].attempt().written == {0: 50}
    assert writers[2].attempt().moved == {0}
    assert_exactly(config, range(50))


def test_a_paused_writer_whose_partition_moved_between_its_check_and_its_commit_writes_nothing(config):
    location = location_of(config)
    sleeper, rival = LakeWriter(location, Silent()), LakeWriter(location, Silent())
    sleeper.take(span_of(None, 50), {0: "app/0"})
    rival.take(span_of(None, 80), {0: "app/0"})
    upload = LakeTable.upload

    def slow_upload(self, files):  # the check is done; a rival commits before this writer does
        staged = upload(self, files)
        rival.attempt()
        return staged

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LakeTable, "upload", lambda self, files: (patch.undo(), slow_upload(self, files))[1])
        with pytest.raises(CommitFailedError):
            sleeper.attempt()
    assert sleeper.attempt().moved == {0}
    assert_exactly(config, range(80))


def test_archivers_of_different_partitions_commit_at_the_same_time(config):
    def archive(app):
        writer = LakeWriter(location_of(config), Silent())
        first = None
        for until in range(10, 60, 10):
            writer.take(span_of(first, until), {0: app})
            for _ in range(20):
                try:
                    assert writer.attempt().moved == set()
                    break
                except LAKE_ERRORS:  # a rival made the table at the same moment; archivers try again, too
                    assert writer.pending
            assert writer.pending is None
            first = until

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(archive, [f"app/{i}" for i in range(4)]))
    assert sorted(int(row["value"]) for row in rows_of(config)) == sorted([*range(50)] * 4)


# --- the topic changes


def recreate(config):
    admin, topic = new_admin(config.kafka), names_of(config.pipeline).readings
    for future in admin.delete_topics([topic]).values():
        future.result()
    wait_until(lambda: topic not in admin.list_topics(timeout=10).topics)
    ensure_topics(config)


def test_a_recreated_topic_is_archived_from_its_begin_and_the_old_rows_stay(config, archiver_of):
    send(config, range(1000))
    archiver = archiver_of(config)
    step_until(archiver, lambda: count_of(config) == 1000)
    before = dict(archiver._partitions.apps)
    recreate(config)
    send(config, range(1000, 1300))
    step_until(archiver, lambda: count_of(config) == 1300)
    assert_exactly_two_topics(config, range(1300))
    assert set(before.values()).isdisjoint(archiver._partitions.apps.values())


def test_readings_held_when_the_topic_is_recreated_are_archived_too(pipeline, archiver_of):
    config = pipeline(lake_spec(seconds=3600, rows=1_000_000), schema=False)
    send(config, range(700))
    archiver = archiver_of(config)
    step_until(archiver, lambda: archiver._buffer.rows == 700)
    held = archiver._buffer.positions()
    step_until(archiver, lambda: archiver._partitions._certain == held)
    recreate(config)
    send(config, range(700, 2000))
    step_until(archiver, lambda: count_of(config) == 700)
    step_until(archiver, lambda: archiver._buffer.rows == 1300)
    archiver.close()
    assert_exactly_two_topics(config, range(2000))


def assert_exactly_two_topics(config, numbers):
    """Offsets start anew, so only the values tell readings apart."""
    assert sorted(int(row["value"]) for row in rows_of(config)) == list(numbers)


def delete_before(config, partition, offset):
    admin, topic = new_admin(config.kafka), names_of(config.pipeline).readings
    admin.list_topics(topic, timeout=10)
    for future in admin.delete_records([TopicPartition(topic, partition, offset)]).values():
        assert future.result().low_watermark == offset


def test_offsets_that_expired_before_they_were_archived_are_an_error_with_a_name(config, archiver_of, caplog):
    send_values(config, [json.dumps(reading(i)).encode() for i in range(10)], partition=0)
    first = Archiver(config, Silent())
    step_until(first, lambda: count_of(config) == 10)
    first.close()
    send_values(config, [json.dumps(reading(i)).encode() for i in range(10, 30)], partition=0)
    send_values(config, [json.dumps(reading(i)).encode() for i in range(30, 35)], partition=1)
    delete_before(config, 0, 25)
    telemetry = Memory()
    archiver = archiver_of(config, telemetry)
    step_until(archiver, lambda: count_of(config) == 15)  # the other partitions go on
    assert not archiver.ready()
    assert telemetry.value(Metric.LAKE_GAP, partition="0") == 15
    assert "OffsetsExpired: the lake ends before offset 10, but the log now begins at 25" in caplog.text
    assert "meterpipe lake accept-loss" in caplog.text
    assert_exactly(config, [*range(10), *range(30, 35)])


def test_offsets_that_expire_under_a_running_archiver_are_noticed(config, processes):
    send_values(config, [json.dumps(reading(i)).encode() for i in range(10)], partition=0)
    one = processes(config)
    wait_until(lambda: count_of(config) == 10)
    one.signal(signal.SIGSTOP)
    for batch in range(4):
        send_values(config, [json.dumps(reading(10 + batch * 5 + i)).encode() for i in range(5)], partition=0)
    delete_before(config, 0, 30)
    one.signal(signal.SIGCONT)
    wait_until(lambda: one.said("OffsetsExpired"))
    assert one.stop() == 0
    rows = rows_of(config)
    assert sorted(int(row["value"]) for row in rows) == list(range(len(rows)))  # what it had got by then, no more
    assert 10 <= len(rows) < 30


def test_a_topic_older_than_the_pipeline_is_archived_from_where_its_log_begins(config, archiver_of):
    send_values(config, [json.dumps(reading(i)).encode() for i in range(30)], partition=0)
    delete_before(config, 0, 12)
    archiver = archiver_of(config)
    step_until(archiver, lambda: count_of(config) == 18)
    assert archiver.ready()
    assert_exactly(config, range(12, 30))


def test_a_topic_that_does_not_exist_yet_is_waited_for(pipeline, archiver_of):
    config = pipeline(lake_spec(), schema=False, topics=False)
    archiver = archiver_of(config)
    for _ in range(20):
        archiver.step()
    assert not archiver.ready()
    ensure_topics(config)
    send(config, range(100))
    step_until(archiver, lambda: count_of(config) == 100)
    assert archiver.ready()
