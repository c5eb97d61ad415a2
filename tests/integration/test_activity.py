"""Activity and uplinks on a real Kafka and Redis: what a plain loop over the log says, whatever is stopped."""

import json
import random
import signal
import time
from collections import Counter

import pytest
from click.testing import CliRunner
from meterpipe.adapters.activity_store import ActivityStore
from meterpipe.cli.main import cli
from meterpipe.core.activity import MeterHeard, Uplinks
from meterpipe.core.murmur2 import partition_of
from meterpipe.datasets.activity_oracle import ActivityOracle, Reading
from meterpipe.local import process
from meterpipe.local.services import up
from meterpipe.spec.names import names_of

from tests.integration.conftest import new_config
from tests.integration.harness import Source, fleet_of, partitions_of, records_of, settle
from tests.integration.test_routing import readings_of

SPEC = {"activity": {"enabled": True, "uplinks": {"keep": 30 * 86_400}}}


@pytest.fixture
def config(pipeline, redis):
    return pipeline(SPEC, schema=False).model_copy(update={"redis": redis[1]})


@pytest.fixture
def store(config):
    store = ActivityStore(config)
    yield store
    store.close()


def expected(config, source):
    oracle, partitions = ActivityOracle(300_000, 180_000), partitions_of(config)
    oracle.take_all(
        Reading(partition_of(row[0].encode(), partitions), row[0], row[1], row[2], row[3], row[4])
        for row in readings_of(source)
    )
    return oracle


def assert_known(config, store, source):
    oracle = expected(config, source)
    assert dict(store.newest(10_000)) == oracle.heard
    channels = {(m, c.metric, c.attribute): (c.ts, c.value) for m in oracle.heard for c in store.channels(m)}
    assert channels == oracle.channels
    counts = {(meter, start): count for meter in oracle.heard for start, count in store.uplinks(meter)}
    assert counts == oracle.uplinks
    told = Counter()
    for record in records_of(config, names_of(config.pipeline).uplinks):
        one = json.loads(record.value())
        assert record.key() == one["gateway"].encode()
        told[one["gateway"], one["start"], one["count"]] += 1
    assert told == Counter((meter, start, count) for (meter, start), count in oracle.uplinks.items())


def test_activity_and_uplinks_are_those_of_a_plain_loop(config, store, tmp_path):
    source = Source(config, meters=20, hours=4)
    source.send()
    with fleet_of(config, tmp_path / "logs") as fleet:
        worker = fleet.start("activity")
        settle(fleet, config, "activity")
        assert fleet.discharge(worker) == 0
    assert_known(config, store, source)
    file = tmp_path / "config.json"
    file.write_text(config.model_dump_json(by_alias=True))

    def run(*words):
        return CliRunner().invoke(cli, [*words, "--config", str(file)], catch_exceptions=False)

    meter = "meter-000003"
    shown = json.loads(run("activity", meter, "--json").output)
    assert shown["channels"][0]["value"] == store.channels(meter)[0].value
    silent = json.loads(run("activity", "--silent-for", "1h", "-n", "5", "--json").output)
    assert silent["known"] == 20
    assert len(silent["meters"]) == 5
    assert "20 of 20 meters" in run("activity").output
    windows = json.loads(run("uplinks", meter, "--to", "2024-01-01T01:00:00Z", "--json").output)
    assert [row["count"] for row in windows["uplinks"]] == [c for _, c in store.uplinks(meter, None, 1_704_070_800_000)]
    assert run("activity", "nobody").exit_code == 1
    assert run("uplinks", "nobody").exit_code == 1
    assert run("activity", "--silent-for", "soon").exit_code == 2


def test_workers_killed_and_a_redis_away_lose_and_double_nothing(config, store, redis, tmp_path):
    dice, source = random.Random(3), Source(config, meters=30, hours=6)
    with fleet_of(config, tmp_path / "logs") as fleet:
        workers = [fleet.start("activity", number) for number in (1, 2)]
        with source.flowing(half=12):
            for victim in (0, 1):
                time.sleep(dice.uniform(1, 3))
                workers[victim].kill()
                fleet.wait_until(workers[victim].ready, "its successor has joined")
            data, _ = redis
            process.find(data, "redis").signal(signal.SIGSTOP)
            time.sleep(8)
            process.find(data, "redis").signal(signal.SIGCONT)
            time.sleep(2)
            process.find(data, "redis").stop(10)
            time.sleep(3)
            up(data, tethered=True, only=["redis"])
        settle(fleet, config, "activity")
    assert_known(config, store, source)


def test_what_is_written_late_or_twice_changes_nothing(services, redis):
    store = ActivityStore(new_config(services, SPEC).model_copy(update={"redis": redis[1]}))
    newer = MeterHeard("m", 2000, [("E", "P", 2000, 2.5, 10)])
    older = MeterHeard("m", 1000, [("E", "P", 1000, 1.0, 11)])
    same = MeterHeard("m", 2000, [("E", "P", 2000, 9.0, 9)])
    store.hear([newer])
    store.hear([older, same])
    store.hear([newer])
    assert store.last_heard("m") == 2000
    assert [(one.ts, one.value) for one in store.channels("m")] == [(2000, 2.5)]
    for count in (3, 4, 4):
        store.count([Uplinks("m", 300_000, 300, count), Uplinks("m", 0, 300, 1)])
    assert store.uplinks("m") == [(0, 1), (300_000, 4)]
    store.count([Uplinks("m", 40 * 86_400_000, 300, 7)])
    assert store.uplinks("m") == [(40 * 86_400_000, 7)], "what is older than is kept goes"
    store.hear([MeterHeard("n", 200 * 86_400_000, [("E", "P", 200 * 86_400_000, 1.0, 1)])])
    store.forget_before(200 * 86_400_000)
    assert store.heard_until(10**15) == [("n", 200 * 86_400_000)]
    store.close()
