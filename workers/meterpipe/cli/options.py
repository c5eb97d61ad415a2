"""Options and kinds of values that several commands share."""

from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Any

import click

from meterpipe.cli.times import EPOCH, EXAMPLES, parse_time

Command = Callable[..., None]
Decorator = Callable[[Command], Command]


def options(*each: Decorator) -> Decorator:
    """Several click options as one decorator."""

    def decorate(command: Command) -> Command:
        for option in reversed(each):
            command = option(command)
        return command

    return decorate


class Instant(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """An instant: RFC 3339, a date (its first moment) or epoch milliseconds; UTC where no zone is given."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """UTC ms. Raises the usual usage error."""
        if isinstance(value, int):
            return value
        try:
            found = parse_time(value)
        except ValueError:
            self.fail(f"{value!r} is no time: give {EXAMPLES}", param, ctx)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        return (found - EPOCH) // timedelta(milliseconds=1)
