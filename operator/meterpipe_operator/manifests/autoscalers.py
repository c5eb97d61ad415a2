"""Objects that let others decide on the number of pods: HorizontalPodAutoscaler, ScaledObject."""

from collections.abc import Mapping, Sequence
from typing import Any

from meterpipe.spec.kubernetes import Autoscaling

from meterpipe_operator.facts import KafkaFacts
from meterpipe_operator.labels import Owner, metadata, name

MECHANISMS = {"SCRAM-SHA-512": "scram_sha512", "SCRAM-SHA-256": "scram_sha256", "PLAIN": "plaintext"}
"""KEDA's words for SASL mechanisms."""


def pod_autoscaler(owner: Owner, component: str, scaling: Autoscaling) -> dict[str, Any]:
    """By CPU, in percent of the request."""
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": scaling.utilization}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(owner, component, component),
        "spec": {
            "scaleTargetRef": _target(owner, component),
            "minReplicas": scaling.min,
            "maxReplicas": scaling.max,
            "metrics": [{"type": "Resource", "resource": cpu}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": scaling.stabilization}},
        },
    }


def scaled_object(
    owner: Owner, component: str, scaling: Autoscaling, kafka: KafkaFacts, group: str, topics: Sequence[str]
) -> dict[str, Any]:
    """By the lag of the consumer group, the largest of the topics deciding."""
    properties = kafka.properties
    common: dict[str, str] = {
        "bootstrapServers": kafka.bootstrap_servers,
        "consumerGroup": group,
        "lagThreshold": str(scaling.lag),
        "offsetResetPolicy": "earliest",
    }
    if "sasl.mechanism" in properties:
        common["sasl"] = MECHANISMS[properties["sasl.mechanism"]]
    if "SSL" in properties.get("security.protocol", ""):
        common["tls"] = "enable"
    reference = {"authenticationRef": {"name": name(owner.name, "kafka")}} if kafka.secret else {}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(owner, component, component),
        "spec": {
            "scaleTargetRef": _target(owner, component),
            "minReplicaCount": scaling.min,
            "maxReplicaCount": scaling.max,
            "cooldownPeriod": scaling.stabilization,
            "advanced": {
                "horizontalPodAutoscalerConfig": {
                    "behavior": {"scaleDown": {"stabilizationWindowSeconds": scaling.stabilization}}
                }
            },
            "triggers": [{"type": "kafka", "metadata": {**common, "topic": topic}, **reference} for topic in topics],
        },
    }


def trigger_authentication(owner: Owner, kafka: KafkaFacts, user_map: str) -> dict[str, Any] | None:
    """How KEDA proves who it is to Kafka: as the workers do. `user_map`: a ConfigMap with `username`."""
    if kafka.secret is None:
        return None
    parameters = {"password": "password", "ca.crt": "ca", "user.crt": "cert", "user.key": "key"}
    references = [{"parameter": parameters[key], "name": kafka.secret.name, "key": key} for key in kafka.secret.keys]
    spec: dict[str, Any] = {"secretTargetRef": references}
    if "sasl.username" in kafka.properties:
        spec["configMapTargetRef"] = [{"parameter": "username", "name": user_map, "key": "username"}]
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": metadata(owner, "kafka", "kafka"),
        "spec": spec,
    }


def user_map(owner: Owner, kafka: KafkaFacts) -> dict[str, Any]:
    """The ConfigMap with the user's name, which is no secret."""
    data: Mapping[str, str] = {"username": kafka.properties["sasl.username"]}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(owner, "kafka", "kafka"),
        "data": dict(data),
    }


def _target(owner: Owner, component: str) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": name(owner.name, component)}
