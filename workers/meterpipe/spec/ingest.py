"""What a pipeline says about taking readings in from gateways: over HTTP, and from an MQTT broker."""

import re
from typing import Annotated, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from meterpipe.spec import addresses
from meterpipe.spec.base import Model, Refusal, checked, refuse, rule, rules
from meterpipe.spec.kubernetes import Resources

PARTS = ("meter", "metric", "attribute")
_PART = re.compile(r"\{([^{}]*)\}")

_Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
_Host = Annotated[str, Field(min_length=1, max_length=253), checked(addresses.host_problem)]


def template_problem(text: str) -> str | None:
    """What is wrong with a topic template such as `meters/{meter}/{metric}/{attribute}`, None if nothing."""
    named: list[str] = []
    for level in text.split("/"):
        found = _PART.fullmatch(level)
        if found is None:
            if bad := next((sign for sign in "{}+#" if sign in level), None):
                return f"level {level!r} has a {bad!r}; a placeholder must be a level of its own"
            continue
        if found[1] not in PARTS:
            return f"{{{found[1]}}} is no placeholder; there are {', '.join(f'{{{part}}}' for part in PARTS)}"
        if found[1] in named:
            return f"{level} is there twice"
        named.append(found[1])
    return None if "meter" in named else "must have the level {meter}"


class Http(Model):
    """Where gateways post to."""

    port: int = Field(8090, ge=1, le=65535, description="Port of POST /v1/readings.")
    max_body: int = Field(
        8 * 1024 * 1024,
        ge=1024,
        le=256 * 1024 * 1024,
        description="Bytes of a request's body, as sent and as unpacked; more is refused with 413.",
    )


class Mqtt(Model):
    """The broker that gateways publish to. Meterpipe subscribes at QoS 1, all replicas share the messages."""

    host: _Host = Field(description="Host of the broker; it must speak MQTT 5.")
    port: int = Field(1883, ge=1, le=65535, description="Its port.")
    tls: bool = Field(False, description="Encrypt the connection.")
    secret_name: _Name | None = Field(
        None, description="Secret with username and password; with tls also ca.crt if the system does not trust it."
    )
    topic: Annotated[str, Field(min_length=1, max_length=1000), checked(template_problem)] = Field(
        "meters/{meter}/{metric}/{attribute}",
        description="Template of the topics. What it does not name must be in the payload.",
    )
    receive_maximum: int = Field(
        1000,
        ge=1,
        le=65535,
        description="Messages in flight that are not yet acknowledged. The broker's limit counts too.",
    )
    session_expiry: int = Field(
        86_400, ge=60, le=4_294_967_294, description="Seconds the broker keeps the session of a replica that is away."
    )


class GatewayGroup(Model):
    """Gateways that share a token."""

    name: _Name = Field(description="Name of the group; seen in logs and metrics.")
    secret_name: _Name = Field(
        description="Secret with the key `tokens`, one a line: an old and a new one may be valid together."
    )
    meter_prefixes: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        (), max_length=100, description="The group may send readings of meters that begin so. Empty: of all."
    )


class Ingest(Model):
    """Edge adapters: readings from gateways into the readings topic, acknowledged once Kafka has them."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.replicas == 0 || self.anonymous || self.groups.size() > 0",
                "give groups with tokens, or set anonymous: true to take readings from anyone",
                ".groups",
            ),
        )
    )

    replicas: int = Field(0, ge=0, le=1000, description="Number of worker processes; 0, the default, is none.")
    resources: Resources = Field(Resources(), description="CPU and memory of each pod.")
    http: Http = Field(Http(), description="Where gateways post to.")
    mqtt: Mqtt | None = Field(None, description="The broker that gateways publish to. Default: none.")
    groups: tuple[GatewayGroup, ...] = Field(
        (),
        max_length=100,
        description="Who may post. MQTT clients are the broker's to judge.",
        json_schema_extra=rules(
            rule("self.all(a, self.exists_one(b, a.name == b.name))", "two groups cannot have one name")
        ),
    )
    anonymous: bool = Field(False, description="Take readings without a token, from anyone who reaches the port.")
    linger_ms: int = Field(
        5, ge=0, le=1000, description="Milliseconds readings wait for others to share messages with."
    )
    ack_timeout: int = Field(
        30,
        ge=1,
        le=600,
        description="Seconds to wait for Kafka; then a request is answered with 503 and may be repeated.",
    )
    max_pending: int = Field(
        200_000,
        ge=1000,
        le=10_000_000,
        description="Readings taken in that Kafka has not confirmed; beyond that, requests are answered with 429.",
    )

    @field_validator("groups")
    @classmethod
    def _named_once(cls, groups: tuple[GatewayGroup, ...]) -> tuple[GatewayGroup, ...]:
        names = [group.name for group in groups]
        refuse(
            Refusal((i, "name"), name, "is the name of another group")
            for i, name in enumerate(names)
            if name in names[:i]
        )
        return groups

    @model_validator(mode="after")
    def _who_may_post(self) -> Self:
        if self.replicas and not self.anonymous and not self.groups:
            way_out = "must name at least one group with a token; or set anonymous: true to take readings from anyone"
            refuse([Refusal(("groups",), (), way_out)])
        return self
