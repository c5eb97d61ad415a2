"""What a pipeline says about sending readings on to other topics."""

from pydantic import Field, field_validator

from meterpipe.spec.base import Model, Refusal, refuse, rule, rules
from meterpipe.spec.kubernetes import Resources


class Route(Model):
    """One topic that gets some of the readings."""

    name: str = Field(
        min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", description="Name of the route."
    )


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
