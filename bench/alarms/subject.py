"""One run of the alarms worker over a loaded topic, in a process of its own. Prints one JSON line."""

from __future__ import annotations

from meterpipe.adapters import alarms
from meterpipe.core.alarms import stage, state
from meterpipe.spec.connections import WorkerConfig
from meterpipe.worker.telemetry import Memory, Metric

from bench.stage import Figures, main, work_through

PARTS = (
    (stage.Stage, "_chain", "order"),
    (stage.Stage, "_pass", "watermark"),
    (stage, "judge_bounds", "bounds"),
    (stage, "judge_shapes", "shapes"),
    (stage, "judge_nights", "nights"),
    (stage, "hear", "silence"),
    (stage.Stage, "take", "rest of take"),
    (state.AlarmPartition, "records", "changelog"),
    (alarms.Alarms, "_tell_alarms", "events"),
    (alarms.Alarms, "_process", "messages"),
    (alarms.Alarms, "_heed_thresholds", "thresholds"),
)


def run(config: WorkerConfig) -> Figures:
    """Judge the whole topic; the figures."""
    telemetry = Memory()

    def told(worker: alarms.Alarms) -> Figures:
        thresholds = sum(len(owned.state.stage.limits.table) for owned in worker._owned.values())
        return {"readings": int(telemetry.value(Metric.READINGS)), "thresholds": thresholds}

    return work_through(config, lambda: alarms.Alarms(config, telemetry), PARTS, told)


if __name__ == "__main__":
    main(run, __doc__)
