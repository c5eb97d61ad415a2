"""Where in a topic to begin, as a user writes it."""

import re
import time
from typing import Any

import click

from meterpipe.adapters.topic_reader import Edge, Newest, Since, Start
from meterpipe.cli.options import Instant

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
EXAMPLES = "beginning, end, -100 (the newest 100 of each partition), 15m (ago: s, m, h, d), or a time"


def parse_start(text: str, now_ms: int) -> Start | None:
    """The start `text` names, `15m` being that long before `now_ms`; None if it must be a time."""
    if text in (Edge.BEGINNING.value, Edge.END.value):
        return Edge(text)
    if found := re.fullmatch(r"-(\d{1,9})", text):
        return Newest(int(found[1]))
    if found := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return Since(now_ms - int(found[1]) * UNITS[found[2]] * 1000)
    return None


class Beginning(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """A start: see EXAMPLES. Times are those at which Kafka took a message, not those of readings."""

    name = "start"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Start:
        """Raises the usual usage error."""
        if isinstance(value, Edge | Newest | Since):
            return value
        if found := parse_start(value, int(time.time() * 1000)):
            return found
        try:
            return Since(Instant().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"{value!r} is no start: give {EXAMPLES}", param, ctx)
