"""One run of the activity worker over a loaded topic, in a process of its own. Prints one JSON line."""

from __future__ import annotations

from meterpipe.adapters import activity
from meterpipe.core import windows
from meterpipe.spec.connections import WorkerConfig
from meterpipe.worker.telemetry import Silent

from bench.stage import Figures, main, work_through

PARTS = (
    (windows.Windows, "add", "windows"),
    (windows.Windows, "close", "windows"),
    (activity, "newest", "newest readings"),
    (activity.ActivityStore, "hear", "Redis"),
    (activity.ActivityStore, "count", "Redis"),
    (activity.Activity, "_process", "messages"),
)


def run(config: WorkerConfig) -> Figures:
    """Work through the whole topic; the figures."""
    return work_through(
        config,
        lambda: activity.Activity(config, Silent()),
        PARTS,
        lambda worker: {"readings": sum(owned.state.balance.raw for owned in worker._owned.values())},
    )


if __name__ == "__main__":
    main(run, __doc__)
