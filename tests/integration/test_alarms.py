"""Alarms on a real Kafka: what is raised and cleared is what a recomputation says, whoever is killed meanwhile."""

import json
import random
import time

import pyarrow as pa
from click.testing import CliRunner
from meterpipe.adapters.kafka import new_producer
from meterpipe.adapters.thresholds import ThresholdWriter, read_thresholds
from meterpipe.cli.main import cli
from meterpipe.core.alarms.events import decode_alarm
from meterpipe.core.alarms.thresholds import Threshold
from meterpipe.core.murmur2 import partition_of
from meterpipe.datasets.alarms_oracle import Bound, Expected, Oracle, Reading
from meterpipe.datasets.generator import Attribute
from meterpipe.datasets.oracle import log_of
from meterpipe.spec.names import names_of

from tests.integration.harness import Source, fleet_of, partitions_of, reading, records_of, settle

START = 1_704_067_200_000
SPEC = {
    "aggregator": {"grace": 120},
    "alarms": {
        "enabled": True,
        "flatline": {"enabled": True, "readings": 2},
        "spike": {"enabled": True, "factor": 4, "floor": 0.5},
        "reverseFlow": {"enabled": True, "attributes": ["ACTIVE_POWER"], "registers": ["SUMMATION"]},
        "nightLeak": {"enabled": True, "metrics": [], "attributes": ["ACTIVE_POWER"], "timezone": "Europe/Paris"},
        "silence": {"enabled": True, "interval": 60, "intervals": 3},
    },
}
FAULTY = {"attributes": (Attribute.ACTIVE_POWER, Attribute.SUMMATION), "glitch_rate": 0.01, "gap_rate": 0.02}
ACTIVE = ("*", "ELECTRICITY", "ACTIVE_POWER")
TABLE = {ACTIVE: Threshold(lower=0.05, upper=1.0, hysteresis=0.2, min_duration=120)}
COLUMNS = ("meter", "metric", "attribute", "ts", "value", "interval_s", "partition")


def set_thresholds(config, table):
    ThresholdWriter(config).write(table.items())
    stored = read_thresholds(config)
    assert {key: threshold for key, (threshold, _) in stored.items()} == table


def alarms_of(config):
    """All events, partition by partition, and the keys and ids they came under."""
    found = []
    for message in records_of(config, names_of(config.pipeline).alarms):
        alarm = decode_alarm(message.value())
        assert message.key() == alarm.meter.encode()
        assert message.partition() == partition_of(message.key(), partitions_of(config))
        found.append(alarm)
    assert len({(alarm.id, alarm.state) for alarm in found}) == len(found)
    return found


