"""From a pipeline's spec to the connections its workers get on one machine.

What the spec does not name is embedded. Secrets are folders of files, one a key, as Kubernetes mounts them:
`<secrets>/<secretName>/<key>`.
"""

from pathlib import Path

from meterpipe.local.errors import LocalError
from meterpipe.local.services import Connections
from meterpipe.spec.connections import (
    CassandraConnection,
    IngestConnection,
    KafkaConnection,
    LakeConnection,
    NotifierConnection,
    RedisConnection,
    RegistryConnection,
    WorkerConfig,
)
from meterpipe.spec.models import MeterPipeline, ReadingsFormat


def embedded_services(pipeline: MeterPipeline) -> list[str]:
    """Names of the services that are started here: those the spec names no address of."""
    spec = pipeline.spec
    named = {
        "kafka": spec.kafka.bootstrap_servers is not None,
        "cassandra": spec.cassandra.contact_points is not None,
        "s3": spec.lake.endpoint is not None,
        "registry": spec.readings.registry.url is not None or ReadingsFormat.AVRO not in spec.readings.formats,
        "redis": spec.activity.redis.host is not None or not spec.activity.enabled,
    }
    return [name for name, address in named.items() if not address]


def refuse_clusters(pipeline: MeterPipeline) -> None:
    """Raise LocalError where the spec wants what only Kubernetes has."""
    if pipeline.spec.kafka.strimzi:
        raise LocalError(
            "spec.kafka.strimzi needs Kubernetes",
            "remove it to have an embedded Kafka, or give spec.kafka.bootstrapServers",
        )
    if pipeline.spec.cassandra.k8ssandra:
        raise LocalError(
            "spec.cassandra.k8ssandra needs Kubernetes",
            "remove it to have an embedded Cassandra, or give spec.cassandra.contactPoints",
        )


def resolve(pipeline: MeterPipeline, embedded: Connections, secrets: Path, schemas: Path | None = None) -> WorkerConfig:
    """The configuration of all workers of `pipeline`. LocalError names a secret file that is not there.

    `schemas`: a folder where workers keep schemas they looked up.
    """
    return WorkerConfig(
        pipeline=pipeline,
        kafka=kafka_connection(pipeline, secrets) or embedded.kafka,
        cassandra=_cassandra(pipeline, secrets) or embedded.cassandra,
        lake=_lake(pipeline, secrets) or embedded.lake,
        registry=registry_connection(pipeline, secrets, schemas) or embedded.registry,
        ingest=_ingest(pipeline, secrets),
        notifier=_notifier(pipeline, secrets),
        redis=redis_connection(pipeline, secrets) or _database(pipeline, embedded),
    )


def kafka_connection(pipeline: MeterPipeline, secrets: Path) -> KafkaConnection | None:
    """The Kafka that the pipeline names, None if it names none. LocalError names a secret file that is not there."""
    kafka = pipeline.spec.kafka
    if kafka.bootstrap_servers is None:
        return None
    transport = "SSL" if kafka.tls or (kafka.auth and kafka.auth.mechanism == "TLS") else "PLAINTEXT"
    properties = {}
    if kafka.auth:
        folder = _folder(secrets, "spec.kafka.auth.secretName", kafka.auth.secret_name)
        if (folder / "ca.crt").exists():
            properties["ssl.ca.location"] = str(folder / "ca.crt")
        if kafka.auth.mechanism == "TLS":
            properties["ssl.certificate.location"] = str(_file(folder, "user.crt"))
            properties["ssl.key.location"] = str(_file(folder, "user.key"))
        else:
            properties["sasl.mechanism"] = kafka.auth.mechanism
            properties["sasl.username"] = kafka.auth.username or ""
            properties["sasl.password"] = f"file:{_file(folder, 'password')}"
            transport = f"SASL_{transport}"
    if transport != "PLAINTEXT":
        properties["security.protocol"] = transport
    return KafkaConnection(bootstrap_servers=kafka.bootstrap_servers, properties=properties)


def _cassandra(pipeline: MeterPipeline, secrets: Path) -> CassandraConnection | None:
    cassandra = pipeline.spec.cassandra
    if cassandra.contact_points is None:
        return None
    username, password = None, None
    if cassandra.secret_name:
        folder = _folder(secrets, "spec.cassandra.secretName", cassandra.secret_name)
        username, password = _file(folder, "username").read_text().strip(), _file(folder, "password")
    return CassandraConnection(
        contact_points=cassandra.contact_points,
        port=cassandra.port,
        datacenter=cassandra.datacenter,
        username=username,
        password_file=password,
    )


def _lake(pipeline: MeterPipeline, secrets: Path) -> LakeConnection | None:
    lake = pipeline.spec.lake
    if lake.endpoint is None:
        return None
    access, secret = None, None
    if lake.secret_name:
        folder = _folder(secrets, "spec.lake.secretName", lake.secret_name)
        access, secret = _file(folder, "accessKey"), _file(folder, "secretKey")
    return LakeConnection(endpoint=lake.endpoint, region=lake.region, access_key_file=access, secret_key_file=secret)


