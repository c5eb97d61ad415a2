"""Alarms benchmark: readings per CPU-second of the alarms process, exactly once, on a real Kafka.

    python -m bench.alarms [--meters 4000] [--hours 4] [--form json|envelope|both] [--rules thresholds|all|both]

Minutely ACTIVE_POWER of generated meters, a threshold of its own for each such that about 1 % of the readings are
above. `thresholds`: only these; `all`: every other rule besides. CPU is that of the whole process, the client's threads
included, from the first reading to the last commit. The alarms are compared with a recomputation in the first run
(`--no-check`: not). Exit code 1 if they differ or if envelopes with thresholds fall short of the target, 500 000.

    python -m bench.alarms --memory 1000000

prints the bytes that a table of so many thresholds takes, and how long it takes to read them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from meterpipe.adapters.thresholds import ThresholdWriter
from meterpipe.adapters.topics import ensure_topics
from meterpipe.core.alarms.events import decode_alarm
from meterpipe.core.alarms.thresholds import (
    Threshold,
    ThresholdTable,
    decode_threshold,
    decode_threshold_key,
    encode_threshold,
    encode_threshold_key,
)
from meterpipe.core.readings import Key
from meterpipe.datasets.alarms_oracle import Bound, Oracle, Reading
from meterpipe.datasets.generator import GeneratorSpec, generate
from meterpipe.datasets.oracle import log_of
from meterpipe.datasets.profiles import load_tables
from meterpipe.datasets.publish import Format
from meterpipe.local.paths import DataDir
from meterpipe.local.services import up
from meterpipe.spec.connections import KafkaConnection, WorkerConfig
from meterpipe.spec.names import names_of

from bench.stage import FORMS, PARTITIONS, Figures, config_of, figures_of, forms_of, load, values_of

TARGET = 500_000
COLUMNS = ("meter", "metric", "attribute", "ts", "value", "interval_s")
RATES = {"out_of_order_rate": 0.01, "duplicate_rate": 0.005, "gap_rate": 0.01}
OTHERS = {
    "flatline": {"enabled": True, "readings": 3},
    "spike": {"enabled": True, "factor": 4, "floor": 0.5},
    "reverseFlow": {"enabled": True},
    "nightLeak": {"enabled": True, "metrics": ["ELECTRICITY"], "timezone": "Europe/London"},
    "silence": {"enabled": True, "interval": 60, "intervals": 1.5},
}


def thresholds_of(batches: list[pa.RecordBatch]) -> dict[Key, Threshold]:
    """Of each meter the value that 1 % of its readings are above."""
    table = pa.Table.from_batches([batch.select(["meter", "value"]) for batch in batches])
    meters = table.column("meter").cast(pa.string()).combine_chunks().dictionary_encode()
    codes, values = meters.indices.to_numpy(), table.column("value").to_numpy()
    order = np.lexsort((values, codes))
    counts = np.bincount(codes)
    at = np.cumsum(counts) - 1 - counts // 100
    bounds = values[order][at]
    return {
        (meter, "ELECTRICITY", "ACTIVE_POWER"): Threshold(upper=float(bound), hysteresis=0.1)
        for meter, bound in zip(meters.dictionary.to_pylist(), bounds, strict=True)
    }


def run(kafka: KafkaConnection, batches: list[pa.RecordBatch], form: Format, rules: str, check: bool) -> Figures:
    spec = {"alarms": {"enabled": True} | (OTHERS if rules == "all" else {})}
    config, table = config_of(spec, kafka=kafka), thresholds_of(batches)
    ensure_topics(config)
    ThresholdWriter(config).write(table.items())
    load(config, batches, form)
    figures = figures_of("bench.alarms.subject", config)
    found = alarms_of(config)
    figures["events"] = len(found)
    if check:
        figures["wrong"], figures["above"] = differences(config, batches, table, found)
    return figures


Fact = tuple[str, str, str, int, float | None, float | None]


def differences(
    config: WorkerConfig, batches: list[pa.RecordBatch], table: dict[Key, Threshold], found: list[Fact]
) -> tuple[int, float]:
    """Alarms that should not be there or are missing; the share of readings above their threshold."""
    bounds = {key: Bound(upper=t.upper, hysteresis=t.hysteresis or 0) for key, t in table.items()}
    log = log_of(batches, PARTITIONS)
    spec = config.pipeline.spec
    oracles = [Oracle(spec.alarms, spec.aggregator.grace, bounds) for _ in range(PARTITIONS)]
    columns = [log.column(name).to_pylist() for name in (*COLUMNS, "partition")]
    above = 0
    for *row, partition in zip(*columns, strict=True):
        above += row[4] > (bounds[tuple(row[:3])].upper or 0)
        oracles[partition].take(Reading(*row))
    wanted = [(e.kind, e.state, e.meter, e.at, e.value, e.limit) for oracle in oracles for e in oracle.events]
    ours, theirs = sorted(found, key=repr), sorted(wanted, key=repr)
    wrong = abs(len(ours) - len(theirs)) + sum(a != b for a, b in zip(ours, theirs, strict=False))
    return wrong, round(above / len(log), 4)


def alarms_of(config: WorkerConfig) -> list[Fact]:
    found: list[Fact] = []
    for alarm in map(decode_alarm, values_of(config, names_of(config.pipeline).alarms)):
        at = int(np.datetime64(alarm.at[:-1], "ms").astype(np.int64))
        found.append((alarm.kind.value, alarm.state.value, alarm.meter, at, alarm.value, alarm.limit))
    return found


def memory(count: int) -> dict[str, Any]:
    """What a table of so many thresholds takes, each for a channel of its own."""
    value = encode_threshold(Threshold(lower=0.0, upper=5.0))
    names = [encode_threshold_key((f"household-{n:08d}", "ELECTRICITY", "ACTIVE_POWER")) for n in range(count)]
    began = time.process_time()
    table = fill(names, value)
    seconds = time.process_time() - began
    del table
    tracemalloc.start()
    table = fill(names, value)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"thresholds": len(table), "bytes_each": round(taken / count), "seconds": round(seconds, 2)}


def fill(names: list[bytes], value: bytes) -> ThresholdTable:
    table = ThresholdTable()
    for offset, name in enumerate(names):
        table.put(decode_threshold_key(name), decode_threshold(value), offset)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meters", type=int, default=4000)
    parser.add_argument("--hours", type=float, default=4)
    parser.add_argument("--form", choices=FORMS, default="both")
    parser.add_argument("--rules", choices=["thresholds", "all", "both"], default="both")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--no-check", dest="check", action="store_false")
    parser.add_argument("--bootstrap", help="A Kafka that runs already. Default: one of our own.")
    parser.add_argument("--memory", type=int, metavar="THRESHOLDS", help="Only measure the table of thresholds.")
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(memory(options.memory)))
        return 0
    spec = GeneratorSpec(meters=options.meters, days=options.hours / 24, **RATES)
    batches, failed = list(generate(spec, load_tables())), False
    with tempfile.TemporaryDirectory() as folder:
        if options.bootstrap:
            kafka = KafkaConnection(bootstrap_servers=options.bootstrap)
        else:
            kafka = up(DataDir(Path(folder)), tethered=True, only=["kafka"]).kafka
        forms = forms_of(options.form)
        chosen = ["thresholds", "all"] if options.rules == "both" else [options.rules]
        for form, rules in ((form, rules) for form in forms for rules in chosen):
            for number in range(options.runs):
                figures = run(kafka, batches, form, rules, options.check and number == 0)
                print(form.value, rules, json.dumps(figures), flush=True)
                short = figures["readings_per_cpu_second"] < TARGET
                failed |= bool(figures.get("wrong")) or (short and (form, rules) == (Format.ENVELOPE, "thresholds"))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
