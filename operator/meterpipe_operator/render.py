"""What would be applied for a pipeline, without a cluster: `meterpipe render`. Pure.

With objects of a cluster it is what the operator would do there; without, what it does not know is made up: addresses
as Strimzi and K8ssandra would give them, secrets that hold what they have to.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from meterpipe.spec.models import API_VERSION, MeterPipeline

from meterpipe_operator import kinds
from meterpipe_operator.desired import desired
from meterpipe_operator.facts import (
    CassandraFacts,
    Facts,
    KafkaFacts,
    LakeFacts,
    Login,
    Missing,
    Secret,
    Settings,
    StrimziFacts,
)
from meterpipe_operator.given import (
    authority,
    cassandra_given,
    ingest_given,
    kafka_given,
    lake_given,
    registry_given,
    sasl,
)
from meterpipe_operator.kinds import KINDS, Manifest, Ref, ref_of
from meterpipe_operator.labels import NAMESPACE, PIPELINE, Owner, name
from meterpipe_operator.plan import Plan, plan, stamped
from meterpipe_operator.resolve import facts_of
from meterpipe_operator.secrets import encoded

UID = "00000000-0000-0000-0000-000000000000"
MADE_UP = "made-up"
UNKNOWN = "give what `kubectl get … -o yaml` prints"


class Rendered(NamedTuple):
    """What would be applied; what of it differs from the cluster, a line each; what the reader should know."""

    objects: Sequence[Mapping[str, Any]]
    changes: Sequence[str]
    notes: Sequence[str]


def rendered(pipeline: MeterPipeline, found: Iterable[Manifest] | None, image: str) -> Rendered:
    """What the operator would apply. `found`: objects of the cluster, None: nothing is known of one."""
    settings = Settings(image)
    if found is None:
        owner = Owner(pipeline.metadata.name, pipeline.metadata.namespace, UID)
        known = made_up(pipeline, settings)
        notes = ["made up, as no --facts are given: uid, and what is read from secrets and other operators"]
        notes += _lacking(known)
        wanted = desired(pipeline, owner, known)
        return Rendered([stamped(one) for one in wanted.objects], [], notes)
    there = {ref_of(one): one for one in found if _known(one)}
    own = [one for one in there.values() if _is_ours(one, pipeline)]
    facts = facts_of(pipeline, there.get, own, frozenset(kind for kind in KINDS if kind.optional), settings)
    resource = there.get(Ref(kinds.METER_PIPELINE, pipeline.metadata.namespace, pipeline.metadata.name))
    owner = Owner.of(resource) if resource else Owner(pipeline.metadata.name, pipeline.metadata.namespace, UID)
    wanted = desired(pipeline, owner, facts)
    notes = _lacking(facts)
    notes += [] if resource else [f"made up: the uid; the facts hold no {API_VERSION} of this name"]
    planned = plan(wanted, own)
    notes += [f"{wait.ref} waits: {wait.message}" for wait in planned.wait]
    return Rendered([stamped(one) for one in wanted.objects], _told(planned), notes)


def _lacking(facts: Facts) -> list[str]:
    found = (facts.kafka, facts.cassandra, facts.lake, facts.registry, facts.ingest)
    return [f"{one.reason}: {one.message}" for one in found if isinstance(one, Missing)]


def _told(planned: Plan) -> list[str]:
    deletes = [f"delete {one.ref}: {one.why}" for one in (*planned.first, *planned.delete)]
    claims = [f"claim {one.ref}: {one.replicas} replicas for the autoscaler" for one in planned.claim]
    return [*claims, *(f"apply {one.ref}: {one.why}" for one in planned.apply), *deletes]


def made_up(pipeline: MeterPipeline, settings: Settings) -> Facts:
    """Facts of a cluster in which all is well."""
    kafka, strimzi = _kafka(pipeline)
    optional = frozenset(kind for kind in KINDS if kind.optional)
    lake = lake_given(pipeline, _generous)
    assert isinstance(lake, LakeFacts)
    return Facts(
        settings,
        kafka,
        _cassandra(pipeline),
        lake,
        registry_given(pipeline, _generous),
        ingest_given(pipeline, _generous),
        strimzi=strimzi,
        kinds=optional,
    )


def _kafka(pipeline: MeterPipeline) -> tuple[KafkaFacts | Missing, StrimziFacts | None]:
    asked = pipeline.spec.kafka.strimzi
    if asked is None:
        return kafka_given(pipeline, _generous), None
    namespace = asked.namespace or pipeline.metadata.namespace
    secret = Secret(
        name(pipeline.metadata.name, "kafka"), ("ca.crt", "password"), MADE_UP, _values("ca.crt", "password")
    )
    properties = {**authority(), **sasl("SCRAM-SHA-512", MADE_UP), "security.protocol": "SASL_SSL"}
    servers = f"{asked.cluster}-kafka-bootstrap.{namespace}.svc:9093"
    return KafkaFacts(servers, properties, secret), StrimziFacts(asked.cluster, namespace, "scram-sha-512", True)


def _cassandra(pipeline: MeterPipeline) -> CassandraFacts | Missing:
    asked = pipeline.spec.cassandra.k8ssandra
    if asked is None:
        return cassandra_given(pipeline, _generous)
    namespace = asked.namespace or pipeline.metadata.namespace
    secret = Secret(name(pipeline.metadata.name, "cassandra"), ("password",), MADE_UP, _values("password"))
    host = f"{asked.cluster}-{asked.datacenter}-service.{namespace}.svc"
    return CassandraFacts((host,), 9042, asked.datacenter, Login(MADE_UP, secret))


def _generous(ref: Ref) -> Manifest:
    """A Secret that holds whatever is asked of it."""
    keys = ("username", "password", "user.crt", "user.key", "accessKey", "secretKey", "token", "tokens")
    return {"metadata": {"namespace": ref.namespace, "name": ref.name}, "data": _values(*keys)}


def _values(*keys: str) -> dict[str, str]:
    return {key: encoded(MADE_UP) for key in keys}


def _known(found: Manifest) -> bool:
    try:
        ref_of(found)
    except KeyError:
        return False
    return True


def _is_ours(found: Manifest, pipeline: MeterPipeline) -> bool:
    labels = found["metadata"].get("labels") or {}
    home = labels.get(NAMESPACE, found["metadata"]["namespace"])
    ours = labels.get("app.kubernetes.io/managed-by") == "meterpipe" and home == pipeline.metadata.namespace
    return ours and labels.get(PIPELINE) == pipeline.metadata.name
