"""The router on a real Kafka: routes hold what a plain loop over the readings chooses, once, whatever is killed."""

import json
import random
import time
from collections import Counter
from datetime import UTC, datetime

import pyarrow as pa
from meterpipe.adapters.kafka import new_producer
from meterpipe.core.murmur2 import partition_of
from meterpipe.spec.names import names_of

from tests.integration.harness import Source, fleet_of, partitions_of, progress_of, reading, records_of, settle

ROUTES = {
    "routing": {
        "routes": [
            {"name": "all"},
            {
                "name": "high",
                "where": "value > 0.5 AND extract(hour FROM ts) < 2",
                "select": {"id": "upper(meter)", "at": "ts", "watts": "value * 1000"},
                "key": "attribute || '/' || meter",
            },
            {"name": "late-night", "where": "right(meter, 1) = '3'", "format": "envelope"},
        ]
    }
}


def readings_of(source):
    for batch in source.batches:
        names = ("meter", "metric", "attribute", "ts", "value", "interval_s", "quality", "revision")
        columns = (batch.column(name) for name in names)
        decoded = (c.cast(pa.string()) if pa.types.is_dictionary(c.type) else c for c in columns)
        yield from zip(*(column.to_pylist() for column in decoded), strict=True)


def rfc3339(ms):
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def canonical(value):
    return json.dumps(value, sort_keys=True)


def expected(source, partitions):
    """By route, what must be there: (partition, key, content) and how often."""
    found = {name: Counter() for name in ("all", "high", "late-night")}
    fields = ("gateway", "metricType", "metricAttribute", "timestamp", "value", "interval", "quality", "revision")
    for row in readings_of(source):
        meter, _, attribute, ts, value, *_ = row
        home = partition_of(meter.encode(), partitions)
        whole = dict(zip(fields, (*row[:3], rfc3339(ts), *row[4:]), strict=True))
        found["all"][home, meter, canonical(whole)] += 1
        if value > 0.5 and datetime.fromtimestamp(ts / 1000, UTC).hour < 2:
            key = f"{attribute}/{meter}"
            content = {"id": meter.upper(), "at": rfc3339(ts), "watts": value * 1000}
            found["high"][partition_of(key.encode(), partitions), key, canonical(content)] += 1
        if meter[-1] == "3":
            found["late-night"][home, None, canonical(row)] += 1
    return found


def routed(config):
    names, found = names_of(config.pipeline), {}
    for route in ("all", "high"):
        messages = records_of(config, names.route(route))
        found[route] = Counter((m.partition(), m.key().decode(), canonical(json.loads(m.value()))) for m in messages)
    rows = Counter()
    for message in records_of(config, names.route("late-night")):
        for row in pa.ipc.open_stream(message.value()).read_all().to_pylist():
            rows[message.partition(), None, canonical(tuple(row.values()))] += 1
    return found | {"late-night": rows}


def assert_routed(config, source):
    wanted, found = expected(source, partitions_of(config)), routed(config)
    for route, rows in wanted.items():
        assert rows
        assert found[route] == rows, route


def test_routes_hold_what_a_plain_loop_chooses(pipeline, tmp_path):
    config = pipeline(ROUTES, schema=False)
    source = Source(config, meters=20, hours=4)
    source.send()
    producer = new_producer(config.kafka)
    for value in (b"{", b"", b'{"gateway": "m"}', reading("m-wrong", 0, "much")):  # the aggregator's dead letters
        producer.produce(names_of(config.pipeline).readings, value, partition=0)
    producer.flush()
    with fleet_of(config, tmp_path) as fleet:
        worker = fleet.start("router")
        settle(fleet, config, "router")
        assert fleet.discharge(worker) == 0
    assert_routed(config, source)
    assert records_of(config, names_of(config.pipeline).dead_letters) == []


def test_routers_killed_again_and_again_lose_and_double_nothing(pipeline, tmp_path):
    config, dice = pipeline(ROUTES, schema=False), random.Random(2)
    source = Source(config, meters=40, hours=6)
    with fleet_of(config, tmp_path) as fleet:
        workers = [fleet.start("router", number) for number in (1, 2)]
        with source.flowing(half=12), progress_of(config):
            for victim in (0, 1, 0):
                time.sleep(dice.uniform(1, 3))
                workers[victim].kill()
                fleet.wait_until(workers[victim].ready, "its successor has joined")
        settle(fleet, config, "router")
    assert_routed(config, source)


def test_what_the_validation_makes_of_registers_is_routed_whatever_decides_the_partition(pipeline, tmp_path):
    spec = {"readings": {"key": "channel"}, "validation": {"enabled": True, "registers": [{"maxPerHour": 60_000}]}}
    config = pipeline({**spec, "routing": {"routes": [{"name": "all"}]}}, schema=False)
    names, partitions = names_of(config.pipeline), partitions_of(config)

    def home(meter, attribute):
        return partition_of(f"{meter}/ELECTRICITY/{attribute}".encode(), partitions)

    meter = next(m for m in map(str, range(100)) if home(m, "SUMMATION") != home(m, "CONSUMPTION"))
    producer, start = new_producer(config.kafka), 1_704_067_200_000
    for hour in range(3):
        value = reading(meter, start + hour * 3_600_000, 100.0 * hour, metricAttribute="SUMMATION")
        producer.produce(names.readings, value, partition=home(meter, "SUMMATION"))
    producer.flush()
    with fleet_of(config, tmp_path) as fleet:
        for kind in ("validation", "router"):
            fleet.start(kind)
        settle(fleet, config, "validation")
        settle(fleet, config, "router")
    found = [json.loads(message.value()) for message in records_of(config, names.route("all"))]
    assert [one["value"] for one in found if one["metricAttribute"] == "CONSUMPTION"] == [100.0, 100.0]
    assert len([one for one in found if one["metricAttribute"] == "SUMMATION"]) == 3
