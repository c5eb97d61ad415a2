"""The status of a MeterPipeline: what the operator reports. Figures are rounded to two digits and change slowly."""

from typing import Annotated, Literal

from pydantic import Field

from meterpipe.spec.base import Model


class Condition(Model):
    """One condition, as Kubernetes has them."""

    type: Annotated[str, Field(min_length=1, max_length=316)] = Field(
        description="Ready, Progressing, Degraded, Paused or NameConflict."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(min_length=1, max_length=1024, description="Why, in one CamelCase word.")
    message: str = Field("", max_length=32_768, description="Why, for people.")
    last_transition_time: str = Field(
        max_length=64, description="When status changed last, RFC 3339.", json_schema_extra={"format": "date-time"}
    )
    observed_generation: int | None = Field(None, ge=0, description="The generation it was found on.")


class WorkerStatus(Model):
    """One kind of worker."""

    replicas: int = Field(0, ge=0, description="Pods asked for.")
    ready: int = Field(0, ge=0, description="Pods ready.")
    lag: int | None = Field(None, ge=0, description="Records behind the end of its topics.")


class Workers(Model):
    """All kinds of workers."""

    aggregator: WorkerStatus | None = Field(None, description="The aggregator.")
    sink: WorkerStatus | None = Field(None, description="The sink to Cassandra.")
    archiver: WorkerStatus | None = Field(None, description="The archiver to the lake.")
    validation: WorkerStatus | None = Field(None, description="The validation.")
    ingest: WorkerStatus | None = Field(None, description="The edge adapters.")
    router: WorkerStatus | None = Field(None, description="The router.")
    alarms: WorkerStatus | None = Field(None, description="The alarms.")
    notifier: WorkerStatus | None = Field(None, description="The notifier of alarms.")
    activity: WorkerStatus | None = Field(None, description="The activity of meters.")


class Status(Model):
    """What the operator found."""

    observed_generation: int | None = Field(None, ge=0, description="The generation all this was found on.")
    conditions: tuple[Condition, ...] = Field(
        (),
        max_length=16,
        description="Ready, Progressing, Degraded, Paused.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    workers: Workers | None = Field(None, description="Workers by kind.")
    readings_per_second: float | None = Field(None, ge=0, description="Readings the aggregators take in, two digits.")
    lag: int | None = Field(None, ge=0, description="Records the aggregators are behind, two digits.")
