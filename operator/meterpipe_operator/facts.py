"""What is known of the cluster for one pipeline, as values: what `desired` and `conditions` decide on. No I/O.

Whatever cannot be had is a `Missing` in the place of the facts: a condition with a reason, never an exception.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from meterpipe_operator.kinds import Kind


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that is not there (yet): a CamelCase word for the condition, and a sentence with the way out."""

    reason: str
    message: str
    passing: bool = False
    """Another operator is at it: pods that run stay, and the pipeline is as ready as they are."""


@dataclass(frozen=True, slots=True)
class Secret:
    """What pods mount of a Secret in the pipeline's namespace.

    `digest` is of the values of `keys`: pods roll when it changes. `copied` (base64 by key) is given if the values come
    from another Secret, and the operator writes this one; if None, the Secret is the user's and is only mounted.
    """

    name: str
    keys: tuple[str, ...]
    digest: str
    copied: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class StrimziFacts:
    """What has to be known of a Strimzi cluster to make topics and users there."""

    cluster: str
    namespace: str
    authentication: str | None = None
    """Of the listener: scram-sha-512, tls, or None: then there is no user to make."""
    authorization: bool = False
    """Whether the cluster checks ACLs; a KafkaUser with ACLs is refused where it does not."""


@dataclass(frozen=True, slots=True)
class KafkaFacts:
    """How pods reach Kafka. Paths in `properties` (librdkafka's) are those within the pods."""

    bootstrap_servers: str
    properties: Mapping[str, str] = field(default_factory=dict)
    secret: Secret | None = None
    any_port: bool = False
    """Whether brokers may listen on other ports than the bootstrap servers."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who a client of Cassandra is: the name, and the Secret whose `password` it mounts."""

    username: str
    secret: Secret


@dataclass(frozen=True, slots=True)
class CassandraFacts:
    """How pods reach Cassandra. `schema` is who may create tables; None: the same as the workers' `login`."""

    contact_points: tuple[str, ...]
    port: int
    datacenter: str
    login: Login | None = None
    schema: Login | None = None


@dataclass(frozen=True, slots=True)
class LakeFacts:
    """How pods reach S3. Without a Secret they use the usual chain of credentials (e.g. their ServiceAccount's)."""

    secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class RegistryFacts:
    """How pods reach the schema registry. A Secret holds password or token, and perhaps ca.crt."""

    url: str
    username: str | None = None
    secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """How pods reach Redis. A Secret holds the password, and perhaps ca.crt."""

    username: str | None = None
    secret: Secret | None = None


@dataclass(frozen=True, slots=True)
class IngestFacts:
    """Secrets of the edge adapters: tokens by group of gateways, and who they are to the MQTT broker."""

    groups: Mapping[str, Secret] = field(default_factory=dict)
    mqtt_username: str | None = None
    mqtt: Secret | None = None


@dataclass(frozen=True, slots=True)
class NotifierFacts:
    """Secrets of the notifier: the webhook's (key, perhaps token and ca.crt), and the tokens of its API."""

    webhook: Secret | None = None
    api: Secret | None = None


@dataclass(frozen=True, slots=True)
class Live:
    """What counts of a worker's Deployment that is there."""

    replicas: int
    managers: frozenset[str] = frozenset()
    """Field managers that own spec.replicas."""
    pods: int = 0
    """Pods it has, whatever their template."""
    windows: str = ""
    """Annotation WINDOWS: the window sizes its pods work with."""
    replayed: str = ""
    """Annotation REPLAYED: the last nonce that was carried out."""
    recreate: bool = False
    """Whether its strategy is Recreate."""
    settled: bool = True
    """Whether all its pods are of its newest template."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Of the operator, for all pipelines; the chart renders them."""

    image: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    network_policies: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was read from the cluster for one pipeline."""

    settings: Settings
    kafka: KafkaFacts | Missing
    cassandra: CassandraFacts | Missing
    lake: LakeFacts | Missing
    registry: RegistryFacts | Missing | None = None
    """None: no format needs one."""
    ingest: IngestFacts | Missing = field(default_factory=IngestFacts)
    notifier: NotifierFacts | Missing = field(default_factory=NotifierFacts)
    redis: RedisFacts | Missing | None = None
    """None: nothing uses it."""
    strimzi: StrimziFacts | None = None
    """Set as soon as the Strimzi cluster is found, while `kafka` may still be Missing its user's Secret."""
    kinds: frozenset[Kind] = frozenset()
    """Optional kinds that the cluster has."""
    live: Mapping[str, Live] = field(default_factory=dict)
    """By worker, the Deployments that are there."""
    done: frozenset[str] = frozenset()
    """Names of our Jobs that completed."""
