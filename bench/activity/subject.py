"""One run of the activity worker over a loaded topic, in a process of its own. Prints one JSON line."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from meterpipe.adapters import activity, transaction
from meterpipe.cli.main import WithoutPandas
from meterpipe.core import json_codec, windows
from meterpipe.core.codecs import Decoder
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.frame import settle_memory
from meterpipe.worker.telemetry import Silent

from bench.engine.subject import Consumer, timed
from bench.engine.workload import ends


def run(config: WorkerConfig) -> dict[str, Any]:
    """Work through the whole topic; the figures."""
    spent: dict[str, float] = defaultdict(float)
    timed(json_codec.JsonDecoder, "decode", "decode", spent)
    timed(Decoder, "decode", "keys", spent)
    timed(windows.Windows, "add", "windows", spent)
    timed(windows.Windows, "close", "windows", spent)
    timed(activity, "newest", "newest readings", spent)
    timed(activity.ActivityStore, "hear", "Redis", spent)
    timed(activity.ActivityStore, "count", "Redis", spent)
    timed(activity.Activity, "_process", "messages", spent)
    for name in ("produce", "deliver", "commit", "poll"):
        timed(transaction.Transactions, name, "produce", spent)
    wanted = ends(config.kafka, names_of(config.pipeline).readings)
    worker = activity.Activity(config, Silent())
    worker._consumer = Consumer(worker._consumer, spent)
    while not worker._owned:
        worker.step()
    settle_memory()
    spent.clear()
    wall, cpu, main = time.monotonic(), time.process_time(), time.thread_time()
    while any(worker._owned[p].state.next_offset < end or worker._owned[p].touched for p, end in wanted.items()):
        worker.step()
    cpu, wall, main = time.process_time() - cpu, time.monotonic() - wall, time.thread_time() - main
    raw = sum(owned.state.balance.raw for owned in worker._owned.values())
    worker.close()
    spent.pop("_inside", None)
    spent["rest of the loop"] = main - sum(spent.values())
    spent["client threads"] = cpu - main
    return {
        "readings": raw,
        "readings_per_cpu_second": round(raw / cpu),
        "cpu_seconds": round(cpu, 2),
        "wall_seconds": round(wall, 2),
        "spent_ns_per_reading": {part: round(seconds / raw * 1e9) for part, seconds in sorted(spent.items())},
    }


if __name__ == "__main__":
    sys.meta_path.insert(0, WithoutPandas())  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="WorkerConfig as JSON")
    options = parser.parse_args()
    print(json.dumps(run(WorkerConfig.model_validate_json(options.config.read_bytes()))), flush=True)
