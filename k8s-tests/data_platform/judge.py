"""Waits until every reading sent is through all workers, then compares the stores with a recomputation. In a pod.

Arguments: the WorkerConfig, the file of households, their number, from and until (UTC ms), seconds to wait at most.
Prints one JSON object; `problems` is empty if all is as it must be.
"""

import json
import sys
import time
from pathlib import Path

from confluent_kafka import KafkaException
from meterpipe.adapters.progress import Progress
from meterpipe.core.balance import Balance
from meterpipe.datasets.households import Selection, replay
from meterpipe.datasets.loaded import ReadOptions
from meterpipe.datasets.london import read_london
from meterpipe.local.verdict import judge
from meterpipe.spec.connections import WorkerConfig

KINDS = ("aggregator", "sink", "archiver")
FEW = 500  # offsets that are read one by one


def through(progress: Progress, readings: int) -> Balance | str:
    """The balance once everything is committed and closed, else what is still going on."""
    try:
        lag = {kind: progress.lag(kind) for kind in KINDS}
        if max(lag.values()) <= FEW:
            lag = {kind: progress.remaining(kind) for kind in KINDS}
        balance = progress.balance()
    except KafkaException as error:
        return str(error)
    if any(lag.values()) or balance.open or balance.raw < readings:
        return f"lag {lag}, {balance.raw} of {readings} readings in, {balance.open} in open windows"
    return balance


def main(file: str, households: str, count: str, since: str, until: str, patience: str) -> None:
    """Wait, compare, print."""
    config = WorkerConfig.model_validate_json(Path(file).read_bytes())
    base = read_london(Path(households), ReadOptions()).households
    batches = list(replay(base, Selection(int(count), since=int(since), until=int(until))))
    readings = sum(map(len, batches))
    progress = Progress(config)
    end = time.monotonic() + float(patience)
    while isinstance(found := through(progress, readings), str):
        if time.monotonic() > end:
            print(json.dumps({"problems": [f"not through within {patience} s: {found}"]}))
            return
        time.sleep(0.5)
    verdict = judge(config, batches, found)
    more = [f"{found.raw} readings were counted, {readings} were sent"] if found.raw != readings else []
    windows = {check.size: check.rows for check in verdict.windows}
    print(json.dumps({"problems": verdict.problems + more, "readings": readings, "windows": windows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
