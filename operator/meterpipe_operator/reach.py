"""What a worker needs of the services: its configuration, the secrets it mounts, the ports it connects to. Pure."""

from meterpipe.spec.connections import (
    IngestConnection,
    NotifierConnection,
    RedisConnection,
    RegistryConnection,
    WorkerConfig,
)
from meterpipe.spec.models import MeterPipeline, Spec

from meterpipe_operator.facts import (
    CassandraFacts,
    Facts,
    IngestFacts,
    KafkaFacts,
    LakeFacts,
    Missing,
    NotifierFacts,
    RedisFacts,
    RegistryFacts,
    Secret,
)
from meterpipe_operator.manifests.config import cassandra_connection, lake_connection, worker_config
from meterpipe_operator.manifests.network import port_of
from meterpipe_operator.mounts import Mounted, path_of
from meterpipe_operator.workers import Kind

SCHEMAS = "/tmp/schemas"
"""Where pods keep the schemas they have looked up."""

Needed = KafkaFacts | CassandraFacts | LakeFacts | RegistryFacts | IngestFacts | NotifierFacts | RedisFacts | Missing


def needed(spec: Spec, kind: Kind, facts: Facts) -> list[Needed]:
    """The facts a worker needs, or what is missing of them."""
    found: list[Needed] = [facts.kafka]
    if kind.cassandra(spec):
        found.append(facts.cassandra)
    if kind.lake:
        found.append(facts.lake)
    if kind.registry and facts.registry is not None:
        found.append(facts.registry)
    if kind.ingest:
        found.append(facts.ingest)
    if kind.notifier:
        found.append(facts.notifier)
    if kind.redis and facts.redis is not None:
        found.append(facts.redis)
    return found


def reached(pipeline: MeterPipeline, kind: Kind, facts: Facts) -> tuple[WorkerConfig, Mounted] | Missing:
    """The worker's configuration and the secrets it mounts, or the first thing it lacks."""
    kafka: KafkaFacts | None = None
    stores: dict[str, object] = {}
    secrets: dict[str, Secret | None] = {}
    for one in needed(pipeline.spec, kind, facts):
        match one:
            case Missing():
                return one
            case KafkaFacts():
                kafka, secrets["kafka"] = one, one.secret
            case CassandraFacts():
                stores["cassandra"] = cassandra_connection(one, one.login)
                secrets["cassandra"] = one.login.secret if one.login else None
            case LakeFacts():
                stores["lake"], secrets["lake"] = lake_connection(pipeline.spec, one), one.secret
            case RegistryFacts():
                stores["registry"], secrets["registry"] = _registry(one), one.secret
            case RedisFacts():
                stores["redis"], secrets["redis"] = _redis(pipeline, one), one.secret
            case IngestFacts():
                stores["ingest"] = _ingest(one)
                secrets |= {_role(group): secret for group, secret in one.groups.items()} | {"mqtt": one.mqtt}
            case NotifierFacts():
                stores["notifier"] = _notifier(one)
                secrets |= {"webhook": one.webhook, "api": one.api}
    config = worker_config(pipeline, kind.slice, kafka).model_copy(update=stores)
    return config, {role: secret for role, secret in secrets.items() if secret is not None}


def outward(pipeline: MeterPipeline, kind: Kind, facts: Facts) -> tuple[int, ...] | None:
    """Ports the worker may connect to; None: any, as brokers' ports cannot be told."""
    spec, common = pipeline.spec, ports(pipeline, facts)
    if common is None:
        return None
    more = [*cassandra_ports(facts)] if kind.cassandra(spec) else []
    if kind.lake:
        more.append(port_of(spec.lake.endpoint or "https://"))
    if kind.registry and isinstance(facts.registry, RegistryFacts):
        more.append(port_of(facts.registry.url))
    if kind.ingest and spec.ingest.mqtt:
        more.append(spec.ingest.mqtt.port)
    if kind.notifier and spec.alarms.notifier.webhook:
        more.append(port_of(spec.alarms.notifier.webhook.url))
    if kind.redis:
        more.append(spec.activity.redis.port)
    return (*common, *more)


def ports(pipeline: MeterPipeline, facts: Facts) -> tuple[int, ...] | None:
    """Ports every pod may connect to."""
    if isinstance(facts.kafka, Missing):
        return pipeline.spec.network.extra_ports
    if facts.kafka.any_port:
        return None
    servers = facts.kafka.bootstrap_servers.split(",")
    traces = pipeline.spec.monitoring.traces
    more = [port_of(traces)] if traces else []
    return (*(port_of(server.strip()) for server in servers), *more, *pipeline.spec.network.extra_ports)


def cassandra_ports(facts: Facts) -> list[int]:
    """Cassandra's port, if it is known."""
    return [] if isinstance(facts.cassandra, Missing) else [facts.cassandra.port]


def _registry(facts: RegistryFacts) -> RegistryConnection:
    keys = facts.secret.keys if facts.secret else ()

    def file(key: str) -> str | None:
        return str(path_of("registry", key)) if key in keys else None

    return RegistryConnection.model_validate(
        {
            "url": facts.url,
            "username": facts.username,
            "passwordFile": file("password"),
            "tokenFile": file("token"),
            "caFile": file("ca.crt"),
            "cache": SCHEMAS,
        }
    )


def _redis(pipeline: MeterPipeline, facts: RedisFacts) -> RedisConnection:
    redis, keys = pipeline.spec.activity.redis, facts.secret.keys if facts.secret else ()
    return RedisConnection(
        host=redis.host or "",
        port=redis.port,
        db=redis.db,
        tls=redis.tls,
        username=facts.username,
        password_file=path_of("redis", "password") if facts.secret else None,
        ca_file=path_of("redis", "ca.crt") if "ca.crt" in keys else None,
    )


def _ingest(facts: IngestFacts) -> IngestConnection:
    keys = facts.mqtt.keys if facts.mqtt else ()
    return IngestConnection(
        token_files={group: path_of(_role(group), "tokens") for group in facts.groups},
        mqtt_username=facts.mqtt_username,
        mqtt_password_file=path_of("mqtt", "password") if facts.mqtt else None,
        mqtt_ca_file=path_of("mqtt", "ca.crt") if "ca.crt" in keys else None,
    )


def _notifier(facts: NotifierFacts) -> NotifierConnection:
    keys = facts.webhook.keys if facts.webhook else ()
    return NotifierConnection(
        key_file=path_of("webhook", "key") if "key" in keys else None,
        token_file=path_of("webhook", "token") if "token" in keys else None,
        ca_file=path_of("webhook", "ca.crt") if "ca.crt" in keys else None,
        api_tokens_file=path_of("api", "tokens") if facts.api else None,
    )


def _role(group: str) -> str:
    return f"group-{group}"
