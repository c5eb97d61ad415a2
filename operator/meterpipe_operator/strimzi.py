"""Kafka by Strimzi: what Kafka, KafkaUser and their Secrets publish. Pure.

Listeners are published in status and their authentication is not: that is in spec. A bad condition is called NotReady
and is True. After a change the old status stands for a while: generations tell.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from meterpipe.spec.models import MeterPipeline, Strimzi

from meterpipe_operator import kinds
from meterpipe_operator.facts import KafkaFacts, Missing, StrimziFacts
from meterpipe_operator.given import PLAIN, authority, certificate, sasl
from meterpipe_operator.kinds import Kind, Manifest, Ref
from meterpipe_operator.labels import NAMESPACE, PIPELINE, name
from meterpipe_operator.manifests.strimzi import user_name
from meterpipe_operator.secrets import Look, copied, data_of, decoded, encoded

SCRAM, TLS = "scram-sha-512", "tls"
INSIDE = ("internal", "cluster-ip")
"""Types of listeners at which all brokers have the bootstrap's port."""


class Found(NamedTuple):
    """What is known of the cluster, as far as it is, and how pods reach it."""

    strimzi: StrimziFacts | None
    kafka: KafkaFacts | Missing


def strimzi_facts(pipeline: MeterPipeline, asked: Strimzi, look: Look, there: frozenset[Kind]) -> Found:
    """How pods reach the listener asked for, as the pipeline's user."""
    if kinds.KAFKA not in there:
        return Found(None, Missing("StrimziNotInstalled", "spec.kafka.strimzi: this cluster has no Kafkas of Strimzi"))
    namespace = asked.namespace or pipeline.metadata.namespace
    kafka = look(Ref(kinds.KAFKA, namespace, asked.cluster))
    if kafka is None or kafka["metadata"].get("deletionTimestamp"):
        reason = f"spec.kafka.strimzi: there is no Kafka {namespace}/{asked.cluster}, or the operator cannot see it"
        return Found(None, Missing("KafkaNotFound", reason))
    spec = (kafka.get("spec") or {}).get("kafka") or {}
    listener = next((one for one in spec.get("listeners") or () if one.get("name") == asked.listener), None)
    if listener is None:
        known = ", ".join(one.get("name", "") for one in spec.get("listeners") or ()) or "none"
        reason = f"spec.kafka.strimzi.listener: {asked.listener} is not one of {asked.cluster}'s listeners ({known})"
        return Found(None, Missing("ListenerNotFound", reason))
    kind = (listener.get("authentication") or {}).get("type")
    if kind not in (None, SCRAM, TLS):
        reason = f"listener {asked.listener} has authentication {kind}; use one with {SCRAM}, {TLS} or none"
        return Found(None, Missing("AuthenticationNotSupported", f"spec.kafka.strimzi.listener: {reason}"))
    checked = (spec.get("authorization") or {}).get("type") == "simple"
    facts = StrimziFacts(asked.cluster, namespace, kind, checked)
    return Found(facts, _reached(pipeline, facts, kafka, listener, look))


def _reached(
    pipeline: MeterPipeline, facts: StrimziFacts, kafka: Manifest, listener: Mapping[str, Any], look: Look
) -> KafkaFacts | Missing:
    what = f"Kafka {facts.namespace}/{facts.cluster}"
    status = kafka.get("status") or {}
    told = next((one for one in status.get("listeners") or () if one.get("name") == listener["name"]), None)
    if told is None or not told.get("bootstrapServers"):
        return _refused(kafka, "Kafka") or Missing("KafkaNotReady", f"{what} does not publish {listener['name']} yet")
    if _behind(kafka):
        return Missing("KafkaChanging", f"{what} has been changed and Strimzi is not through with it", passing=True)
    values: dict[str, str] = {}
    properties: dict[str, str] = {}
    transport = "SSL" if listener.get("tls") else PLAIN
    if listener.get("tls"):
        trusted = _authorities(facts, listener, told, look)
        if isinstance(trusted, Missing):
            return trusted
        values["ca.crt"] = trusted
        properties |= authority()
    if facts.authentication is not None:
        user = _user(pipeline, facts, look)
        if isinstance(user, Missing):
            return user
        values |= user.values
        properties |= certificate() if facts.authentication == TLS else sasl("SCRAM-SHA-512", user.name)
        transport = f"SASL_{transport}" if facts.authentication == SCRAM else transport
    if transport != PLAIN:
        properties["security.protocol"] = transport
    secret = copied(name(pipeline.metadata.name, "kafka"), values) if values else None
    return KafkaFacts(told["bootstrapServers"], properties, secret, listener.get("type") not in INSIDE)


