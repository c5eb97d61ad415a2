"""One run of our aggregator over a loaded topic, in a process of its own. Prints one JSON line.

CPU is user + system time of the whole process (the client's threads included) from the first reading to the commit of
the last window; what the process spends on starting up is not the engine's and left out, as for the peers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meterpipe.adapters import aggregator, transaction
from meterpipe.cli.main import WithoutPandas
from meterpipe.core import aggregates, codecs, json_codec, json_scan, windows
from meterpipe.core.partition import Partition
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.frame import settle_memory
from meterpipe.worker.telemetry import Silent

from bench.engine.workload import ends


def timed(owner: Any, name: str, part: str, spent: dict[str, float]) -> None:
    """Have `owner.name` add its thread's CPU time to `spent[part]`, less that of timed parts within."""
    inner: Callable[..., Any] = getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        outer, spent["_inside"] = spent["_inside"], 0.0
        started = time.thread_time()
        try:
            return inner(*args, **kwargs)
        finally:
            took = time.thread_time() - started
            spent[part] += took - spent["_inside"]
            spent["_inside"] = outer + took

    setattr(owner, name, call)


def run(config: WorkerConfig) -> dict[str, Any]:
    """Aggregate the whole topic; the figures."""
    spent: dict[str, float] = defaultdict(float)
    timed(json_scan.Scanner, "scan", "scan", spent)
    timed(json_codec.JsonDecoder, "_decode_piece", "decode", spent)
    timed(codecs, "decode_envelope", "decode", spent)
    timed(codecs, "_intern_rest", "keys", spent)
    timed(codecs, "_intern_envelope", "keys", spent)
    timed(windows.Windows, "add", "merge", spent)
    timed(Partition, "take", "rest of take", spent)
    timed(aggregator.Aggregator, "_process", "messages", spent)
    timed(Partition, "close", "close", spent)
    timed(Partition, "records", "changelog", spent)
    timed(aggregates, "_pieces", "encode", spent)
    timed(aggregates, "_texts_of", "encode", spent)
    for name in ("produce", "produce_all", "deliver", "commit", "poll"):
        timed(transaction.Transactions, name, "produce", spent)

    topic = names_of(config.pipeline).readings
    wanted = ends(config.kafka, topic)
    worker = aggregator.Aggregator(config, Silent())
    timed(worker._receiver, "take", "consume", spent)
    while not worker._owned:
        worker.step()
    settle_memory()
    spent.clear()
    wall, cpu, main = time.monotonic(), time.process_time(), time.thread_time()
    while any(worker._owned[p].state.next_offset < end or worker._owned[p].touched for p, end in wanted.items()):
        worker.step()
    cpu, wall, main = time.process_time() - cpu, time.monotonic() - wall, time.thread_time() - main
    balances = [owned.state.mark.balance for owned in worker._owned.values()]
    worker.close()
    spent.pop("_inside", None)
    spent["rest of the loop"] = main - sum(spent.values())
    spent["client threads"] = cpu - main
    raw = sum(b.raw for b in balances)
    return {
        "readings": raw,
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "readings_per_cpu_second": raw / cpu,
        "late": sum(b.late for b in balances),
        "spent_ns_per_reading": {part: seconds / raw * 1e9 for part, seconds in spent.items()},
    }


if __name__ == "__main__":
    sys.meta_path.insert(0, WithoutPandas())  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="WorkerConfig as JSON")
    options = parser.parse_args()
    print(json.dumps(run(WorkerConfig.model_validate_json(options.config.read_bytes()))), flush=True)
