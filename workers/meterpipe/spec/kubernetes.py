"""What a pipeline says about its pods. Looked at on Kubernetes only; `meterpipe run` passes it over."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from meterpipe.spec.base import Model, Refusal, refuse, rule, rules

Quantity = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?([EPTGM]i?|[km]|Ki)?$")]
LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]


class ScalingMode(StrEnum):
    """Who decides how many pods a worker has."""

    FIXED = "fixed"
    OPERATOR = "operator"
    HPA = "hpa"
    KEDA = "keda"


class Autoscaling(Model):
    """How the number of pods follows the load. No worker uses more pods than its topic has partitions."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self.min <= self.max", "min cannot be greater than max", ".min"),
            rule("self.mode == 'keda' || self.min > 0", "only mode keda can start again from 0", ".min"),
        )
    )

    mode: ScalingMode = Field(
        ScalingMode.FIXED,
        description="fixed: replicas. operator: our policy, by busy time and lag. hpa: CPU. keda: a ScaledObject, by"
        " lag.",
    )
    min: int = Field(1, ge=0, le=1000, description="Fewest pods; 0 with keda only.")
    max: int = Field(4, ge=1, le=1000, description="Most pods.")
    utilization: int = Field(
        75, ge=10, le=100, description="Percent of its time (operator) or of its CPU request (hpa) a pod shall be busy."
    )
    catch_up: int = Field(
        600, ge=10, le=86_400, description="Seconds in which a lag shall be worked off. For mode operator."
    )
    lag: int = Field(100_000, ge=1, le=2_000_000_000, description="Records behind for which keda adds a pod.")
    stabilization: int = Field(
        300, ge=0, le=3600, description="Seconds the need must have been lower before pods are taken away."
    )

    @model_validator(mode="after")
    def _range(self) -> Self:
        found = []
        if self.min > self.max:
            found.append(Refusal(("min",), self.min, f"cannot be greater than max ({self.max})"))
        if self.min == 0 and self.mode is not ScalingMode.KEDA:
            found.append(Refusal(("min",), 0, "must be at least 1: only mode keda can start again from 0"))
        refuse(found)
        return self


class Amounts(Model):
    """Amounts of CPU and memory."""

    cpu: Quantity | None = Field(None, description='CPUs, e.g. "250m" or "2".')
    memory: Quantity | None = Field(None, description='Bytes, e.g. "512Mi".')


class Resources(Model):
    """What a pod of the worker gets."""

    requests: Amounts = Field(Amounts(cpu="250m", memory="512Mi"), description="Reserved for it.")
    limits: Amounts = Field(
        Amounts(memory="2Gi"), description="More it cannot have. A CPU limit only makes it slow: none by default."
    )


class Toleration(Model):
    """A taint of nodes that the pods put up with."""

    key: str | None = Field(None, max_length=317, description="Key of the taint; unset: all taints.")
    operator: Literal["Exists", "Equal"] = Field("Equal", description="How value is compared.")
    value: str | None = Field(None, max_length=63, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint; unset: all."
    )
    toleration_seconds: int | None = Field(None, ge=0, description="Seconds a NoExecute taint is put up with.")


class Pods(Model):
    """What all pods of the pipeline have in common."""

    image: str | None = Field(None, min_length=1, max_length=1000, description="Image. Default: the operator's own.")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        None, description="When the image is pulled. Default: as the operator is set."
    )
    pull_secrets: tuple[Annotated[str, Field(min_length=1, max_length=253)], ...] = Field(
        (), max_length=8, description="Secrets to pull the image with, besides the operator's setting."
    )
    annotations: dict[LabelKey, Annotated[str, Field(max_length=4096)]] = Field(
        {}, max_length=64, description="Annotations of the pods."
    )
    labels: dict[LabelKey, LabelValue] = Field({}, max_length=64, description="Further labels of the pods.")
    node_selector: dict[LabelKey, LabelValue] = Field({}, max_length=32, description="Labels a node must have.")
    tolerations: tuple[Toleration, ...] = Field((), max_length=32, description="Taints the pods put up with.")
    priority_class: str | None = Field(None, min_length=1, max_length=253, description="Their PriorityClass.")
    topology_key: str = Field(
        "kubernetes.io/hostname", min_length=1, max_length=317, description="Label of nodes over which pods spread."
    )
    service_account_annotations: dict[LabelKey, Annotated[str, Field(max_length=4096)]] = Field(
        {}, max_length=16, description="Annotations of the ServiceAccounts, e.g. the cloud role that reads the bucket."
    )


class Network(Model):
    """What the pods may be reached by and may reach."""

    policies: bool = Field(True, description="Make NetworkPolicies: in, metrics alone; out, DNS and the services.")
    extra_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(
        (), max_length=32, description="Further TCP ports pods may connect to, e.g. of brokers that differ from the"
        " bootstrap servers'.",
    )  # fmt: skip


class Replay(Model):
    """Counting the readings topic anew."""

    nonce: str | None = Field(
        None, min_length=1, max_length=63, pattern=r"^[A-Za-z0-9._-]+$",
        description="Any word. When it changes, the aggregators stop, forget their state and count the topic from its"
        " beginning. Windows whose readings retention has cut into come out too small.",
    )  # fmt: skip