def registry_connection(
    pipeline: MeterPipeline, secrets: Path, schemas: Path | None = None
) -> RegistryConnection | None:
    """The registry that the pipeline names, None if it names none. LocalError names a secret file that is not there."""
    registry = pipeline.spec.readings.registry
    if registry.url is None:
        return None
    if registry.auth is None:
        return RegistryConnection(url=registry.url, cache=schemas)
    folder = _folder(secrets, "spec.readings.registry.auth.secretName", registry.auth.secret_name)
    trusted = folder / "ca.crt" if (folder / "ca.crt").exists() else None
    if registry.auth.mechanism == "bearer":
        return RegistryConnection(url=registry.url, token_file=_file(folder, "token"), ca_file=trusted, cache=schemas)
    return RegistryConnection(
        url=registry.url,
        username=_file(folder, "username").read_text().strip(),
        password_file=_file(folder, "password"),
        ca_file=trusted,
        cache=schemas,
    )


def redis_connection(pipeline: MeterPipeline, secrets: Path) -> RedisConnection | None:
    """The Redis that the pipeline names, None if it names none. LocalError names a secret file that is not there."""
    redis = pipeline.spec.activity.redis
    if not pipeline.spec.activity.enabled or redis.host is None:
        return None
    username, password, authority = None, None, None
    if redis.secret_name is not None:
        folder = _folder(secrets, "spec.activity.redis.secretName", redis.secret_name)
        password = _file(folder, "password")
        username = (folder / "username").read_text().strip() if (folder / "username").exists() else None
        authority = folder / "ca.crt" if (folder / "ca.crt").exists() else None
    return RedisConnection(
        host=redis.host,
        port=redis.port,
        db=redis.db,
        tls=redis.tls,
        username=username,
        password_file=password,
        ca_file=authority,
    )


def _database(pipeline: MeterPipeline, embedded: Connections) -> RedisConnection | None:
    """The database of the embedded Redis that the pipeline asks for."""
    if embedded.redis is None:
        return None
    return embedded.redis.model_copy(update={"db": pipeline.spec.activity.redis.db})


def _ingest(pipeline: MeterPipeline, secrets: Path) -> IngestConnection | None:
    """Secrets of the edge adapters. Without tokens they are to be reached from this machine only."""
    ingest = pipeline.spec.ingest
    if not ingest.replicas:
        return None
    tokens = {
        group.name: _file(_folder(secrets, f"the secretName of group {group.name}", group.secret_name), "tokens")
        for group in ingest.groups
    }
    username, password, authority = None, None, None
    if ingest.mqtt is not None and ingest.mqtt.secret_name is not None:
        folder = _folder(secrets, "spec.ingest.mqtt.secretName", ingest.mqtt.secret_name)
        username, password = _file(folder, "username").read_text().strip(), _file(folder, "password")
        authority = folder / "ca.crt" if (folder / "ca.crt").exists() else None
    return IngestConnection(
        host="127.0.0.1" if ingest.anonymous else "0.0.0.0",
        token_files=tokens,
        mqtt_username=username,
        mqtt_password_file=password,
        mqtt_ca_file=authority,
    )


def _notifier(pipeline: MeterPipeline, secrets: Path) -> NotifierConnection | None:
    """Secrets of the notifier. An API without tokens is to be reached from this machine only."""
    notifier = pipeline.spec.alarms.notifier
    if not pipeline.spec.alarms.enabled or not notifier.replicas:
        return None
    files: dict[str, Path] = {}
    if notifier.webhook is not None:
        folder = _folder(secrets, "spec.alarms.notifier.webhook.secretName", notifier.webhook.secret_name)
        files["key_file"] = _file(folder, "key")
        more = {"token_file": folder / "token", "ca_file": folder / "ca.crt"}
        files |= {name: path for name, path in more.items() if path.exists()}
    if notifier.api.enabled and notifier.api.secret_name is not None:
        folder = _folder(secrets, "spec.alarms.notifier.api.secretName", notifier.api.secret_name)
        files["api_tokens_file"] = _file(folder, "tokens")
    host = "127.0.0.1" if notifier.api.anonymous else "0.0.0.0"
    return NotifierConnection.model_validate({"host": host, **files})


def _folder(secrets: Path, field: str, name: str | None) -> Path:
    folder = (secrets / (name or "")).absolute()
    if name is None or not folder.is_dir():
        raise LocalError(f"{field} is {name!r}, and there is no folder {folder}", "make it, with one file a key")
    return folder


def _file(folder: Path, key: str) -> Path:
    path = folder / key
    if not path.is_file():
        raise LocalError(f"the secret {folder.name} has no file {path}", f"put the value of {key} into it")
    return path
