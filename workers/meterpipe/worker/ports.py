"""The ports of the worker loop."""

from typing import Protocol


class Worker(Protocol):
    """One worker: the loop calls `step` until it is told to stop, then `close`.

    A step consumes a batch, processes it, makes the results durable and commits what is due; an exception out of it
    ends the process (a bug, or a world that does not heal by retrying), and the next process takes over.
    """

    kind: str

    def step(self) -> int:
        """Do one round, waiting at most about 100 ms for input. Gives back the number of messages taken in.

        The loop counts them (Metric.RECORDS) and the seconds the round took (Metric.BUSY) less those spent within
        `telemetry.waiting`; the worker itself counts everything else.
        """

    def close(self) -> None:
        """Finish and commit what is in hand, leave the consumer group, release everything."""

    def ready(self) -> bool:
        """Whether the worker's services answer and it has (or waits for) its partitions.

        Asked between two steps, in the same thread, about once a second: it says what is known, it does not wait.
        """
