"""Validation benchmark: readings per CPU-second of the validation process, exactly once, on a real Kafka.

    python -m bench.validation [--meters 2000] [--hours 4] [--form json|envelope|both] [--runs 2]

Minutely ACTIVE_POWER and SUMMATION of generated meters: registers that wrap, glitches, duplicates, revisions, gaps,
readings out of order. CPU is that of the whole process, the client's threads included, from the first reading to the
last commit. What passes and what is refused is compared with a recomputation in the first run (`--no-check`: not).
Exit code 1 if it differs or falls short of the target, 300 000.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from meterpipe.datasets.generator import Attribute, GeneratorSpec, generate
from meterpipe.datasets.profiles import load_tables
from meterpipe.datasets.publish import Format
from meterpipe.datasets.validation_oracle import Oracle, Reading
from meterpipe.local.paths import DataDir
from meterpipe.local.services import up
from meterpipe.spec.connections import KafkaConnection, WorkerConfig
from meterpipe.spec.names import names_of

from bench.stage import FORMS, Figures, config_of, figures_of, forms_of, load, values_of

TARGET = 300_000
COLUMNS = ("meter", "metric", "attribute", "ts", "value", "interval_s", "quality", "revision")
RATES = {
    "out_of_order_rate": 0.01,
    "duplicate_rate": 0.005,
    "revised_rate": 0.003,
    "gap_rate": 0.002,
    "glitch_rate": 0.002,
}


SPEC = {
    "validation": {
        "enabled": True,
        "plausibility": {"limits": [{"attribute": "ACTIVE_POWER", "max": 40}]},
        "missing": {"interval": 60},
        "registers": [{"maxPerHour": 60_000}],
    }
}


def batches_of(meters: int, hours: float) -> list[pa.RecordBatch]:
    attributes = (Attribute.ACTIVE_POWER, Attribute.SUMMATION)
    spec = GeneratorSpec(meters=meters, days=hours / 24, attributes=attributes, rollover=20_000.0, **RATES)
    return list(generate(spec, load_tables()))


def run(kafka: KafkaConnection, batches: list[pa.RecordBatch], form: Format, check: bool) -> Figures:
    config = config_of(SPEC, kafka=kafka)
    load(config, batches, form)
    figures = figures_of("bench.validation.subject", config)
    if check:
        figures["wrong"] = differences(config, batches)
    return figures


def differences(config: WorkerConfig, batches: list[pa.RecordBatch]) -> int:
    """Readings that passed or were refused and should not have been, or the other way round."""
    oracle = Oracle(config.pipeline.spec.validation)
    for batch in batches:
        columns = (batch.column(name).to_pylist() for name in COLUMNS)
        oracle.take_all(Reading(*row) for row in zip(*columns, strict=True))
    names = names_of(config.pipeline)
    passed = rows_of(config, names.valid, (*COLUMNS, "epoch"))
    refused = rows_of(config, names.quarantine, (*COLUMNS[:5], "rule"))
    wrong = 0
    for found, wanted in ((passed, map(tuple, oracle.passed)), (refused, map(tuple, oracle.refused))):
        ours, theirs = sorted(found, key=repr), sorted(wanted, key=repr)
        wrong += abs(len(ours) - len(theirs)) + sum(a != b for a, b in zip(ours, theirs, strict=False))
    return wrong


def rows_of(config: WorkerConfig, topic: str, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    tables = (pa.ipc.open_stream(value).read_all() for value in values_of(config, topic))
    return [row for t in tables for row in zip(*(t.column(name).to_pylist() for name in columns), strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meters", type=int, default=2000)
    parser.add_argument("--hours", type=float, default=4)
    parser.add_argument("--form", choices=FORMS, default="both")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--no-check", dest="check", action="store_false")
    parser.add_argument("--bootstrap", help="A Kafka that runs already. Default: one of our own.")
    options = parser.parse_args()
    batches, failed = batches_of(options.meters, options.hours), False
    with tempfile.TemporaryDirectory() as folder:
        if options.bootstrap:
            kafka = KafkaConnection(bootstrap_servers=options.bootstrap)
        else:
            kafka = up(DataDir(Path(folder)), tethered=True, only=["kafka"]).kafka
        forms = forms_of(options.form)
        for form in forms:
            for number in range(options.runs):
                began = time.monotonic()
                figures = run(kafka, batches, form, options.check and number == 0)
                print(form.value, json.dumps(figures | {"took": round(time.monotonic() - began, 1)}), flush=True)
                failed |= bool(figures.get("wrong")) or figures["readings_per_cpu_second"] < TARGET
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
