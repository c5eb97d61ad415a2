"""Services whose addresses the specification itself gives. Pure."""

from meterpipe.spec.models import MeterPipeline, ReadingsFormat

from meterpipe_operator.facts import (
    CassandraFacts,
    IngestFacts,
    KafkaFacts,
    LakeFacts,
    Login,
    Missing,
    NotifierFacts,
    RedisFacts,
    RegistryFacts,
    Secret,
)
from meterpipe_operator.mounts import path_of
from meterpipe_operator.secrets import Look, data_of, login_of, mounted

PLAIN = "PLAINTEXT"


def kafka_given(pipeline: MeterPipeline, look: Look) -> KafkaFacts | Missing:
    """Kafka by spec.kafka.bootstrapServers."""
    kafka, namespace = pipeline.spec.kafka, pipeline.metadata.namespace
    if kafka.bootstrap_servers is None:
        way_out = "give bootstrapServers, or strimzi; only `meterpipe run` brings its own"
        return Missing("KafkaNotGiven", f"spec.kafka names no Kafka: {way_out}")
    auth = kafka.auth
    transport = "SSL" if kafka.tls or (auth and auth.mechanism == "TLS") else PLAIN
    properties: dict[str, str] = {}
    secret = None
    if auth:
        keys = ("user.crt", "user.key") if auth.mechanism == "TLS" else ("password",)
        found = mounted(look, namespace, auth.secret_name or "", keys, "spec.kafka.auth.secretName", "ca.crt")
        if isinstance(found, Missing):
            return found
        secret = found
        if "ca.crt" in secret.keys:
            properties |= authority()
        if auth.mechanism == "TLS":
            properties |= certificate()
        else:
            properties |= sasl(auth.mechanism, auth.username or "")
            transport = f"SASL_{transport}"
    if transport != PLAIN:
        properties["security.protocol"] = transport
    return KafkaFacts(kafka.bootstrap_servers, properties, secret)


def authority() -> dict[str, str]:
    """Properties of a client that trusts the mounted authority."""
    return {"ssl.ca.location": str(path_of("kafka", "ca.crt"))}


def certificate() -> dict[str, str]:
    """Properties of a client that shows the mounted certificate."""
    return {
        "ssl.certificate.location": str(path_of("kafka", "user.crt")),
        "ssl.key.location": str(path_of("kafka", "user.key")),
    }


def sasl(mechanism: str, username: str) -> dict[str, str]:
    """Properties of a client that gives the mounted password."""
    return {
        "sasl.mechanism": mechanism,
        "sasl.username": username,
        "sasl.password": f"file:{path_of('kafka', 'password')}",
    }


def cassandra_given(pipeline: MeterPipeline, look: Look) -> CassandraFacts | Missing:
    """Cassandra by spec.cassandra.contactPoints."""
    cassandra = pipeline.spec.cassandra
    if cassandra.contact_points is None:
        way_out = "give contactPoints, or k8ssandra, or set replicas to 0; only `meterpipe run` brings its own"
        return Missing("CassandraNotGiven", f"spec.cassandra names no Cassandra: {way_out}")
    logins: list[Login | None] = []
    for name, field in ((cassandra.secret_name, "secretName"), (cassandra.schema_secret_name, "schemaSecretName")):
        found = user_login(look, pipeline.metadata.namespace, name, f"spec.cassandra.{field}") if name else None
        if isinstance(found, Missing):
            return found
        logins.append(found)
    return CassandraFacts(cassandra.contact_points, cassandra.port, cassandra.datacenter, *logins)


def user_login(look: Look, namespace: str, name: str, field: str) -> Login | Missing:
    """Who a Secret of the user speaks of."""
    found = mounted(look, namespace, name, ("username", "password"), field)
    if isinstance(found, Missing):
        return found
    login = login_of(data_of(look, namespace, name) or {}, found)
    return login or Missing("SecretIncomplete", f"{field}: username in Secret {namespace}/{name} is no text")


def lake_given(pipeline: MeterPipeline, look: Look) -> LakeFacts | Missing:
    """S3 by spec.lake; without secretName pods use what their ServiceAccount gives them."""
    lake = pipeline.spec.lake
    if lake.secret_name is None:
        return LakeFacts()
    keys = ("accessKey", "secretKey")
    found = mounted(look, pipeline.metadata.namespace, lake.secret_name, keys, "spec.lake.secretName")
    return found if isinstance(found, Missing) else LakeFacts(found)


