"""The MeterPipeline resource. The single source of defaults, bounds, descriptions, CRD schema and reference page.

All durations are whole seconds. Text beside a field is what `meterpipe explain` and `kubectl explain` show.
"""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from meterpipe.spec.base import Model

API_GROUP = "meterpipe.io"
API_VERSION = f"{API_GROUP}/v1alpha1"
DAY = 86_400

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
TopicName = Annotated[str, Field(min_length=1, max_length=249, pattern=r"^[a-zA-Z0-9._-]+$")]


class Topic(Model):
    """One Kafka topic that the pipeline owns, unless it is named."""

    name: TopicName | None = Field(
        None, description="An existing topic to use. Default: <namespace>-<pipeline>-<role>."
    )
    partitions: int = Field(4, ge=1, le=1000, description="Number of partitions. Immutable: changing it moves keys.")
    retention: int = Field(7 * DAY, ge=-1, description="Seconds a record is kept; -1 keeps it for ever.")
    replicas: int = Field(1, ge=1, le=9, description="Replication factor.")


class Topics(Model):
    """The topics of the pipeline. Aggregates, late and changelog topics have as many partitions as the readings."""

    readings: Topic = Field(Topic(), description="Where gateways' readings arrive.")


class Strimzi(Model):
    """A Kafka cluster run by Strimzi."""

    cluster: Name = Field(description="Name of the Kafka resource.")
    namespace: Name | None = Field(None, description="Its namespace. Default: the pipeline's.")
    listener: str = Field("tls", min_length=1, max_length=11, description="Name of the listener to connect to.")


class KafkaAuth(Model):
    """How clients prove who they are. Secrets are given as files (mounted or local), never inline."""

    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "TLS"] = Field(description="SASL mechanism, or mTLS.")
    username: str | None = Field(None, max_length=253, description="SASL user name.")
    secret_name: Name | None = Field(
        None, description="Secret with password, or user.crt and user.key; ca.crt to trust the brokers."
    )


class Kafka(Model):
    """Which Kafka, and the topics on it."""

    bootstrap_servers: str | None = Field(
        None, min_length=3, max_length=2000, description="host:port, comma separated. Exactly one of this and strimzi."
    )
    tls: bool = Field(False, description="Encrypt the connections to bootstrapServers.")
    auth: KafkaAuth | None = Field(None, description="Client authentication for bootstrapServers.")
    strimzi: Strimzi | None = Field(None, description="A Kafka run by Strimzi.")
    topics: Topics = Field(Topics(), description="The topics.")

    @model_validator(mode="after")
    def _one_way_to_reach_it(self) -> Self:
        if self.bootstrap_servers and self.strimzi:
            raise ValueError("give bootstrapServers or strimzi, not both")
        return self


class ReadingsFormat(StrEnum):
    """Formats a readings topic may carry; they may be mixed."""

    JSON = "json"
    ENVELOPE = "envelope"


class KeyRule(StrEnum):
    """What the Kafka key must be, so that one meter's readings meet in one partition."""

    METER = "meter"
    CHANNEL = "channel"
    TRUSTED = "trusted"


class FieldNames(Model):
    """Names of the JSON fields of a reading."""

    meter: str = Field("gateway", min_length=1, max_length=100, description="Meter, gateway or household id.")
    metric: str = Field("metricType", min_length=1, max_length=100, description="ELECTRICITY, WATER, GAS, HEAT …")
    attribute: str = Field("metricAttribute", min_length=1, max_length=100, description="ACTIVE_POWER, SUMMATION …")
    timestamp: str = Field("timestamp", min_length=1, max_length=100, description="RFC 3339 with zone, or epoch ms.")
    value: str = Field("value", min_length=1, max_length=100, description="A finite number.")
    interval: str = Field("interval", min_length=1, max_length=100, description="Seconds covered; 0 is an instant.")
    quality: str = Field("quality", min_length=1, max_length=100, description="Bit mask, 0 to 255.")
    revision: str = Field("revision", min_length=1, max_length=100, description="Higher replaces lower, 0 to 65535.")


