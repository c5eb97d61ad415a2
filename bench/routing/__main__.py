"""Routing benchmark: readings per CPU-second of the router's process, exactly once, on a real Kafka.

    python -m bench.routing [--meters 5000] [--hours 4] [--form json|envelope|both] [--runs 2]

Three routes: a few readings projected and keyed anew (JSON), a tenth of the meters (envelopes), every hundredth meter
whole (JSON). CPU is that of the whole process, the client's threads included, from first reading to last commit.
What is routed is compared with a recomputation in the first run. Exit code 1 if it differs, or envelopes fall short of
the target, 500 000.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
from meterpipe.datasets.generator import GeneratorSpec, generate
from meterpipe.datasets.profiles import load_tables
from meterpipe.datasets.publish import Format
from meterpipe.local.paths import DataDir
from meterpipe.local.services import up
from meterpipe.spec.connections import KafkaConnection, WorkerConfig
from meterpipe.spec.names import names_of

from bench.stage import FORMS, Figures, config_of, figures_of, forms_of, load, values_of

TARGET = 500_000
ROUTES = [
    {
        "name": "high",
        "where": "value > 0.8 AND attribute = 'ACTIVE_POWER'",
        "select": {"id": "meter", "at": "ts", "watts": "value * 1000"},
        "key": "metric",
    },
    {"name": "tenth", "where": "right(meter, 1) = '7'", "format": "envelope"},
    {"name": "hundredth", "where": "right(meter, 2) = '42'"},
]


def run(kafka: KafkaConnection, batches: list[pa.RecordBatch], form: Format, check: bool) -> Figures:
    config = config_of({"routing": {"routes": ROUTES}}, kafka=kafka)
    load(config, batches, form)
    figures = figures_of("bench.routing.subject", config)
    if check:
        wanted, found = expected(batches), routed(config)
        figures["routed"] = {route: sum(rows.values()) for route, rows in found.items()}
        figures["wrong"] = sum(((wanted[r] - found[r]) + (found[r] - wanted[r])).total() for r in wanted)
    return figures


def expected(batches: list[pa.RecordBatch]) -> dict[str, Counter[Any]]:
    found: dict[str, Counter[Any]] = {str(route["name"]): Counter() for route in ROUTES}
    for batch in batches:
        columns = (batch.column(name).to_pylist() for name in ("meter", "ts", "value"))
        for meter, ts, value in zip(*columns, strict=True):
            if value > 0.8:
                found["high"][meter, value * 1000] += 1
            if meter[-1] == "7":
                found["tenth"][meter, ts, value] += 1
            if meter[-2:] == "42":
                found["hundredth"][meter, value] += 1
    return found


def routed(config: WorkerConfig) -> dict[str, Counter[Any]]:
    names = names_of(config.pipeline)
    high = Counter((row["id"], row["watts"]) for row in map(json.loads, values_of(config, names.route("high"))))
    whole = map(json.loads, values_of(config, names.route("hundredth")))
    tables = (pa.ipc.open_stream(value).read_all() for value in values_of(config, names.route("tenth")))
    tenth = (
        row
        for table in tables
        for row in zip(*(table.column(c).to_pylist() for c in ("meter", "ts", "value")), strict=True)
    )
    return {
        "high": high,
        "tenth": Counter(tenth),
        "hundredth": Counter((row["gateway"], row["value"]) for row in whole),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meters", type=int, default=5000)
    parser.add_argument("--hours", type=float, default=4)
    parser.add_argument("--form", choices=FORMS, default="both")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--bootstrap", help="A Kafka that runs already. Default: one of our own.")
    options = parser.parse_args()
    rates = {"out_of_order_rate": 0.01, "duplicate_rate": 0.005, "gap_rate": 0.002}
    spec = GeneratorSpec(meters=options.meters, days=options.hours / 24, **rates)
    batches, failed = list(generate(spec, load_tables())), False
    with tempfile.TemporaryDirectory() as folder:
        if options.bootstrap:
            kafka = KafkaConnection(bootstrap_servers=options.bootstrap)
        else:
            kafka = up(DataDir(Path(folder)), tethered=True, only=["kafka"]).kafka
        forms = forms_of(options.form)
        for form in forms:
            for number in range(options.runs):
                began = time.monotonic()
                figures = run(kafka, batches, form, check=number == 0)
                print(form.value, json.dumps(figures | {"took": round(time.monotonic() - began, 1)}), flush=True)
                slow = form is Format.ENVELOPE and figures["readings_per_cpu_second"] < TARGET
                failed |= bool(figures.get("wrong")) or slow
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
