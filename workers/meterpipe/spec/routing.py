"""What a pipeline says about sending readings on to other topics."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from meterpipe.spec import addresses
from meterpipe.spec.base import Model, Refusal, checked, refuse, rule, rules
from meterpipe.spec.expressions import MAX_LENGTH, Want, expression_problem
from meterpipe.spec.kubernetes import Resources

_Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
_TopicName = Annotated[
    str, Field(min_length=1, max_length=249, pattern=r"^[a-zA-Z0-9._-]+$"), checked(addresses.topic_problem)
]


_Condition = Annotated[
    str,
    Field(min_length=1, max_length=MAX_LENGTH),
    checked(lambda text: expression_problem(text, Want.CONDITION)),
]
_Value = Annotated[
    str, Field(min_length=1, max_length=MAX_LENGTH), checked(lambda text: expression_problem(text, Want.VALUE))
]


class RouteFormat(StrEnum):
    """Form of the messages of a route."""

    JSON = "json"
    ENVELOPE = "envelope"


class Route(Model):
    """One topic that gets some of the readings."""

    name: _Name = Field(description="Name of the route.")
    where: _Condition | None = Field(
        None, description="SQL expression: the readings for which it is true are sent on. Default: all."
    )
    select: dict[str, _Value] = Field(
        {},
        max_length=64,
        description="Fields of a message: SQL expressions by name. Default: the reading as it is.",
    )
    key: _Value | None = Field(
        None, description="SQL expression of the messages' key, which decides the partition. Default: the meter."
    )
    format: RouteFormat = Field(
        RouteFormat.JSON,
        description="json: a message a reading. envelope: many readings a message, without select and key.",
    )
    topic: _TopicName | None = Field(
        None, description="An existing topic to use. Default: <namespace>-<pipeline>-route-<name>."
    )

    @model_validator(mode="after")
    def _fits_its_format(self) -> Self:
        found = []
        if self.format is RouteFormat.ENVELOPE:
            reason = (
                "an envelope holds whole readings in the partition of their meters; use format json, or take it out"
            )
            if self.select:
                found.append(Refusal(("select",), dict(self.select), reason))
            if self.key is not None:
                found.append(Refusal(("key",), self.key, reason))
        refuse(found)
        return self


class Routing(Model):
    """Readings sent on to other topics: filtered, projected, with another key, in another format."""

    replicas: int = Field(1, ge=0, le=1000, description="Number of worker processes; 0 stops the worker.")
    resources: Resources = Field(Resources(), description="CPU and memory of each pod.")
    routes: tuple[Route, ...] = Field(
        (),
        max_length=64,
        description="The routes; none: there is no worker.",
        json_schema_extra=rules(
            rule("self.all(a, self.exists_one(b, a.name == b.name))", "two routes cannot have one name")
        ),
    )

    @field_validator("routes")
    @classmethod
    def _named_once(cls, routes: tuple[Route, ...]) -> tuple[Route, ...]:
        names = [route.name for route in routes]
        refuse(
            Refusal((i, "name"), name, "is the name of another route")
            for i, name in enumerate(names)
            if name in names[:i]
        )
        return routes