def ms(text):
    return int(time.mktime(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone) * 1000 + int(text[20:23])


def facts_of(alarm):
    """Without places: envelopes hold many readings, so messages are not told apart by the recomputation."""
    return Expected(
        alarm.state.value, alarm.kind.value, alarm.meter, alarm.metric, alarm.attribute, ms(alarm.at),
        ms(alarm.raised_at), alarm.value, alarm.limit, None, None,
    )  # fmt: skip


def expected_alarms(config, log, table, end):
    """By the oracle: `log` has COLUMNS, in the order of each partition's log."""
    spec = config.pipeline.spec
    bounds = {key: Bound(t.lower, t.upper, t.hysteresis or 0, t.min_duration or 0) for key, t in table.items()}
    found = []
    rows = list(zip(*(decoded(log.column(name)).to_pylist() for name in COLUMNS), strict=True))
    for partition in range(partitions_of(config)):
        oracle = Oracle(spec.alarms, spec.aggregator.grace, bounds)
        oracle.take_all(Reading(*row[:6]) for row in rows if row[6] == partition)
        oracle.reach(end)
        found += [event._replace(threshold=None, reading=None) for event in oracle.events]
    return found


def decoded(column):
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def assert_raised(config, source, table):
    found = [facts_of(alarm) for alarm in alarms_of(config)]
    assert sorted(found, key=repr) == sorted(
        expected_alarms(config, log_of(source.batches, partitions_of(config)), table, source._end), key=repr
    )
    return found


def test_what_is_raised_and_cleared_is_what_the_oracle_says(pipeline, tmp_path):
    config = pipeline(SPEC, schema=False)
    set_thresholds(config, TABLE)
    source = Source(config, meters=20, hours=26, **FAULTY)
    source.send()
    with fleet_of(config, tmp_path) as fleet:
        worker = fleet.start("alarms")
        settle(fleet, config, "alarms")
        fleet.wait_until(worker.ready, "ready")
        assert fleet.discharge(worker) == 0
    found = assert_raised(config, source, TABLE)
    assert {"OVER", "UNDER", "FLATLINE", "SPIKE", "REVERSE_FLOW", "SILENCE"} <= {event.kind for event in found}
    over = [alarm for alarm in alarms_of(config) if alarm.kind == "OVER"]
    assert {alarm.threshold.offset for alarm in over} == {0}
    assert all(alarm.reading is not None for alarm in over)


def test_workers_killed_again_and_again_lose_and_double_nothing(pipeline, tmp_path):
    config, dice = pipeline(SPEC, schema=False), random.Random(1)
    set_thresholds(config, TABLE)
    source = Source(config, meters=20, hours=8, **FAULTY)
    names = names_of(config.pipeline)
    with fleet_of(config, tmp_path) as fleet:
        workers = [fleet.start("alarms", 1), fleet.start("alarms", 2)]
        with source.flowing(half=15):
            fleet.wait_until(lambda: records_of(config, names.alarms), "the first commit")
            for victim in (0, 1, 0, 1):
                time.sleep(dice.uniform(0.5, 3))
                workers[victim].kill()
                fleet.wait_until(workers[victim].ready, "its successor has joined")
        settle(fleet, config, "alarms")
    assert len(assert_raised(config, source, TABLE)) > 20


def test_a_threshold_counts_while_the_pipeline_runs_and_one_that_is_gone_does_not(pipeline, tmp_path):
    config = pipeline({"alarms": {"enabled": True}}, schema=False)
    names, producer = names_of(config.pipeline), new_producer(config.kafka)
    home, now = partition_of(b"m", partitions_of(config)), int(time.time() * 1000) - 3_600_000
    key, sent = ("m", "ELECTRICITY", "ACTIVE_POWER"), 0

    def send(value):
        nonlocal sent
        sent += 1
        producer.produce(names.readings, reading("m", now + sent * 1000, value), partition=home)
        assert producer.flush(30) == 0

    def events():
        return [alarm for alarm in alarms_of(config) if alarm.meter == "m"]

    with fleet_of(config, tmp_path) as fleet:
        worker = fleet.start("alarms")
        fleet.wait_until(worker.ready, "ready")
        send(6.0)
        settle(fleet, config, "alarms")
        assert events() == []
        writer = ThresholdWriter(config)
        began = time.monotonic()
        writer.write([(key, Threshold(upper=5.0))])

        def raised():
            send(6.0)
            return len(events()) == 1

        fleet.wait_until(raised, "the alarm is raised")
        print(f"\na threshold took effect {time.monotonic() - began:.2f} s after it was set, read back included")
        [alarm] = events()
        assert (alarm.kind, alarm.state, alarm.value, alarm.limit) == ("OVER", "raised", 6.0, 5.0)
        assert (alarm.threshold.partition, alarm.threshold.offset) == (home, 0)
        writer.write([(key, None)])
        assert read_thresholds(config) == {}

        def cleared():
            send(6.0)
            return len(events()) == 2

        fleet.wait_until(cleared, "the alarm is cleared")
        send(9.0)
        settle(fleet, config, "alarms")
        assert [(e.state, e.limit, e.threshold) for e in events()][1:] == [("cleared", None, None)]
        assert events()[0].id == events()[1].id
    assert fleet.restarts == 0


def test_a_killed_worker_knows_the_thresholds_again(pipeline, tmp_path):
    config = pipeline({"alarms": {"enabled": True}}, schema=False)
    names, producer = names_of(config.pipeline), new_producer(config.kafka)
    set_thresholds(config, {("m", "*", "*"): Threshold(upper=5.0), ("*", "*", "*"): Threshold(upper=50.0)})
    now = int(time.time() * 1000) - 3_600_000
    with fleet_of(config, tmp_path) as fleet:
        worker = fleet.start("alarms")
        for number, value in enumerate((6.0, 4.0, 7.0)):
            for meter in ("m", "n"):
                home = partition_of(meter.encode(), partitions_of(config))
                producer.produce(names.readings, reading(meter, now + number * 1000, value), partition=home)
            producer.produce(names.readings, b"{", partition=0)  # what cannot be read stops nobody
            assert producer.flush(30) == 0
            settle(fleet, config, "alarms")
            worker.kill()
            worker.restart()
    assert [(a.meter, a.state) for a in alarms_of(config)] == [("m", "raised"), ("m", "cleared"), ("m", "raised")]
    assert records_of(config, names.dead_letters) == []


def test_thresholds_are_set_listed_imported_and_removed_on_the_command_line(pipeline, tmp_path):
    config = pipeline({"alarms": {"enabled": True}}, schema=False)
    file, sheet = tmp_path / "worker.json", tmp_path / "limits.csv"
    file.write_text(config.model_dump_json(by_alias=True, exclude_none=True))
    sheet.write_text("meter,metric,attribute,upper\nm2,WATER,FLOW,9\nm3,WATER,FLOW,8\n")

    def run(*args):
        done = CliRunner().invoke(cli, ["alarm", *args, "--config", str(file)])
        assert done.exit_code == 0, done.output
        return done.output

    def listed():
        rows = json.loads(run("list", "--json"))
        return {tuple(row[name] for name in ("meter", "metric", "attribute", "upper")) for row in rows}

    assert "no thresholds" in run("list")
    assert run("set", "*", "ELECTRICITY", "P", "--upper", "5", "--min-duration", "60") == (
        "set: * ELECTRICITY P upper 5, minDuration 60\n"
    )
    assert run("import", str(sheet)) == "set: 2\n"
    assert listed() == {
        ("*", "ELECTRICITY", "P", 5.0), ("m2", "WATER", "FLOW", 9.0), ("m3", "WATER", "FLOW", 8.0)
    }  # fmt: skip
    sheet.write_text("meter,metric,attribute,upper\nm2,WATER,FLOW,\n")
    assert run("import", str(sheet)) == "set: 0, removed: 1\n"
    run("rm", "*", "ELECTRICITY", "P")
    assert listed() == {("m3", "WATER", "FLOW", 8.0)}
    missing = CliRunner().invoke(cli, ["alarm", "rm", "m2", "WATER", "FLOW", "--config", str(file)])
    assert (missing.exit_code, "no threshold is set for m2 WATER FLOW" in missing.output) == (1, True)

    producer, home = new_producer(config.kafka), partition_of(b"m3", partitions_of(config))
    for number, value in enumerate((9.0, 3.0)):
        row = reading("m3", START + number * 1000, value, metricType="WATER", metricAttribute="FLOW")
        producer.produce(names_of(config.pipeline).readings, row, partition=home)
    assert producer.flush(30) == 0
    with fleet_of(config, tmp_path / "fleet") as fleet:
        fleet.start("alarms")
        settle(fleet, config, "alarms")
    told = [json.loads(line) for line in run("tail", "--from", "beginning", "--exit", "--json").splitlines()]
    assert [(row["state"], row["value"], row["limit"]) for row in told] == [("raised", 9.0, 8.0), ("cleared", 3.0, 8.0)]
    assert told == [json.loads(message.value()) for message in records_of(config, names_of(config.pipeline).alarms)]
    assert run("tail", "--from", "beginning", "--exit", "--kind", "UNDER") == ""
    assert len(run("tail", "--from", "beginning", "-n", "1").splitlines()) == 2
