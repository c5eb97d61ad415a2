"""One SQL question to readings, wherever they come from: which, and what of them. Pure."""

from dataclasses import dataclass

import polars as pl

from meterpipe.spec.expressions import COLUMNS, Want, expression_problem, parse


class BadExpressionError(ValueError):
    """An expression that cannot be asked, and why."""


@dataclass(frozen=True, slots=True)
class Query:
    """Readings for which `where` is true, within a span of event time (UTC ms, `until` excluded); `select` of them."""

    where: str | None = None
    select: str | None = None
    since: int | None = None
    until: int | None = None

    def __post_init__(self) -> None:
        """Raise BadExpressionError for what cannot be asked."""
        for what, text, want in [
            ("", self.where, Want.CONDITION),
            *(("--select ", text, Want.VALUE) for text in split(self.select or "")),
        ]:
            if text is not None and (problem := expression_problem(text, want)):
                raise BadExpressionError(f"{what}{text!r}: {problem}")

    @property
    def columns(self) -> list[str]:
        """Names of what is selected."""
        return [expression.meta.output_name() for expression in self._expressions()]

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """What of the readings is asked for, in their order; the frame has COLUMNS. May raise PolarsError."""
        conditions = [parse(self.where)] if self.where is not None else []
        if self.since is not None:
            conditions.append(pl.col("ts") >= _at(self.since))
        if self.until is not None:
            conditions.append(pl.col("ts") < _at(self.until))
        for condition in conditions:
            frame = frame.filter(condition)
        return frame.select(self._expressions())

    def _expressions(self) -> list[pl.Expr]:
        return [parse(text) for text in split(self.select or "")] or [pl.col(name) for name in COLUMNS]


def split(text: str) -> list[str]:
    """A list of expressions, cut at the commas that stand in no brackets and no quotes."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "([":
            depth += 1
        elif sign in ")]":
            depth -= 1
        elif sign == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]


def _at(ms: int) -> pl.Expr:
    return pl.lit(ms).cast(pl.Datetime("ms"))