class Readings(Model):
    """How messages become readings."""

    formats: tuple[ReadingsFormat, ...] = Field(
        (ReadingsFormat.JSON, ReadingsFormat.ENVELOPE), min_length=1, max_length=3, description="Accepted formats."
    )
    fields: FieldNames = Field(FieldNames(), description="Names of the JSON fields.")
    timezone: str | None = Field(
        None, max_length=64, description="IANA zone of timestamps without a zone. Unset: they are dead letters."
    )
    max_ahead: int = Field(
        300, ge=0, le=DAY, description="Seconds a reading may be ahead of its Kafka record; beyond: a dead letter."
    )
    key: KeyRule = Field(
        KeyRule.METER,
        description="What decides the partition: murmur2 of the meter, of meter/metric/attribute, or nothing known.",
    )


class Lateness(StrEnum):
    """Where lateness is decided."""

    SMALLEST = "smallestWindow"
    PER_WINDOW = "perWindow"


class Duplicates(StrEnum):
    """What happens to readings of one meter, metric, attribute and time."""

    DROP = "drop"
    COUNT = "count"


class Output(StrEnum):
    """Form of the results on the aggregates topics."""

    COLUMNS = "columns"
    JSON = "json"


class Scaled(Model):
    """A worker with a number of replicas."""

    replicas: int = Field(1, ge=0, le=1000, description="Number of worker processes; 0 stops the worker.")


class Aggregator(Scaled):
    """Windowed aggregates: count, min, max, sum, first, last of tumbling UTC windows, final results only."""

    windows: tuple[Annotated[int, Field(ge=1, le=DAY)], ...] = Field(
        (60, 600, 3600, DAY),
        min_length=1,
        max_length=8,
        description="Window sizes in seconds, ascending. Each divides a day and is a multiple of the smallest.",
    )
    grace: int = Field(300, ge=0, le=7 * DAY, description="Seconds a window waits for readings out of order.")
    lateness: Lateness = Field(Lateness.SMALLEST, description="Where lateness is decided.")
    duplicates: Duplicates = Field(Duplicates.DROP, description="drop: the winner counts alone. count: all count.")
    output: Output = Field(
        Output.COLUMNS, description="columns: one message a partition and window size. json: one a window."
    )
    commit_interval_ms: int = Field(1000, ge=50, le=60_000, description="Milliseconds between two transactions.")

    @model_validator(mode="after")
    def _windows_nest(self) -> Self:
        if list(self.windows) != sorted(set(self.windows)):
            raise ValueError(f"windows must ascend without repeats, got {list(self.windows)}")
        for size in self.windows:
            if DAY % size:
                raise ValueError(f"windows must divide a day (86400 s), got {size}")
            if size % self.windows[0]:
                raise ValueError(f"windows must be multiples of the smallest ({self.windows[0]} s), got {size}")
        return self


class K8ssandra(Model):
    """A Cassandra run by K8ssandra."""

    cluster: Name = Field(description="Name of the K8ssandraCluster.")
    datacenter: Name = Field("dc1", description="Datacenter name.")
    namespace: Name | None = Field(None, description="Its namespace. Default: the pipeline's.")
    secret_name: Name | None = Field(
        None, description="Secret with username and password. Default: <cluster>-superuser."
    )