def registry_given(pipeline: MeterPipeline, look: Look) -> RegistryFacts | Missing | None:
    """The schema registry by spec.readings.registry; None if no format needs one."""
    registry, namespace = pipeline.spec.readings.registry, pipeline.metadata.namespace
    if ReadingsFormat.AVRO not in pipeline.spec.readings.formats:
        return None
    if registry.url is None:
        way_out = "give its url, or take avro out of spec.readings.formats; only `meterpipe run` brings its own"
        return Missing("RegistryNotGiven", f"spec.readings.registry names no registry: {way_out}")
    if registry.auth is None:
        return RegistryFacts(registry.url)
    basic = registry.auth.mechanism == "basic"
    field, name = "spec.readings.registry.auth.secretName", registry.auth.secret_name
    keys = ("username", "password") if basic else ("token",)
    found = mounted(look, namespace, name, keys, field, "ca.crt")
    if isinstance(found, Missing):
        return found
    login = login_of(data_of(look, namespace, name) or {}, found)
    if basic and login is None:
        return Missing("SecretIncomplete", f"{field}: username in Secret {namespace}/{name} is no text")
    return RegistryFacts(registry.url, login.username if basic and login else None, found)


def redis_given(pipeline: MeterPipeline, look: Look) -> RedisFacts | Missing | None:
    """Redis by spec.activity.redis; None if no activity is tracked."""
    activity, namespace = pipeline.spec.activity, pipeline.metadata.namespace
    if not activity.enabled:
        return None
    if activity.redis.host is None:
        way_out = "give its host, or set activity.enabled to false; only `meterpipe run` brings its own"
        return Missing("RedisNotGiven", f"spec.activity.redis names no Redis: {way_out}")
    if activity.redis.secret_name is None:
        return RedisFacts()
    field, name = "spec.activity.redis.secretName", activity.redis.secret_name
    found = mounted(look, namespace, name, ("password",), field, "ca.crt")
    if isinstance(found, Missing):
        return found
    data = data_of(look, namespace, name) or {}
    if not data.get("username"):
        return RedisFacts(secret=found)
    login = login_of(data, found)
    if login is None:
        return Missing("SecretIncomplete", f"{field}: username in Secret {namespace}/{name} is no text")
    return RedisFacts(login.username, found)


def ingest_given(pipeline: MeterPipeline, look: Look) -> IngestFacts | Missing:
    """Secrets of the edge adapters by spec.ingest."""
    ingest, namespace = pipeline.spec.ingest, pipeline.metadata.namespace
    groups: dict[str, Secret] = {}
    for number, group in enumerate(ingest.groups):
        found = mounted(look, namespace, group.secret_name, ("tokens",), f"spec.ingest.groups[{number}].secretName")
        if isinstance(found, Missing):
            return found
        groups[group.name] = found
    if ingest.mqtt is None or ingest.mqtt.secret_name is None:
        return IngestFacts(groups)
    field, name = "spec.ingest.mqtt.secretName", ingest.mqtt.secret_name
    secret = mounted(look, namespace, name, ("username", "password"), field, "ca.crt")
    if isinstance(secret, Missing):
        return secret
    login = login_of(data_of(look, namespace, name) or {}, secret)
    if login is None:
        return Missing("SecretIncomplete", f"{field}: username in Secret {namespace}/{name} is no text")
    return IngestFacts(groups, login.username, secret)


def notifier_given(pipeline: MeterPipeline, look: Look) -> NotifierFacts | Missing:
    """Secrets of the notifier by spec.alarms.notifier."""
    notifier, namespace = pipeline.spec.alarms.notifier, pipeline.metadata.namespace
    field = "spec.alarms.notifier"
    webhook = api = None
    if notifier.webhook is not None:
        name = notifier.webhook.secret_name
        found = mounted(look, namespace, name, ("key",), f"{field}.webhook.secretName", "token", "ca.crt")
        if isinstance(found, Missing):
            return found
        webhook = found
    if notifier.api.enabled and notifier.api.secret_name is not None:
        found = mounted(look, namespace, notifier.api.secret_name, ("tokens",), f"{field}.api.secretName")
        if isinstance(found, Missing):
            return found
        api = found
    return NotifierFacts(webhook, api)