def _authorities(
    facts: StrimziFacts, listener: Mapping[str, Any], told: Mapping[str, Any], look: Look
) -> str | Missing:
    """PEM (base64) of whom to trust: all the cluster's authorities, or the listener's own certificate if it has one.

    After a renewal with a new key the old authority stands beside the new one while brokers are rolled.
    """
    if (listener.get("configuration") or {}).get("brokerCertChainAndKey"):
        return encoded("\n".join(str(one).strip() for one in told.get("certificates") or ()) + "\n")
    source = f"{facts.cluster}-cluster-ca-cert"
    data = data_of(look, facts.namespace, source) or {}
    keys = sorted((key for key in data if key.endswith(".crt")), key=lambda key: (key != "ca.crt", key))
    texts = [text for key in keys if (text := decoded(data[key]))]
    if not texts:
        reason = f"Secret {facts.namespace}/{source} has no ca.crt, or the operator cannot see it"
        return Missing("KafkaSecretNotFound", reason)
    return encoded("\n".join(texts) + "\n")


class _User(NamedTuple):
    """Who the pipeline is to Kafka; what proves it, base64 by key."""

    name: str
    values: dict[str, str]


def _user(pipeline: MeterPipeline, facts: StrimziFacts, look: Look) -> _User | Missing:
    """By the KafkaUser's status: its Secret need not have its name."""
    ref = Ref(kinds.KAFKA_USER, facts.namespace, user_name(pipeline))
    user = look(ref)
    if user is None:
        return Missing("WaitingForKafkaUser", f"{ref} is being made", passing=True)
    labels = user["metadata"].get("labels") or {}
    if (labels.get(NAMESPACE), labels.get(PIPELINE)) != (pipeline.metadata.namespace, pipeline.metadata.name):
        return Missing("KafkaUserTaken", f"{ref} is not this pipeline's; delete it or rename the pipeline")
    if refused := _refused(user, "KafkaUser"):
        return refused
    status = user.get("status") or {}
    if _behind(user) or not status.get("username"):
        return Missing("WaitingForKafkaUser", f"Strimzi is not through with {ref}", passing=True)
    source = status.get("secret") or ""
    data = data_of(look, facts.namespace, source) if source else None
    keys = ("password",) if facts.authentication == SCRAM else ("user.crt", "user.key")
    if data is None or not all(data.get(key) for key in keys):
        reason = f"Secret {facts.namespace}/{source} of {ref} lacks {', '.join(keys)}, or the operator cannot see it"
        return Missing("KafkaSecretNotFound", reason)
    return _User(status["username"], {key: data[key] for key in keys})


def _refused(found: Manifest, what: str) -> Missing | None:
    """Strimzi's complaint about an object: a condition NotReady that is True. Warnings are none."""
    conditions = (found.get("status") or {}).get("conditions") or ()
    bad = next((one for one in conditions if one.get("type") == "NotReady" and one.get("status") == "True"), None)
    if bad is None:
        return None
    metadata = found["metadata"]
    said = ": ".join(filter(None, (bad.get("reason"), bad.get("message")))) or "it says no more"
    return Missing(f"{what}NotReady", f"{what} {metadata['namespace']}/{metadata['name']} is not ready: {said}")


def _behind(found: Manifest) -> bool:
    """Whether the status is about an older specification."""
    generation = found["metadata"].get("generation")
    observed = (found.get("status") or {}).get("observedGeneration")
    return generation is not None and observed != generation
