"""What a pipeline says about alarms: the rules that raise and clear them, and who is told."""

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import Field

from meterpipe.spec.base import Model, checked
from meterpipe.spec.kubernetes import Resources
from meterpipe.spec.notifier import Notifier

_Word = Annotated[str, Field(min_length=1, max_length=100)]


def _unknown_zone(name: str) -> str | None:
    return None if name in available_timezones() else "is no time zone; give one such as Europe/Paris"


class Rule(Model):
    """What all rules of alarms have in common."""

    enabled: bool = Field(False, description="Whether readings are judged by this rule.")
    metrics: tuple[_Word, ...] = Field((), max_length=32, description="Only readings of these metrics. None: of all.")
    attributes: tuple[_Word, ...] = Field((), max_length=32, description="Only these attributes. None given: all.")


class Thresholds(Rule):
    """OVER and UNDER, by the live thresholds (`meterpipe alarm set`)."""

    enabled: bool = Field(True, description="Whether readings are judged by the thresholds.")
    hysteresis: float = Field(
        0, ge=0, le=1e15, description="How far back inside its bound a value must be to clear an alarm, where the"
        " threshold does not say.",
    )  # fmt: skip
    min_duration: int = Field(
        0, ge=0, le=31_622_400, description="Seconds of event time that a value must be outside before an alarm is"
        " raised, where the threshold does not say; 0: at once.",
    )  # fmt: skip


class FlatlineAlarm(Rule):
    """FLATLINE: the same value, not zero, again and again; cleared by the first other value."""

    readings: int = Field(12, ge=2, le=1_000_000, description="So many equal readings raise the alarm.")


class SpikeAlarm(Rule):
    """SPIKE: a value far above those before it, either sign; cleared by the next reading that is none."""

    factor: float = Field(10.0, gt=1, le=1e9, description="Times the largest of the three values before it.")
    floor: float = Field(1.0, ge=0, le=1e15, description="No value up to this is a spike.")


class ReverseFlow(Rule):
    """REVERSE_FLOW: a negative value, or a register that goes down; cleared by the next reading that is neither."""

    attributes: tuple[_Word, ...] = Field(
        ("ACTIVE_POWER",), max_length=32, description="Attributes that must not be negative."
    )
    registers: tuple[_Word, ...] = Field((), max_length=32, description="Attributes of registers, that must not fall.")


class NightLeak(Rule):
    """NIGHT_LEAK: something flows all night (00-06 local time); cleared after two nights in a row with a pause."""

    metrics: tuple[_Word, ...] = Field(
        ("WATER",), max_length=32, description="Only readings of these metrics. None: of all."
    )
    timezone: Annotated[str, checked(_unknown_zone)] = Field(
        "UTC", min_length=1, max_length=64, description="Time zone of the night."
    )
    limit: float = Field(0.0, ge=0, le=1e15, description="A night whose smallest value is above this is a leak.")
    min_readings: int = Field(
        4, ge=1, le=100_000, description="A night with fewer readings is not judged, as if it had not been."
    )


class Silence(Rule):
    """SILENCE: a channel sends no reading for so many of its intervals; cleared by its next reading."""

    intervals: float = Field(3.0, ge=1, le=1e6, description="Intervals without a reading that raise the alarm.")
    interval: int | None = Field(
        None, ge=1, le=31_622_400, description="Seconds between two readings. Default: what the channel's newest"
        " reading covers; a channel whose readings are instants is not watched then.",
    )  # fmt: skip
    idle_after: int = Field(
        0, ge=0, le=86_400, description="Seconds without any message in a partition after which its event time goes on"
        " by the clock; 0: never, only readings move it.",
    )  # fmt: skip


class Alarms(Model):
    """Alarms raised and cleared by readings, by rules and by a live table of thresholds."""

    enabled: bool = Field(False, description="Whether readings are watched for alarms.")
    replicas: int = Field(1, ge=0, le=1000, description="Number of worker processes; 0 stops the worker.")
    resources: Resources = Field(Resources(), description="CPU and memory of each pod.")
    thresholds: Thresholds = Field(Thresholds(), description="OVER and UNDER, by live thresholds.")
    flatline: FlatlineAlarm = Field(FlatlineAlarm(), description="The same value again and again.")
    spike: SpikeAlarm = Field(SpikeAlarm(), description="Values far above those before.")
    reverse_flow: ReverseFlow = Field(ReverseFlow(), description="Negative values, and registers that go down.")
    night_leak: NightLeak = Field(NightLeak(), description="Something flows all night.")
    silence: Silence = Field(Silence(), description="Channels that send nothing any more.")
    notifier: Notifier = Field(Notifier(), description="Who is told of alarms.")
