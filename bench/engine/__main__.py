"""Engine benchmark: readings per CPU-second of the aggregator process, exactly once, four windows.

    python -m bench.engine                              # everything, with both peers: about half an hour
    python -m bench.engine --readings 1000000 --runs 1 --no-peers

Results are checked against the oracle in the first run of each setting. Ratios are between figures of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from meterpipe.adapters.kafka import new_admin
from meterpipe.adapters.topics import ensure_topics
from meterpipe.datasets.oracle import Rules, differences, expect, log_of
from meterpipe.datasets.publish import Format
from meterpipe.local.paths import DataDir
from meterpipe.local.services import up
from meterpipe.spec.connections import KafkaConnection, WorkerConfig
from meterpipe.spec.names import names_of
from rich.console import Console
from rich.table import Table

from bench.engine.limit import WAYS
from bench.engine.results import read_results
from bench.engine.workload import GRACE_S, PARTITIONS, Workload, load
from bench.peers.flush import ensure_flushed
from bench.peers.oracle import expected_windows
from bench.peers.run import PEERS, run_peer
from bench.peers.verify import meter_name, verify_results

WINDOWS = (60, 600, 3600, 86400)
console = Console(width=130)


@dataclass(frozen=True)
class Setting:
    """One way to run the aggregator, and what it has to reach."""

    form: Format
    output: str
    duplicates: str
    target: int = 0  # readings per CPU-second
    ratios: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.form.value} in, {self.output} out, duplicates: {self.duplicates}"


SETTINGS = [
    Setting(Format.JSON, "json", "count", ratios=(("flink", 2.5), ("kafka-streams", 7.0))),
    Setting(Format.JSON, "columns", "count", 900_000),
    Setting(Format.ENVELOPE, "columns", "count", 3_000_000),
    Setting(Format.JSON, "json", "drop", ratios=(("flink", 2.0), ("kafka-streams", 5.6))),
    Setting(Format.JSON, "columns", "drop", 720_000),
    Setting(Format.ENVELOPE, "columns", "drop", 2_400_000),
]


def config_of(kafka: KafkaConnection, topic: str, setting: Setting) -> WorkerConfig:
    """A pipeline of its own that reads `topic`."""
    spec: dict[str, Any] = {
        "kafka": {"topics": {"readings": {"name": topic, "partitions": PARTITIONS}}},
        "readings": {"key": "trusted"},  # the peers' flush readings sit in partitions of their own choice
        "aggregator": {"output": setting.output, "duplicates": setting.duplicates, "grace": GRACE_S},
    }
    resource = {
        "apiVersion": "meterpipe.io/v1alpha1",
        "kind": "MeterPipeline",
        "metadata": {"name": f"bench-{uuid.uuid4().hex[:8]}"},
        "spec": spec,
    }
    return WorkerConfig.model_validate({"pipeline": resource, "kafka": kafka})


def run_ours(
    kafka: KafkaConnection, topic: str, setting: Setting, expected: dict[int, pa.Table] | None
) -> dict[str, Any]:
    """One run; compares the results with `expected` if given."""
    config = config_of(kafka, topic, setting)
    ensure_topics(config)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(config.model_dump_json(by_alias=True))
        file.flush()
        command = [sys.executable, "-m", "bench.engine.subject", file.name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    names = names_of(config.pipeline)
    if expected is not None:
        figures["differences"] = []
        for window in WINDOWS:
            got = read_results(kafka, names.aggregates(window))
            figures["differences"] += [f"{window} s: {d}" for d in differences(expected[window], got, exact_sums=True)]
    admin = new_admin(kafka)
    ours = [t for t in admin.list_topics(timeout=10).topics if t.startswith(names.prefix)]
    for gone in admin.delete_topics(ours).values():
        gone.result(30)
    return figures


def run_limit(kafka: KafkaConnection, topic: str, way: str) -> dict[str, Any]:
    """What reading the topic costs without doing anything with it."""
    command = [sys.executable, "-m", "bench.engine.limit", kafka.bootstrap_servers, topic, way]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=1800)
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    console.log(f"client alone, {way}: {figures['readings_per_cpu_second']:,.0f} messages per CPU-second")
    return figures


def measure(kafka: KafkaConnection, workload: Workload, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All settings, then the peers; a dict a row of the table."""
    columns = workload.columns()
    log = log_of(workload.batches(columns), PARTITIONS)
    for setting in SETTINGS:
        if options.only and options.only not in setting.name:
            continue
        topic = load(kafka, workload, setting.form)
        ensure_flushed(kafka.bootstrap_servers, topic) if setting.form is Format.JSON else None
        rules = Rules(WINDOWS, GRACE_S, drop_duplicates=setting.duplicates == "drop")
        runs = []
        for number in range(options.runs):
            expected = expect(log, rules).windows if number == 0 and not options.no_check else None
            runs.append(run_ours(kafka, topic, setting, expected))
            console.log(f"{setting.name}: {runs[-1]['readings_per_cpu_second']:,.0f} readings per CPU-second")
        yield summary(setting.name, runs) | {"setting": setting, "differences": runs[0].get("differences")}
    topic = load(kafka, workload, Format.JSON)
    for way in WAYS:
        runs = [run_limit(kafka, topic, way) for _ in range(options.runs)]
        yield summary(f"limit: the client alone, {way}, nothing decoded", runs) | {"differences": None}
    if not options.peers:
        return
    warmup = load(kafka, Workload(min(workload.readings, 2_000_000), workload.meters, seed=2), Format.JSON)
    number, ts, value = columns
    meters = pa.array([meter_name(f"m{n:06d}", "ELECTRICITY", "ACTIVE_POWER") for n in range(workload.meters)])
    arguments = (meters.take(pa.array(number)).to_numpy(zero_copy_only=False), workload.partitions()[number], ts, value)
    for peer in options.peers:
        runs = []
        for number_of_run in range(options.runs):
            prefix = f"peer-{peer}-{uuid.uuid4().hex[:8]}"
            result = run_peer(peer, kafka.bootstrap_servers, topic, warmup, prefix, workload.readings)
            row = vars(result) | {}
            if number_of_run == 0 and not options.no_check:
                least = expected_windows(*arguments, lateness="smallest")
                most = expected_windows(*arguments, lateness="none")
                verified = verify_results(kafka.bootstrap_servers, prefix, least, most)
                row["differences"] = [] if verified.ok else [str(verified)]
            runs.append(row)
            console.log(f"{peer}: {result.readings_per_cpu_second:,.0f} readings per CPU-second")
        yield summary(peer, runs) | {"peer": peer, "differences": runs[0].get("differences")}


