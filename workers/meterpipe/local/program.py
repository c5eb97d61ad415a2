"""What a service module hands to `services`: how to start it, and how to tell that it answers."""

from collections.abc import Callable
from dataclasses import dataclass

from meterpipe.local.process import Command


@dataclass(frozen=True, slots=True)
class Program:
    """One service, its files written, ready to be started. `answers` is quick and never raises."""

    command: Command
    answers: Callable[[], bool]

    @property
    def name(self) -> str:
        """Name of its log and pid file."""
        return self.command.name