class Cassandra(Scaled):
    """The medium-term store, and the sink that fills it."""

    contact_points: tuple[str, ...] | None = Field(
        None, min_length=1, max_length=16, description="Hosts. Exactly one of this and k8ssandra."
    )
    port: int = Field(9042, ge=1, le=65535, description="CQL port.")
    datacenter: str = Field("datacenter1", min_length=1, max_length=63, description="Local datacenter.")
    secret_name: Name | None = Field(None, description="Secret with username and password.")
    k8ssandra: K8ssandra | None = Field(None, description="A Cassandra run by K8ssandra.")
    keyspace: str | None = Field(
        None, min_length=1, max_length=48, pattern=r"^[a-z][a-z0-9_]*$", description="Default: <namespace>_<pipeline>."
    )
    replication_factor: int = Field(1, ge=1, le=9, description="Copies of each row in the datacenter.")
    ttl: dict[str, Annotated[int, Field(ge=0)]] = Field(
        {"60": 90 * DAY, "600": 365 * DAY, "3600": 0, "86400": 0},
        max_length=8,
        description="Seconds a row of the table of that window size is kept; 0 keeps it for ever.",
    )

    @model_validator(mode="after")
    def _one_way_to_reach_it(self) -> Self:
        if self.contact_points and self.k8ssandra:
            raise ValueError("give contactPoints or k8ssandra, not both")
        return self


class Flush(Model):
    """When buffered readings become a commit of the lake: at whichever bound comes first."""

    seconds: int = Field(60, ge=1, le=3600, description="Age of the oldest buffered reading.")
    rows: int = Field(1_000_000, ge=1000, le=20_000_000, description="Buffered readings.")


class Lake(Scaled):
    """The long-term store, a Delta table on S3 holding every raw reading, and the archiver that fills it."""

    bucket: str = Field(
        "meterpipe", min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$", description="Bucket."
    )
    prefix: str | None = Field(None, max_length=512, description="Key prefix. Default: <namespace>-<pipeline>.")
    endpoint: str | None = Field(
        None, max_length=2000, pattern=r"^https?://", description="Default: AWS of the region."
    )
    region: str = Field("us-east-1", min_length=1, max_length=63, description="Region.")
    secret_name: Name | None = Field(None, description="Secret with accessKey and secretKey.")
    flush: Flush = Field(Flush(), description="When to commit.")


class Monitoring(Model):
    """Metrics and traces of the workers."""

    port: int = Field(8080, ge=1, le=65535, description="HTTP port of /metrics, /live and /ready.")
    traces: str | None = Field(
        None, max_length=2000, pattern=r"^https?://", description="OTLP/HTTP endpoint for batch spans."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe log line shown.")


class DeletionPolicy(StrEnum):
    """What happens to topics, keyspace and lake when the pipeline is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class Spec(Model):
    """A smart-metering pipeline."""

    kafka: Kafka = Field(Kafka(), description="Kafka and its topics.")
    readings: Readings = Field(Readings(), description="How messages become readings.")
    aggregator: Aggregator = Field(Aggregator(), description="Windowed aggregates.")
    cassandra: Cassandra = Field(Cassandra(), description="The medium-term store and its sink.")
    lake: Lake = Field(Lake(), description="The long-term store and its archiver.")
    monitoring: Monitoring = Field(Monitoring(), description="Metrics and traces.")
    deletion_policy: DeletionPolicy = Field(DeletionPolicy.RETAIN, description="What happens to the data on deletion.")
    paused: bool = Field(False, description="Stop all workers, keep everything else.")


class Metadata(Model):
    """Who the pipeline is."""

    name: Name = Field(description="Name of the pipeline.")
    namespace: Name = Field("local", description="Kubernetes namespace; `local` on a laptop.")
    labels: dict[str, str] = Field({}, description="Labels.")
    annotations: dict[str, str] = Field({}, description="Annotations.")


class MeterPipeline(Model):
    """One smart-metering data platform: ingest, aggregates, medium-term store, lake."""

    api_version: Literal["meterpipe.io/v1alpha1"] = Field(description="meterpipe.io/v1alpha1")
    kind: Literal["MeterPipeline"] = Field(description="MeterPipeline")
    metadata: Metadata = Field(description="Name and namespace.")
    spec: Spec = Field(Spec(), description="What the pipeline shall be.")
