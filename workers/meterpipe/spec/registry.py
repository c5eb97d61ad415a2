"""What a pipeline says about the schema registry of Avro readings."""

from typing import Annotated, Literal

from pydantic import Field

from meterpipe.spec import addresses
from meterpipe.spec.base import Model, checked

_Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
_Url = Annotated[str, Field(max_length=2000, pattern=r"^https?://"), checked(addresses.url_problem)]


class RegistryAuth(Model):
    """How the registry knows its clients."""

    mechanism: Literal["basic", "bearer"] = Field(
        "basic", description="HTTP Basic with username and password, or a bearer token."
    )
    secret_name: _Name = Field(description="Secret with username and password, or token; ca.crt to trust the server.")


class Registry(Model):
    """The schema registry of Avro readings, by Confluent's REST API."""

    url: _Url | None = Field(
        None, description="Address, with the path if there is one. Default: an embedded one on a laptop."
    )
    auth: RegistryAuth | None = Field(None, description="Client authentication. Default: none.")
    reader_schema: int | None = Field(
        None,
        ge=1,
        le=2**31 - 1,
        description="Id of the schema to read all messages as: its aliases and defaults then hold for older ones."
        " Unset: fields are found by name, or by an alias in the schema a message was written with.",
    )
