"""Each window once and right, whatever happens to the processes: killed, paused, joining, leaving, without a broker."""

import os
import random
import re
import secrets
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, OffsetSpec, ResourceType
from meterpipe.adapters.kafka import new_admin, new_producer
from meterpipe.adapters.topics import ensure_topics
from meterpipe.local.readback import read_windows
from meterpipe.local.services import down, up
from meterpipe.spec.names import names_of

from tests.integration.conftest import new_config
from tests.integration.harness import (
    DEFECTS,
    FULL,
    Source,
    TakeOver,
    assert_exact,
    counted,
    fleet_of,
    partitions_of,
    progress_of,
    records_of,
    results_of,
    settle,
    wait_until,
)
from tests.integration.lake_helpers import count_of

SEED = int(os.environ.get("METERPIPE_SEED", "1"))
SESSION_SECONDS = 6.0


def test_an_aggregator_killed_again_and_again_puts_each_window_out_once(pipeline, tmp_path):
    config, dice = pipeline(schema=False), random.Random(SEED)
    source = Source(config, meters=100, hours=8)
    with fleet_of(config, tmp_path) as fleet:
        worker, take_over = fleet.start("aggregator"), TakeOver(config, fleet)
        with progress_of(config) as progress, source.flowing(half=30):
            fleet.wait_until(lambda: counted(progress), "the first commit")
            for _ in range(3):
                time.sleep(dice.uniform(0, 3))
                with take_over.of():
                    worker.kill()
        settle(fleet, config, "aggregator")
    take_over.report("aggregator, kill -9 and restart")
    assert_exact(config, source.expected())


@pytest.mark.parametrize("leaving", ["discharge", "forget"], ids=["SIGTERM", "kill -9"])
def test_aggregators_that_join_and_leave_share_the_work_without_a_trace(pipeline, tmp_path, leaving):
    config = pipeline(schema=False)
    source = Source(config, meters=100, hours=8)
    with fleet_of(config, tmp_path) as fleet:
        first, second = fleet.start("aggregator", 1), fleet.start("aggregator", 2)
        with source.flowing(half=20):
            fleet.wait_until(lambda: sorted([held(first), held(second)]) == [2, 2], "two and two partitions")
            third = fleet.start("aggregator", 3)
            fleet.wait_until(lambda: sorted(map(held, (first, second, third))) == [1, 1, 2], "three share")
            getattr(fleet, leaving)(first)
            fleet.wait_until(lambda: sorted(map(held, (second, third))) == [2, 2], "two are left")
            getattr(fleet, leaving)(third)
            fleet.wait_until(lambda: held(second) == 4, "one is left")
        settle(fleet, config, "aggregator")
    assert_exact(config, source.expected())


def held(worker) -> int:
    """Partitions by the worker's last word."""
    words = re.findall(r"assigned partitions \[([\d, ]*)\]", worker.log.read_text())
    return len(words[-1].split()) if words else 0


def test_more_aggregators_than_partitions_do_no_harm(pipeline, tmp_path):
    config = pipeline({"kafka": {"topics": {"readings": {"partitions": 1}}}}, schema=False)
    source = Source(config, meters=20, hours=3)
    with fleet_of(config, tmp_path) as fleet:
        workers = [fleet.start("aggregator", number) for number in range(3)]
        with source.flowing(half=10), progress_of(config) as progress:
            fleet.wait_until(lambda: all(worker.ready() for worker in workers), "all have joined")
            fleet.forget(next(worker for worker in workers if held(worker)))
            before = counted(progress)
            fleet.wait_until(lambda: counted(progress) > before, "another has taken over")
        settle(fleet, config, "aggregator")
    assert_exact(config, source.expected())


# zombies


@contextmanager
def pair(config, folder):
    """Two aggregators, two partitions each, and what flows through them."""
    with fleet_of(config, folder) as fleet:
        first, second = fleet.start("aggregator", 1), fleet.start("aggregator", 2)
        fleet.wait_until(lambda: held(first) == held(second) == 2, "two and two partitions")
        yield fleet, first, second


def in_mid_transaction(config, worker):
    """Pause the worker when it has records out that are not committed; they hold back readers of committed records."""
    topics = [names_of(config.pipeline).topic(role) for role in ("late", "changelog", "aggregates-60", "balance")]
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        worker.pause()
        if held_back(config, topics):
            return
        worker.resume()
        time.sleep(random.uniform(0, 0.2))
    pytest.fail("never caught in a transaction")


def held_back(config, topics):
    """Whether a partition ends later than what is committed of it, and stays so."""
    time.sleep(0.3)
    admin = new_admin(config.kafka)
    asked = {TopicPartition(topic, p): OffsetSpec.latest() for topic in topics for p in range(partitions_of(config))}

    def ends(level):
        found = admin.list_offsets(asked, isolation_level=level, request_timeout=30)
        return [found[place].result().offset for place in asked]

    return ends(IsolationLevel.READ_COMMITTED) != ends(IsolationLevel.READ_UNCOMMITTED)


@pytest.mark.parametrize("sleep", ["past its transaction", "past its session only"])
def test_a_paused_aggregator_that_wakes_after_its_partitions_moved_changes_nothing(pipeline, tmp_path, sleep):
    # late readings are put out as they come, so that transactions stay open for long
    config = pipeline({"aggregator": {"commitIntervalMs": 2000}}, schema=False)
    source = Source(config, meters=100, hours=8, late_rate=0.05)
    with pair(config, tmp_path) as (fleet, first, second):
        with source.flowing(half=15):
            with progress_of(config) as progress:
                fleet.wait_until(lambda: counted(progress), "the first commit")
            in_mid_transaction(config, first)
            if sleep == "past its session only":
                time.sleep(SESSION_SECONDS + 1.5)  # its transaction stays open for 10 s
                first.resume()
        if sleep == "past its transaction":
            fleet.wait_until(lambda: held(second) == 4, "the partitions have moved")
            settle(fleet, config, "aggregator")
            done = {window: len(table) for window, table in results_of(config).items()}
            first.resume()
            wait_until(lambda: first.said("given up") or not first.alive(), "the sleeper knows")
            settle(fleet, config, "aggregator")
            assert {window: len(table) for window, table in results_of(config).items()} == done
        settle(fleet, config, "aggregator")
    assert_exact(config, source.expected())
    assert records_of(config, names_of(config.pipeline).dead_letters) == []


