"""The validation on a real Kafka: what passes, what is refused and what is counted is what a recomputation says."""

import json
import random
import time
from collections import Counter

import pyarrow as pa
from meterpipe.adapters.kafka import new_producer
from meterpipe.core.control import decode_control
from meterpipe.core.murmur2 import partition_of
from meterpipe.core.validation.stage import Tally
from meterpipe.datasets.generator import Attribute
from meterpipe.datasets.oracle import Rules, expect
from meterpipe.datasets.validation_oracle import Oracle, Passed, Reading, Refused
from meterpipe.spec.names import names_of

from tests.integration.harness import (
    Source,
    assert_exact,
    counted,
    fleet_of,
    partitions_of,
    progress_of,
    reading,
    records_of,
    settle,
)

START = 1_704_067_200_000
MINUTE = 60_000
SPEC = {
    "validation": {
        "enabled": True,
        "plausibility": {"limits": [{"attribute": "ACTIVE_POWER", "max": 40}]},
        "missing": {"interval": 60},
        "registers": [{"maxPerHour": 60_000}],
    }
}
FAULTY = {"attributes": (Attribute.ACTIVE_POWER, Attribute.SUMMATION), "glitch_rate": 0.01, "rollover": 5000.0}


def envelopes_of(config, topic):
    """The rows of all envelopes of a topic, in order; partition and order of each; the control records."""
    tables, controls = [], []
    for at, message in enumerate(records_of(config, topic)):
        if control := decode_control(message.value()):
            controls.append((message.partition(), at, control.event_time))
            continue
        table = pa.ipc.open_stream(message.value()).read_all().unify_dictionaries()
        partition = pa.array([message.partition()] * len(table), pa.int32())
        tables.append(table.append_column("partition", partition))
    plain = [pa.table({n: decoded(t.column(n)) for n in t.schema.names}) for t in tables]
    return (pa.concat_tables(plain) if plain else None), controls


def decoded(column):
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def rows_of(table, names):
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True)) if table is not None else []


def judged(config):
    """What passed, and what was refused."""
    names = names_of(config.pipeline)
    valid, controls = envelopes_of(config, names.valid)
    refused, _ = envelopes_of(config, names.quarantine)
    passed = [Passed(*row) for row in rows_of(valid, VALID)]
    return passed, [Refused(*row) for row in rows_of(refused, REFUSED)], valid, controls


VALID = ("meter", "metric", "attribute", "ts", "value", "interval_s", "quality", "revision", "epoch")
REFUSED = ("meter", "metric", "attribute", "ts", "value", "rule")


def oracle_of(config, batches):
    """Partitions do not matter to channels: the readings in the order they were sent."""
    oracle = Oracle(config.pipeline.spec.validation)
    for batch in batches:
        columns = (decoded(batch.column(n)).to_pylist() for n in VALID[:-1])
        oracle.take_all(Reading(*row) for row in zip(*columns, strict=True))
    return oracle


def tally_of(config):
    newest = {m.partition(): m for m in records_of(config, names_of(config.pipeline).validation_balance)}
    total = Tally()
    for message in newest.values():
        told = json.loads(message.value())
        total += Tally(told["raw"], told["valid"], told["quarantined"], told["deadLetters"], told["held"],
                       told["consumption"])  # fmt: skip
    return total


def windows_of(config, valid):
    """What the aggregator must make of the valid topic."""
    aggregator = config.pipeline.spec.aggregator
    log = valid.drop_columns("epoch").append_column("order", pa.array(range(len(valid)), pa.int64()))
    return expect(log, Rules(aggregator.windows, aggregator.grace, True))


def assert_judged(config, source):
    """Nothing lost, nothing doubled, everything as the oracle says, and the windows are those of what passed."""
    passed, refused, valid, controls = judged(config)
    oracle = oracle_of(config, source.batches)
    assert Counter(passed) == Counter(oracle.passed)
    assert Counter(refused) == Counter(oracle.refused)
    assert {partition for partition, _, _ in controls} == set(range(partitions_of(config)))
    tally = tally_of(config)
    assert tally.missing == 0
    assert (tally.raw, tally.quarantined, tally.held) == (source.count, len(refused), oracle.waiting)
    assert tally.valid + tally.consumption == len(passed)
    assert_exact(config, windows_of(config, valid))
    return passed, refused


def test_what_passes_is_refused_and_counted_is_what_the_oracle_says(pipeline, tmp_path):
    config = pipeline(SPEC, schema=False)
    source = Source(config, meters=30, hours=4, **FAULTY)
    source.send()
    with fleet_of(config, tmp_path) as fleet:
        workers = [fleet.start("validation"), fleet.start("aggregator")]
        settle(fleet, config, "validation", "aggregator")
        fleet.wait_until(workers[0].ready, "ready")
        assert [fleet.discharge(worker) for worker in workers] == [0, 0]
    passed, refused = assert_judged(config, source)
    assert {"plausibility", "register", "duplicate"} <= {row.rule for row in refused}
    assert any(row.attribute == "CONSUMPTION" and row.value > 0 for row in passed)
    assert any(row.quality for row in passed)


def test_workers_killed_again_and_again_lose_and_double_nothing(pipeline, tmp_path):
    config, dice = pipeline(SPEC, schema=False), random.Random(1)
    source = Source(config, meters=30, hours=6, **FAULTY)
    with fleet_of(config, tmp_path) as fleet:
        workers = [fleet.start("validation", 1), fleet.start("validation", 2), fleet.start("aggregator")]
        with source.flowing(half=20), progress_of(config) as progress:
            fleet.wait_until(lambda: counted(progress), "the first commit")
            for victim in (0, 1, 0, 2):
                time.sleep(dice.uniform(1, 4))
                workers[victim].kill()
                fleet.wait_until(workers[victim].ready, "its successor has joined")
        settle(fleet, config, "validation", "aggregator")
    assert_judged(config, source)


def test_what_cannot_be_read_is_a_dead_letter_and_what_is_too_early_is_flagged(pipeline, tmp_path):
    config = pipeline(SPEC, schema=False)
    names, producer = names_of(config.pipeline), new_producer(config.kafka)
    home = partition_of(b"m", partitions_of(config))
    now = int(time.time() * 1000)
    for value in (b"{", reading("m", now + 200_000, 1.0), reading("m", now - 1000, -1.0)):
        producer.produce(names.readings, value, partition=home)
    assert producer.flush(30) == 0
    with fleet_of(config, tmp_path) as fleet:
        fleet.start("validation")
        settle(fleet, config, "validation")
    passed, refused, _, _ = judged(config)
    assert [(row.ts, row.quality) for row in passed] == [(now + 200_000, 2)]
    assert [(row.ts, row.rule) for row in refused] == [(now - 1000, "negative")]
    assert [m.value() for m in records_of(config, names.dead_letters)] == [b"{"]


def test_without_validation_nothing_of_it_exists(pipeline):
    config = pipeline(schema=False)
    names = names_of(config.pipeline)
    assert names.counted == names.readings
    topics = new_producer(config.kafka).list_topics(timeout=10).topics
    assert names.readings in topics
    assert not {names.valid, names.quarantine, names.validation_changelog} & topics.keys()
