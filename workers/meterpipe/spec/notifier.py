"""What a pipeline says about who is told of alarms: the table of open ones, a webhook, and the HTTP API."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from meterpipe.spec import addresses
from meterpipe.spec.base import Model, Refusal, checked, refuse, rule, rules
from meterpipe.spec.kubernetes import Resources

_Secret = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class AlarmKind(StrEnum):
    """What an alarm is about."""

    OVER = "OVER"
    UNDER = "UNDER"
    FLATLINE = "FLATLINE"
    SPIKE = "SPIKE"
    REVERSE_FLOW = "REVERSE_FLOW"
    NIGHT_LEAK = "NIGHT_LEAK"
    SILENCE = "SILENCE"


class Webhook(Model):
    """Who is told of each alarm by an HTTP request: a CloudEvent, signed as Standard Webhooks are."""

    url: Annotated[
        str,
        Field(max_length=2000, pattern=r"^https?://"),
        checked(lambda text: addresses.url_problem(text, query=True)),
    ] = Field(description="Where alarms are posted to, http or https. Redirects are not followed.")
    secret_name: _Secret = Field(
        description="Secret with key `key`: what requests are signed with, one secret a line, best as whsec_ and"
        " base64; with several, each signs. Optional: token (sent as a bearer token), ca.crt (to trust the receiver)."
    )
    timeout: int = Field(10, ge=1, le=300, description="Seconds to wait for an answer; then the request is repeated.")
    give_up_after: int = Field(
        86_400,
        ge=1,
        le=30 * 86_400,
        description="Seconds after which an alarm that is still not taken becomes a dead letter. It is tried at least"
        " once.",
    )
    max_in_flight: int = Field(
        16, ge=1, le=256, description="Requests of one worker process under way at once, each of another meter."
    )
    kinds: tuple[AlarmKind, ...] = Field(
        (),
        max_length=len(AlarmKind),
        description="Kinds of alarms that are posted; none: all.",
        json_schema_extra=rules(rule("self.all(a, self.exists_one(b, a == b))", "a kind cannot be listed twice")),
    )

    @field_validator("kinds")
    @classmethod
    def _listed_once(cls, kinds: tuple[AlarmKind, ...]) -> tuple[AlarmKind, ...]:
        refuse(Refusal((i,), one, "is listed twice") for i, one in enumerate(kinds) if one in kinds[:i])
        return kinds


class Api(Model):
    """HTTP API: thresholds to read and change, and open alarms."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!self.enabled || self.anonymous || has(self.secretName)",
                "give secretName with tokens, or set anonymous: true to let anyone in",
                ".secretName",
            )
        )
    )

    enabled: bool = Field(False, description="Whether the notifier answers HTTP requests.")
    port: int = Field(8091, ge=1, le=65535, description="Port of the API.")
    secret_name: _Secret | None = Field(
        None, description="Secret with the key `tokens`, bearer tokens one a line: an old and a new one may be valid."
    )
    anonymous: bool = Field(False, description="Let anyone who reaches the port read and change thresholds.")

    @model_validator(mode="after")
    def _who_may_ask(self) -> Self:
        if self.enabled and not self.anonymous and self.secret_name is None:
            way_out = "is required: a Secret with tokens; or set anonymous: true to let anyone in"
            refuse([Refusal(("secretName",), None, way_out)])
        return self


class Notifier(Model):
    """Who is told of alarms: the table of open alarms in Cassandra, a webhook, and who asks by HTTP."""

    replicas: int = Field(1, ge=0, le=1000, description="Number of worker processes; 0 stops the worker.")
    resources: Resources = Field(Resources(), description="CPU and memory of each pod.")
    open_alarms: bool = Field(
        True, description="Whether Cassandra holds a table of the alarms that are open. false: no Cassandra is needed."
    )
    webhook: Webhook | None = Field(None, description="Who is told of each alarm by HTTP. Default: nobody.")
    api: Api = Field(Api(), description="HTTP API of thresholds and open alarms.")
