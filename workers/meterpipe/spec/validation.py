"""What a pipeline says about the validation of readings on their way to the windows (VEE, the stream's part)."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, field_validator

from meterpipe.spec.base import Model, Refusal, refuse, rule, rules
from meterpipe.spec.kubernetes import Resources

_Word = Annotated[str, Field(min_length=1, max_length=100)]
_Amount = Annotated[float, Field(gt=0, le=1e15)]


class Action(StrEnum):
    """What becomes of a reading that breaks a rule."""

    OFF = "off"
    FLAG = "flag"
    QUARANTINE = "quarantine"


_FLAG = Literal[Action.OFF, Action.FLAG]
_REFUSE = Literal[Action.OFF, Action.QUARANTINE]
_WHAT = "off, flag (a bit of its quality is set), or quarantine (it is refused)."


class Negative(Model):
    """Values below zero."""

    action: Action = Field(Action.QUARANTINE, description=_WHAT)
    allowed: tuple[_Word, ...] = Field(
        ("REACTIVE_POWER",), max_length=32, description="Attributes that may be negative."
    )


class Limit(Model):
    """What is physically possible for one attribute."""

    attribute: _Word = Field(description="Attribute, such as ACTIVE_POWER.")
    metric: _Word | None = Field(None, description="Only of this metric. Default: of any.")
    max: _Amount = Field(description="The largest plausible value, either sign.")
    per: Literal["reading", "hour"] = Field(
        "reading", description="hour: of a reading that covers an hour; one without an interval is not judged."
    )


class Plausibility(Model):
    """Values beyond what is physically possible."""

    action: Action = Field(Action.QUARANTINE, description=_WHAT)
    limits: tuple[Limit, ...] = Field((), max_length=64, description="What is possible; the first that fits counts.")


class ClockSkew(Model):
    """Readings from the future, within readings.maxAhead (those beyond are dead letters)."""

    action: Action = Field(Action.FLAG, description=_WHAT)
    seconds: int = Field(60, ge=0, le=86_400, description="How far a reading may be ahead of its Kafka record.")


class IntervalSize(Model):
    """Readings that cover another span than agreed."""

    action: Action = Field(Action.FLAG, description=_WHAT)
    seconds: tuple[Annotated[int, Field(ge=0, le=86_400)], ...] = Field(
        (), max_length=16, description="Agreed spans; 0 is an instant. None given: nothing is judged."
    )


class Duplicate(Model):
    """A reading that is there already: same channel, same instant, same value."""

    action: _REFUSE = Field(Action.QUARANTINE, description="off or quarantine.")


class Conflict(Model):
    """A reading of an instant that is there already, with another value, which the winner rule turns down."""

    action: _REFUSE = Field(Action.QUARANTINE, description="off or quarantine.")


class Missing(Model):
    """The first reading after a gap."""

    action: _FLAG = Field(Action.FLAG, description="off or flag (POWER_DOWN: time before it is not covered).")
    interval: int | None = Field(
        None, ge=1, le=86_400, description="Seconds between two readings. Default: what the reading covers."
    )
    after: float = Field(1.5, ge=1, le=1e6, description="Intervals without a reading that make a gap.")


class Spike(Model):
    """A value far above those before it; of registers nothing is judged."""

    action: _FLAG = Field(Action.FLAG, description="off or flag.")
    factor: float = Field(10.0, gt=1, le=1e9, description="Times the largest of the three values before it.")
    floor: float = Field(1.0, ge=0, le=1e15, description="No value up to this is a spike.")


class Flatline(Model):
    """The same value, not zero, again and again; of registers nothing is judged."""

    action: _FLAG = Field(Action.FLAG, description="off or flag.")
    readings: int = Field(12, ge=2, le=1_000_000, description="From so many equal readings on they are flagged.")


class Register(Model):
    """A counter that only grows: its readings are turned into consumption."""

    attribute: _Word = Field("SUMMATION", description="Attribute of the counter's readings.")
    metric: _Word | None = Field(None, description="Only of this metric. Default: of any.")
    consumption: _Word = Field("CONSUMPTION", description="Attribute of the readings made of its differences.")
    wraps_at: _Amount = Field(838_860.7, description="Value at which the counter begins again at 0.")
    max_per_hour: _Amount = Field(100_000.0, description="The most it can grow in an hour.")
    exchange_after: int = Field(
        3, ge=2, le=100, description="Consecutive readings that go on from one another that make a new meter."
    )


class Validation(Model):
    """Readings are judged before they are counted: good ones go on, suspicious ones are flagged, others are refused."""

    enabled: bool = Field(False, description="Whether readings pass the validation on their way to the windows.")
    replicas: int = Field(1, ge=0, le=1000, description="Number of worker processes; 0 stops the worker.")
    resources: Resources = Field(Resources(), description="CPU and memory of each pod.")
    remember: int = Field(
        3600, ge=0, le=86_400, description="Seconds of event time back from a channel's newest reading that duplicates"
        " and conflicts are known for."
    )  # fmt: skip
    negative: Negative = Field(Negative(), description="Values below zero.")
    plausibility: Plausibility = Field(Plausibility(), description="Values beyond what is possible.")
    clock_skew: ClockSkew = Field(ClockSkew(), description="Readings from the future.")
    interval_size: IntervalSize = Field(IntervalSize(), description="Readings of another span than agreed.")
    duplicate: Duplicate = Field(Duplicate(), description="Readings that are there already.")
    conflict: Conflict = Field(Conflict(), description="Readings that another one of their instant beats.")
    missing: Missing = Field(Missing(), description="Readings after a gap.")
    spike: Spike = Field(Spike(), description="Values far above those before.")
    flatline: Flatline = Field(Flatline(), description="The same value again and again.")
    registers: tuple[Register, ...] = Field(
        (Register(),),
        max_length=32,
        description="Counters. None: their readings are passed on like others.",
        json_schema_extra=rules(
            rule("self.all(r, r.attribute != r.consumption)", "a register and its consumption need two names")
        ),
    )

    @field_validator("registers")
    @classmethod
    def _two_names(cls, registers: tuple[Register, ...]) -> tuple[Register, ...]:
        refuse(
            Refusal((i, "consumption"), one.consumption, "is the attribute of the register itself")
            for i, one in enumerate(registers)
            if one.attribute == one.consumption
        )
        return registers
