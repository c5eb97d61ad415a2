"""One run of the validation over a loaded topic, in a process of its own. Prints one JSON line."""

from __future__ import annotations

from meterpipe.adapters import validation
from meterpipe.core.validation import memory, stage, state
from meterpipe.spec.connections import WorkerConfig
from meterpipe.worker.telemetry import Silent

from bench.stage import Figures, main, work_through

PARTS = (
    (memory.Memory, "settle", "duplicates"),
    (stage, "judge_series", "series"),
    (stage, "settle", "registers"),
    (stage, "running_newest", "order"),
    (stage.Judge, "judge", "rest of judging"),
    (stage.Stage, "take", "rest of take"),
    (state.ValidationPartition, "records", "changelog"),
    (validation.Validation, "_pass", "encode"),
    (validation.Validation, "_refuse", "encode"),
    (validation.Validation, "_process", "messages"),
)


def run(config: WorkerConfig) -> Figures:
    """Judge the whole topic; the figures."""
    return work_through(config, lambda: validation.Validation(config, Silent()), PARTS, told)


def told(worker: validation.Validation) -> Figures:
    """What became of the readings."""
    tallies = [owned.state.tally for owned in worker._owned.values()]
    return {
        "readings": sum(tally.raw for tally in tallies),
        "quarantined": sum(tally.quarantined for tally in tallies),
        "consumption": sum(tally.consumption for tally in tallies),
        "missing": sum(tally.missing for tally in tallies),
    }


if __name__ == "__main__":
    main(run, __doc__)
