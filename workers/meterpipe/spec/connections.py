"""Where the services are, resolved: what a worker mounts as one file. Secrets are file paths only."""

from pathlib import Path

from pydantic import Field

from meterpipe.spec.base import Model
from meterpipe.spec.models import MeterPipeline


class KafkaConnection(Model):
    """A reachable Kafka. `properties` are librdkafka's; their values may be `file:PATH`, read at start."""

    bootstrap_servers: str
    properties: dict[str, str] = Field({})


class CassandraConnection(Model):
    """A reachable Cassandra."""

    contact_points: tuple[str, ...]
    port: int = 9042
    datacenter: str = "datacenter1"
    username: str | None = None
    password_file: Path | None = None


class LakeConnection(Model):
    """A reachable S3. Without key files the client's usual chain of credentials is used."""

    endpoint: str | None = None
    region: str = "us-east-1"
    access_key_file: Path | None = None
    secret_key_file: Path | None = None


class IngestConnection(Model):
    """Secrets of the edge adapters, and where they listen."""

    host: str = "0.0.0.0"
    token_files: dict[str, Path] = Field({})
    """By name of the gateway group; one token a line."""
    mqtt_username: str | None = None
    mqtt_password_file: Path | None = None
    mqtt_ca_file: Path | None = None


class NotifierConnection(Model):
    """Secrets of the notifier, and where its API listens."""

    host: str = "0.0.0.0"
    key_file: Path | None = None
    """The webhook's shared secrets, one a line."""
    token_file: Path | None = None
    ca_file: Path | None = None
    api_tokens_file: Path | None = None
    """Bearer tokens of the API, one a line."""


class RegistryConnection(Model):
    """A reachable schema registry. `url` has the path of its Confluent API."""

    url: str
    username: str | None = None
    password_file: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    cache: Path | None = None
    """A folder where schemas are kept, so that a worker can start while the registry is away."""


class RedisConnection(Model):
    """A reachable Redis or Valkey; which database, and as whom."""

    host: str
    port: int = 6379
    db: int = 0
    tls: bool = False
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None


class WorkerConfig(Model):
    """All that a worker is told: the pipeline and where its services are."""

    pipeline: MeterPipeline
    kafka: KafkaConnection
    cassandra: CassandraConnection | None = None
    lake: LakeConnection | None = None
    registry: RegistryConnection | None = None
    ingest: IngestConnection | None = None
    notifier: NotifierConnection | None = None
    redis: RedisConnection | None = None
