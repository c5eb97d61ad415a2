"""Compares routes, alarms and activity with recomputations. In a pod; the readings are through the aggregator already.

Arguments: the WorkerConfig, the file of households, their number, from and until (UTC ms), seconds to wait at most.
Prints one JSON object; `problems` is empty if all is as it must be.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from meterpipe.adapters.activity_store import ActivityStore
from meterpipe.adapters.progress import Progress
from meterpipe.adapters.topic_reader import Edge, TopicReader
from meterpipe.core.alarms.events import decode_alarm
from meterpipe.core.alarms.thresholds import Threshold
from meterpipe.datasets.activity_oracle import ActivityOracle
from meterpipe.datasets.activity_oracle import Reading as Heard
from meterpipe.datasets.alarms_oracle import Bound, Oracle, Reading
from meterpipe.datasets.households import Selection, replay
from meterpipe.datasets.loaded import ReadOptions
from meterpipe.datasets.london import read_london
from meterpipe.datasets.oracle import log_of
from meterpipe.datasets.publish import end_of_day
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of

KINDS = ("router", "alarms", "notifier", "activity")
COLUMNS = ("meter", "metric", "attribute", "ts", "value", "interval_s", "partition")
LIMIT = 0.4  # of the route and the threshold, kWh in half an hour


def values_of(config: WorkerConfig, topic: str) -> list[bytes]:
    """The values of all committed records of a topic."""
    reader = TopicReader(config.kafka, names_of(config.pipeline).group("console"))
    places = reader.places([topic])
    batches = reader.read(reader.offsets(places, Edge.BEGINNING), reader.ends(places))
    values = [message.value() or b"" for messages in batches for message in messages]
    reader.close()
    return values


def rows_of(config: WorkerConfig, households: str, count: str, since: str, until: str) -> list[tuple[Any, ...]]:
    """What was sent, in the order of each partition's log."""
    base = read_london(Path(households), ReadOptions()).households
    batches = replay(base, Selection(int(count), since=int(since), until=int(until)))
    log = log_of(batches, config.pipeline.spec.kafka.topics.readings.partitions)
    columns = (log.column(name) for name in COLUMNS)
    plain = (c.cast(pa.string()) if pa.types.is_dictionary(c.type) else c for c in columns)
    return list(zip(*(column.to_pylist() for column in plain), strict=True))


def expected_alarms(config: WorkerConfig, rows: list[tuple[Any, ...]]) -> Counter[Any]:
    """(state, kind, meter) of all alarms."""
    spec, found = config.pipeline.spec, Counter[Any]()
    bound = {("*", "*", "*"): Bound(upper=LIMIT)}
    end = end_of_day(max(row[3] for row in rows), spec.aggregator.grace)
    for partition in range(spec.kafka.topics.readings.partitions):
        oracle = Oracle(spec.alarms, spec.aggregator.grace, bound)
        oracle.take_all(Reading(*row[:6]) for row in rows if row[6] == partition)
        oracle.reach(end)
        found.update((event.state, event.kind, event.meter) for event in oracle.events)
    return found


def differences(config: WorkerConfig, rows: list[tuple[Any, ...]]) -> dict[str, str]:
    """What is not as it must be, by what it is."""
    names, problems = names_of(config.pipeline), dict[str, str]()
    routed = Counter(json.loads(value)["meter"] for value in values_of(config, names.route("high")))
    if routed != (wanted := Counter(row[0] for row in rows if row[4] > LIMIT)):
        problems["route"] = f"{routed.total()} readings, {wanted.total()} are right"
    alarms = map(decode_alarm, values_of(config, names.alarms))
    found = Counter((alarm.state.value, alarm.kind.value, alarm.meter) for alarm in alarms)
    if found != (expected := expected_alarms(config, rows)):
        problems["alarms"] = f"too many {found - expected}, too few {expected - found}"
    oracle, store = ActivityOracle(300_000, 180_000), ActivityStore(config)
    oracle.take_all(Heard(row[6], *row[:5]) for row in rows)
    counts = {(meter, start): n for meter in oracle.heard for start, n in store.uplinks(meter)}
    if dict(store.newest(1000)) != oracle.heard or counts != oracle.uplinks:
        problems["activity"] = f"{len(counts)} windows, {len(oracle.uplinks)} are right"
    store.close()
    return problems


def wait(done: Callable[[], bool], seconds: float) -> None:
    """Until it is so, or the time is over."""
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.5)


def main(file: str, households: str, count: str, since: str, until: str, patience: str) -> None:
    """Wait, compare, print."""
    config = WorkerConfig.model_validate_json(Path(file).read_bytes())
    progress = Progress(config)
    wait(lambda: all(progress.remaining(kind) == 0 for kind in KINDS), float(patience))
    rows = rows_of(config, households, count, since, until)
    found = differences(config, rows)
    figures = {"readings": len(rows), "alarms": expected_alarms(config, rows).total()}
    print(json.dumps({"problems": [f"{what}: {how}" for what, how in found.items()], **figures}))


if __name__ == "__main__":
    if sys.argv[1] == "threshold":
        from meterpipe.adapters.thresholds import ThresholdWriter

        asked = WorkerConfig.model_validate_json(Path(sys.argv[2]).read_bytes())
        print(ThresholdWriter(asked).write([(("*", "*", "*"), Threshold(upper=LIMIT))]))
    else:
        main(*sys.argv[1:])