def summary(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median run."""
    middle = statistics.median_low([run["readings_per_cpu_second"] for run in runs])
    return next(run for run in runs if run["readings_per_cpu_second"] == middle) | {"name": name}


def report(rows: list[dict[str, Any]], workload: Workload) -> bool:
    """Print the tables; whether all that was asked for was reached and right."""
    peers = {row["peer"]: row["readings_per_cpu_second"] for row in rows if "peer" in row}
    table = Table(
        title=f"{workload.readings:,} readings, {workload.meters:,} meters, windows {WINDOWS} s, exactly once"
    )
    for column in ("system", "readings per CPU-s", "wall s", *(f"x {peer}" for peer in peers), "asked", "results"):
        table.add_column(column, justify="left" if column == "system" else "right")
    good = True
    for row in rows:
        speed, setting = row["readings_per_cpu_second"], row.get("setting")
        asked = []
        if setting and setting.target:
            asked.append((f">= {setting.target:,}", speed >= setting.target))
        for peer, ratio in setting.ratios if setting else ():
            if peer in peers:
                asked.append((f">= {ratio} x {peer}", speed >= ratio * peers[peer]))
        wrong = row["differences"]
        good = good and not wrong and all(reached for _, reached in asked)
        table.add_row(
            row["name"],
            f"{speed:,.0f}",
            f"{row['wall_seconds']:.1f}",
            *(f"{speed / peers[peer]:.1f}" for peer in peers),
            ", ".join(f"{text} {'yes' if reached else 'NO'}" for text, reached in asked),
            "not checked" if wrong is None else "WRONG" if wrong else "as recomputed",
        )
        for line in wrong or ():
            console.print(f"[red]{row['name']}: {line}")
    console.print(table)
    if shares := {row["name"]: row["spent_ns_per_reading"] for row in rows if "spent_ns_per_reading" in row}:
        console.print(spent_table(shares))
    return good


def spent_table(shares: dict[str, dict[str, float]]) -> Table:
    """CPU ns a reading, a row a part (the largest first) and a column a setting."""
    total = Counter[str]()
    for spent in shares.values():
        total.update(spent)
    table = Table(title="where the time goes: CPU ns a reading", show_footer=True)
    table.add_column("part", "all")
    for name, spent in shares.items():
        table.add_column(name, f"{sum(spent.values()):,.0f}", justify="right")
    for part, _ in total.most_common():
        table.add_row(part, *(f"{spent.get(part, 0):,.0f}" for spent in shares.values()))
    return table


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=10_000_000)
    parser.add_argument("--meters", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()) / "meterpipe-bench")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=["kafka-streams", "flink"])
    parser.add_argument("--no-peers", action="store_const", const=[], dest="peers")
    parser.add_argument("--no-check", action="store_true", help="do not compare the results with the oracle")
    parser.add_argument("--only", help="only settings whose name has this in it")
    options = parser.parse_args()
    kafka = up(DataDir(options.dir), tethered=True, only=["kafka"]).kafka
    console.log(f"load average {os.getloadavg()}, {os.cpu_count()} cores")
    workload = Workload(options.readings, options.meters)
    rows = list(measure(kafka, workload, options))
    return 0 if report(rows, workload) else 1


if __name__ == "__main__":
    sys.exit(main())
