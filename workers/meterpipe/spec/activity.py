"""What a pipeline says about the activity of meters: when each was heard last, and how often."""

from typing import Annotated

from pydantic import Field, field_validator

from meterpipe.spec import addresses
from meterpipe.spec.base import Model, Refusal, checked, refuse, rule, rules
from meterpipe.spec.kubernetes import Resources

DAY = 86_400

_Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
_Host = Annotated[str, Field(min_length=1, max_length=253), checked(addresses.host_problem)]


class Redis(Model):
    """A Redis or Valkey server."""

    host: _Host | None = Field(None, description="Host. Default: an embedded one on a laptop.")
    port: int = Field(6379, ge=1, le=65535, description="Its port.")
    db: int = Field(0, ge=0, le=1_000_000, description="Number of the database.")
    tls: bool = Field(False, description="Encrypt the connection.")
    secret_name: _Name | None = Field(
        None,
        description="Secret with password, and username if there is one; with tls also ca.crt to trust the server.",
    )
    prefix: str | None = Field(
        None, min_length=1, max_length=200, description="What keys begin with. Default: <namespace>-<pipeline>."
    )


class Uplinks(Model):
    """How many readings each meter sent, by tumbling UTC windows of event time."""

    window: Annotated[int, Field(ge=1, le=DAY)] = Field(
        300,
        description="Seconds of a window; it divides a day.",
        json_schema_extra=rules(rule("86400 % self == 0", "window must divide a day (86400 s)")),
    )
    grace: int = Field(180, ge=0, le=7 * DAY, description="Seconds a window waits for readings out of order.")
    keep: int = Field(
        DAY, ge=1, le=366 * DAY, description="Seconds of event time back from a meter's newest window that Redis keeps."
    )

    @field_validator("window")
    @classmethod
    def _divides_a_day(cls, window: int) -> int:
        refuse([Refusal((), window, "must divide a day (86400 s)")] if DAY % window else [])
        return window


class Activity(Model):
    """When each meter was heard last, and how many readings it sent: kept in Redis or Valkey."""

    enabled: bool = Field(False, description="Whether the activity of meters is tracked.")
    replicas: int = Field(1, ge=0, le=1000, description="Number of worker processes; 0 stops the worker.")
    resources: Resources = Field(Resources(), description="CPU and memory of each pod.")
    redis: Redis = Field(Redis(), description="Where it is kept.")
    uplinks: Uplinks = Field(Uplinks(), description="Counting readings.")
    forget: int = Field(
        90 * DAY,
        ge=0,
        le=3660 * DAY,
        description="Seconds without a reading after which a meter is forgotten; 0: never.",
    )