def test_a_restart_of_the_broker_in_the_middle_loses_and_doubles_nothing(own_services, services, tmp_path):
    data, connections = own_services("kafka")
    config = new_config(services, {}).model_copy(update={"kafka": connections.kafka})
    ensure_topics(config)
    source = Source(config, meters=60, hours=4)
    with fleet_of(config, tmp_path) as fleet:
        fleet.start("aggregator")
        with source.flowing(half=15), progress_of(config) as progress:
            fleet.wait_until(lambda: counted(progress), "the first commit")
            down(data, ["kafka"])
            time.sleep(3)
            up(data, tethered=True, only=["kafka"])
        settle(fleet, config, "aggregator")
    assert_exact(config, source.expected())


def limit(config, topic, size):
    """The largest message `topic` takes."""
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = new_admin(config.kafka)
    admin.incremental_alter_configs([resource])[resource].result()


def test_a_transaction_the_broker_refuses_is_given_up_and_done_again_when_the_cause_is_gone(pipeline, tmp_path):
    config = pipeline(schema=False)
    names, source = names_of(config.pipeline), Source(config, meters=60, hours=4)
    limit(config, names.dead_letters, 1000)
    source.send(0.5)
    junk = b"{" + secrets.token_bytes(5000).replace(b"\n", b"")
    producer = new_producer(config.kafka)
    producer.produce(names.readings, junk, partition=0)
    assert producer.flush(30) == 0
    source.send()
    with fleet_of(config, tmp_path) as fleet:
        worker = fleet.start("aggregator")
        fleet.wait_until(lambda: worker.log.read_text().count("transaction given up") > 1, "it is given up, twice")
        limit(config, names.dead_letters, 10_000)
        settle(fleet, config, "aggregator")
        assert fleet.restarts == 0
    assert [message.value() for message in records_of(config, names.dead_letters)] == [junk]
    wanted = source.expected()
    counts = replace(wanted.balance, raw=wanted.balance.raw + 1, dead_letters=1)
    assert_exact(config, replace(wanted, balance=counts))


# the whole pipeline


def test_a_pipeline_whose_workers_are_killed_three_times_each_fills_the_stores_exactly(pipeline, tmp_path):
    config = pipeline({"lake": {"flush": {"seconds": 2, "rows": 100_000}}})
    run_pipeline(config, Source(config, meters=100, hours=6), tmp_path, half=40)


@pytest.mark.skipif(not FULL, reason="takes many minutes: METERPIPE_FULL=1 pytest -s -k acceptance")
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kills", [0, 3])
def test_acceptance_1000_households_of_a_day_fill_the_stores_exactly(pipeline, tmp_path, kills):
    config = pipeline()
    source = Source(config, meters=1000, hours=24, **dict.fromkeys(DEFECTS, 0.0))
    assert source.count == 1_440_000
    facts = run_pipeline(config, source, tmp_path, half=60 if kills else 10, kills=kills)
    assert facts["rows"] == {60: 1_440_000, 600: 144_000, 3600: 24_000, 86_400: 1000}
    assert facts["lakeRows"] == 1_440_000
    print(f"\nacceptance, each worker killed {kills} times: {facts}")


def run_pipeline(config, source, folder, half, kills=3):
    """Everything at once; each worker is killed `kills` times at random moments while readings flow."""
    dice, kinds = random.Random(SEED), ("aggregator", "sink", "archiver")
    began = time.monotonic()
    with fleet_of(config, folder) as fleet:
        workers = {kind: fleet.start(kind) for kind in kinds}
        take_over = TakeOver(config, fleet)
        with progress_of(config) as progress, source.flowing(half):
            fleet.wait_until(lambda: counted(progress), "the first commit")
            order = [kind for kind in kinds for _ in range(kills)]
            dice.shuffle(order)
            for kind in order:
                fleet.wait_until(lambda kind=kind: workers[kind].ready(), f"{kind} is ready")
                time.sleep(dice.uniform(0, 2))
                if kind == "aggregator":
                    with take_over.of():
                        workers[kind].kill()
                else:
                    workers[kind].kill()
        settle(fleet, config, "aggregator")
        settle(fleet, config, "sink")
        fleet.wait_until(lambda: count_of(config) >= source.count, "the lake has all readings")
        codes = {kind: fleet.discharge(worker) for kind, worker in workers.items()}
    wall = time.monotonic() - began
    assert codes == dict.fromkeys(kinds, 0)
    expected = source.expected()
    names = names_of(config.pipeline)
    tables = {window: names.table(window) for window in expected.windows}
    stored = read_windows(config.cassandra, names.keyspace, tables)
    assert_exact(config, expected)
    assert_exact(config, expected, stored)
    assert count_of(config) == source.count
    take_over.report("whole pipeline, aggregator killed")
    return {
        "readings": source.count,
        "lakeRows": count_of(config),
        "rows": {window: len(table) for window, table in stored.items()},
        "balance": expected.balance,
        "takeOverSeconds": [round(s, 1) for s in take_over.seconds],
        "seconds": round(wall, 1),
    }
