"""One run of the alarms worker over a loaded topic, in a process of its own. Prints one JSON line."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from meterpipe.adapters import alarms, transaction
from meterpipe.cli.main import WithoutPandas
from meterpipe.core import json_codec
from meterpipe.core.alarms import stage, state
from meterpipe.core.codecs import Decoder
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.frame import settle_memory
from meterpipe.worker.telemetry import Memory, Metric

from bench.engine.subject import Consumer, timed
from bench.engine.workload import ends


def run(config: WorkerConfig) -> dict[str, Any]:
    """Judge the whole topic; the figures."""
    spent: dict[str, float] = defaultdict(float)
    timed(json_codec.JsonDecoder, "decode", "decode", spent)
    timed(Decoder, "decode", "keys", spent)
    timed(stage.Stage, "_chain", "order", spent)
    timed(stage.Stage, "_pass", "watermark", spent)
    timed(stage, "judge_bounds", "bounds", spent)
    timed(stage, "judge_shapes", "shapes", spent)
    timed(stage, "judge_nights", "nights", spent)
    timed(stage, "hear", "silence", spent)
    timed(stage.Stage, "take", "rest of take", spent)
    timed(state.AlarmPartition, "records", "changelog", spent)
    timed(alarms.Alarms, "_tell_alarms", "events", spent)
    timed(alarms.Alarms, "_process", "messages", spent)
    timed(alarms.Alarms, "_heed_thresholds", "thresholds", spent)
    for name in ("produce", "deliver", "commit", "poll"):
        timed(transaction.Transactions, name, "produce", spent)
    wanted, told = ends(config.kafka, names_of(config.pipeline).readings), Memory()
    worker = alarms.Alarms(config, told)
    worker._consumer = Consumer(worker._consumer, spent)
    while not worker._owned:
        worker.step()
    settle_memory()
    spent.clear()
    wall, cpu, main = time.monotonic(), time.process_time(), time.thread_time()
    while any(worker._owned[p].state.next_offset < end or worker._owned[p].touched for p, end in wanted.items()):
        worker.step()
    cpu, wall, main = time.process_time() - cpu, time.monotonic() - wall, time.thread_time() - main
    thresholds = sum(len(owned.state.stage.limits.table) for owned in worker._owned.values())
    worker.close()
    spent.pop("_inside", None)
    spent["rest of the loop"] = main - sum(spent.values())
    spent["client threads"] = cpu - main
    raw = told.value(Metric.READINGS)
    return {
        "readings": int(raw),
        "readings_per_cpu_second": round(raw / cpu),
        "cpu_seconds": round(cpu, 2),
        "wall_seconds": round(wall, 2),
        "thresholds": thresholds,
        "spent_ns_per_reading": {part: round(seconds / raw * 1e9) for part, seconds in sorted(spent.items())},
    }


if __name__ == "__main__":
    sys.meta_path.insert(0, WithoutPandas())  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="WorkerConfig as JSON")
    options = parser.parse_args()
    print(json.dumps(run(WorkerConfig.model_validate_json(options.config.read_bytes()))), flush=True)
