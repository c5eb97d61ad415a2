"""The base of every model of the specification, and how its rules are stated: once in Python, once in CEL."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

RULES = "x-kubernetes-validations"


class Model(BaseModel):
    """Frozen, closed (an unknown field is an error) and camelCase outside, snake_case inside."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, use_enum_values=False
    )


class Refusal(NamedTuple):
    """One thing wrong: where (below the model or field that looks), with what, and why."""

    at: tuple[str | int, ...]
    value: object
    reason: str


def refuse(refusals: Iterable[Refusal]) -> None:
    """Raise if there is any refusal. For validators: each error names its exact field and none hides another."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("rule", "{reason}", {"reason": refusal.reason}),
            loc=refusal.at,
            input=refusal.value,
        )
        for refusal in refusals
    ]
    if details:
        raise ValidationError.from_exception_data("rule", details)


def checked(problem: Callable[[str], str | None]) -> AfterValidator:
    """A check of a text that has no twin in the schema. `problem` says what is wrong with it, None if nothing."""

    def check(text: str) -> str:
        found = problem(text)
        refuse([Refusal((), text, found)] if found else [])
        return text

    return AfterValidator(check)


def rule(cel: str, message: str, field_path: str | None = None) -> dict[str, Any]:
    """A CEL rule for the API server: the twin of a validator in Python. `self` is what it is attached to."""
    return {"rule": cel, "message": message} | ({"fieldPath": field_path} if field_path else {})


def rules(*stated: dict[str, Any]) -> dict[str, Any]:
    """The `json_schema_extra` that attaches rules to a field or model."""
    return {RULES: list(stated)}
