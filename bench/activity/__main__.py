"""Activity benchmark: readings per CPU-second of the activity worker's process, on a real Kafka and Redis.

    python -m bench.activity [--meters 5000] [--hours 4] [--form json|envelope|both] [--runs 2]

CPU is that of the whole process, the clients' threads included, from the first reading to the last commit. What Redis
knows is compared with a recomputation in the first run. Exit code 1 if it differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
from meterpipe.adapters.activity_store import ActivityStore
from meterpipe.core.murmur2 import partition_of
from meterpipe.datasets.activity_oracle import ActivityOracle, Reading
from meterpipe.datasets.generator import GeneratorSpec, generate
from meterpipe.datasets.profiles import load_tables
from meterpipe.datasets.publish import Format, end_of_day
from meterpipe.local.paths import DataDir
from meterpipe.local.services import Connections, up
from meterpipe.spec.connections import WorkerConfig

from bench.stage import FORMS, PARTITIONS, Figures, config_of, figures_of, forms_of, load

SPEC = {"activity": {"enabled": True, "uplinks": {"keep": 7 * 86_400}}}


def run(services: Connections, batches: list[pa.RecordBatch], form: Format, check: bool) -> Figures:
    config = config_of(SPEC, kafka=services.kafka, redis=services.redis)
    load(config, batches, form, end_of_day(max(int(b.column("ts").to_numpy().max()) for b in batches), 180))
    figures = figures_of("bench.activity.subject", config)
    return figures | ({"wrong": differences(config, batches)} if check else {})


def differences(config: WorkerConfig, batches: list[pa.RecordBatch]) -> int:
    """Meters of which Redis knows other things than the recomputation."""
    oracle, store = ActivityOracle(300_000, 180_000), ActivityStore(config)
    for batch in batches:
        columns = [batch.column(name).to_pylist() for name in ("meter", "metric", "attribute", "ts", "value")]
        rows = zip(*columns, strict=True)
        oracle.take_all(Reading(partition_of(row[0].encode(), PARTITIONS), *row) for row in rows)
    uplinks: dict[str, list[tuple[int, int]]] = {}
    for (meter, start), count in sorted(oracle.uplinks.items()):
        uplinks.setdefault(meter, []).append((start, count))
    heard = dict(store.newest(store.size()))
    wrong = len(heard.keys() ^ oracle.heard.keys())
    wrong += sum(heard.get(meter) != ts or store.uplinks(meter) != uplinks[meter] for meter, ts in oracle.heard.items())
    store.close()
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meters", type=int, default=5000)
    parser.add_argument("--hours", type=float, default=4)
    parser.add_argument("--form", choices=FORMS, default="both")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    rates = {"out_of_order_rate": 0.01, "duplicate_rate": 0.005, "gap_rate": 0.002, "late_rate": 0.001}
    spec = GeneratorSpec(meters=options.meters, days=options.hours / 24, **rates)
    batches, failed = list(generate(spec, load_tables())), False
    with tempfile.TemporaryDirectory() as folder:
        services = up(DataDir(Path(folder)), tethered=True, only=["kafka", "redis"])
        forms = forms_of(options.form)
        for form in forms:
            for number in range(options.runs):
                began = time.monotonic()
                figures = run(services, batches, form, check=number == 0)
                print(form.value, json.dumps(figures | {"took": round(time.monotonic() - began, 1)}), flush=True)
                failed |= bool(figures.get("wrong"))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
