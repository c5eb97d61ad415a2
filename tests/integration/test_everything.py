"""One pipeline with everything on: each result is what a recomputation of its own says, much faster than real time."""

import json
import time
from collections import Counter
from contextlib import closing

import pytest
from meterpipe.adapters.activity_store import ActivityStore
from meterpipe.core.alarms.thresholds import Threshold
from meterpipe.core.murmur2 import partition_of
from meterpipe.datasets.generator import Attribute
from meterpipe.local.readback import read_windows
from meterpipe.spec.names import names_of

from tests.integration.harness import FULL, Source, assert_exact, fleet_of, partitions_of, records_of, settle
from tests.integration.lake_helpers import count_of
from tests.integration.notifier_helpers import expected_open, receiver, table_of, told_config
from tests.integration.test_activity import assert_known
from tests.integration.test_alarms import alarms_of, expected_alarms, facts_of, set_thresholds
from tests.integration.test_routing import canonical, rfc3339
from tests.integration.test_validation import assert_judged, judged, windows_of

WORKERS = ("validation", "aggregator", "sink", "archiver", "router", "alarms", "notifier", "activity")
INTERVAL = 120  # seconds between two readings of a channel
SPEC = {
    "lake": {"flush": {"seconds": 5}},
    "validation": {
        "enabled": True,
        "plausibility": {"limits": [{"attribute": "ACTIVE_POWER", "max": 40}]},
        "missing": {"interval": INTERVAL},
        "registers": [{"maxPerHour": 60_000}],
    },
    "routing": {
        "routes": [
            {"name": "high", "where": "value > 1.5 AND attribute = 'ACTIVE_POWER'", "key": "attribute"},
            {
                "name": "sevens",
                "where": "right(meter, 1) = '7' AND extract(hour FROM ts) < 6",
                "select": {"id": "meter", "at": "ts", "what": "attribute || ' of ' || metric", "bits": "quality"},
            },
        ]
    },
    "alarms": {
        "enabled": True,
        "thresholds": {"attributes": ["ACTIVE_POWER"]},
        "flatline": {"enabled": True, "readings": 3, "attributes": ["ACTIVE_POWER"]},
        "spike": {"enabled": True, "factor": 6, "floor": 0.5, "attributes": ["ACTIVE_POWER"]},
        "nightLeak": {"enabled": True, "metrics": [], "attributes": ["ACTIVE_POWER"], "timezone": "Europe/Paris"},
        "silence": {"enabled": True, "interval": INTERVAL, "intervals": 3, "attributes": ["ACTIVE_POWER"]},
    },
    "activity": {"enabled": True, "uplinks": {"keep": 30 * 86_400}},
}
TABLE = {
    ("*", "ELECTRICITY", "ACTIVE_POWER"): Threshold(upper=2.0, hysteresis=0.5, min_duration=240),
    ("meter-000003", "*", "*"): Threshold(lower=0.05, upper=0.5),
}
DEFECTS = {
    "attributes": (Attribute.ACTIVE_POWER, Attribute.SUMMATION),
    "interval_s": INTERVAL,
    "rollover": 5000.0,
    "glitch_rate": 0.003,
    "gap_rate": 0.005,
}
ROW = ("meter", "metric", "attribute", "ts", "value", "interval_s", "quality", "revision")


@pytest.mark.parametrize(
    ("households", "days"),
    [(60, 0.5), pytest.param(500, 3, marks=pytest.mark.skipif(not FULL, reason="METERPIPE_FULL=1"))],
)
@pytest.mark.timeout(1800)
def test_one_pipeline_with_everything_on_is_right_in_everything(pipeline, redis, tmp_path, households, days):
    with receiver() as hook:
        spec = {**SPEC, "alarms": {**SPEC["alarms"], "notifier": {"webhook": {"url": hook.url, "secretName": "hook"}}}}
        config = told_config(pipeline(spec), tmp_path / "secrets").model_copy(update={"redis": redis[1]})
        set_thresholds(config, TABLE)
        source = Source(config, meters=households, hours=24 * days, **DEFECTS)
        with fleet_of(config, tmp_path / "logs") as fleet:
            fleet_workers = [fleet.start(kind) for kind in WORKERS]
            for worker in fleet_workers:
                fleet.wait_until(worker.ready, f"{worker.kind} is ready")
            began = time.monotonic()
            source.send()
            settle(fleet, config, *WORKERS[:3], "router", "alarms", "activity")
            fleet.wait_until(lambda: count_of(config) >= source.count, "the lake has all readings")
            settle(fleet, config, "notifier", "webhook")
            seconds = time.monotonic() - began
            assert [fleet.discharge(worker) for worker in fleet_workers] == [0] * len(WORKERS)
        assert hook.faults == []
        told = Counter(one["id"] for one in hook.taken)
    faster = days * 86_400 / seconds
    print(
        f"\n{source.count:,} readings of {households} households x {days} days in {seconds:.1f} s: {faster:,.0f} x real"
    )
    valid = assert_judged_and_stored(config, source)
    assert_routed(config, valid)
    assert_alarms(config, source, valid, told)
    with closing(ActivityStore(config)) as store:
        assert_known(config, store, source)
    if FULL:
        print(f"at least 2 000 x real time: {'yes' if faster >= 2000 else 'NO'}")


def assert_judged_and_stored(config, source):
    """Validation and windows, Cassandra and the lake. Gives back what is valid, in the order of its log."""
    assert_judged(config, source)
    _, _, valid, _ = judged(config)
    names, expected = names_of(config.pipeline), windows_of(config, valid)
    tables = {window: names.table(window) for window in expected.windows}
    assert_exact(config, expected, read_windows(config.cassandra, names.keyspace, tables))
    assert count_of(config) == source.count
    return valid


def rows(table, *names):
    return zip(*(table.column(name).to_pylist() for name in names), strict=True)


def assert_routed(config, valid):
    names, partitions = names_of(config.pipeline), partitions_of(config)
    wanted = {"high": Counter(), "sevens": Counter()}
    fields = ("gateway", "metricType", "metricAttribute", "timestamp", "value", "interval", "quality", "revision")
    for row in rows(valid, *ROW):
        meter, metric, attribute, ts, value, _, quality, _ = row
        if value > 1.5 and attribute == "ACTIVE_POWER":
            whole = dict(zip(fields, (*row[:3], rfc3339(ts), *row[4:]), strict=True))
            wanted["high"][partition_of(attribute.encode(), partitions), attribute, canonical(whole)] += 1
        if meter[-1] == "7" and ts % 86_400_000 < 6 * 3_600_000:
            content = {"id": meter, "at": rfc3339(ts), "what": f"{attribute} of {metric}", "bits": quality}
            wanted["sevens"][partition_of(meter.encode(), partitions), meter, canonical(content)] += 1
    for route, expected in wanted.items():
        assert expected
        found = records_of(config, names.route(route))
        seen = Counter((m.partition(), m.key().decode(), canonical(json.loads(m.value()))) for m in found)
        assert seen == expected, route


def assert_alarms(config, source, valid, told):
    expected = expected_alarms(config, valid, TABLE, source._end)
    events = alarms_of(config)
    assert sorted(map(facts_of, events), key=repr) == sorted(expected, key=repr)
    assert {"OVER", "SPIKE"} <= {event.kind for event in events}  # silence only where the end comes in mid-day
    assert told.keys() == {f"{event.id}/{event.state.value}" for event in events}
    with table_of(config) as table:
        assert table() == expected_open(events)
