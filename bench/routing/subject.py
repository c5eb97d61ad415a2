"""One run of the router over a loaded topic, in a process of its own. Prints one JSON line."""

from __future__ import annotations

from meterpipe.adapters import router
from meterpipe.core import routing
from meterpipe.spec.connections import WorkerConfig
from meterpipe.worker.telemetry import Silent

from bench.stage import Figures, main, work_through

PARTS = (
    (router, "frame_of", "frames"),
    (routing.Router, "send_on", "expressions and encoding"),
    (router.Router, "_process", "messages"),
)


def run(config: WorkerConfig) -> Figures:
    """Route the whole topic; the figures."""
    return work_through(
        config,
        lambda: router.Router(config, Silent()),
        PARTS,
        lambda worker: {"readings": sum(owned.raw for owned in worker._owned.values())},
    )


if __name__ == "__main__":
    main(run, __doc__)
