"""How commands fail: on standard error, with the way out, and with an exit code scripts can rely on.

click.ClickException
├── Failed        exit 1: the input was fine, the world was not
└── BadInput      exit 2: usage, specification or file is wrong; trying again changes nothing
"""

import click

OK = 0
FAILED = 1
BAD_INPUT = 2


class Failed(click.ClickException):
    """The command could not do its work. `way_out` tells what to do about it."""

    exit_code = FAILED

    def __init__(self, problem: str, way_out: str | None = None) -> None:
        super().__init__(problem)
        self.way_out = way_out

    def format_message(self) -> str:
        """The problem and, on a line of its own, the way out."""
        return f"{self.message}\n  -> {self.way_out}" if self.way_out else self.message

    def __str__(self) -> str:
        return self.format_message()


class BadInput(Failed):
    """What the user gave is wrong: name the field or file, the value and the way out."""

    exit_code = BAD_INPUT
