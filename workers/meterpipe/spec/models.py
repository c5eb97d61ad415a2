"""The MeterPipeline resource. The single source of defaults, bounds, descriptions, CRD schema and reference page.

All durations are whole seconds. Text beside a field is what `meterpipe explain` and `kubectl explain` show.
"""

from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from meterpipe.spec import addresses
from meterpipe.spec.activity import Activity
from meterpipe.spec.alarms import Alarms
from meterpipe.spec.base import Model, Refusal, checked, refuse, rule, rules
from meterpipe.spec.ingest import Ingest
from meterpipe.spec.kubernetes import Autoscaling, Network, Pods, Replay, Resources
from meterpipe.spec.registry import Registry
from meterpipe.spec.routing import Routing
from meterpipe.spec.validation import Validation

API_GROUP = "meterpipe.io"
API_VERSION = f"{API_GROUP}/v1alpha1"
DAY = 86_400

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Label = Annotated[str, Field(max_length=63)]
Text = Annotated[str, Field(max_length=262_144)]
Host = Annotated[str, Field(min_length=1, max_length=253), checked(addresses.host_problem)]
TopicName = Annotated[
    str, Field(min_length=1, max_length=249, pattern=r"^[a-zA-Z0-9._-]+$"), checked(addresses.topic_problem)
]
Servers = Annotated[str, Field(min_length=3, max_length=2000), checked(addresses.servers_problem)]
Url = Annotated[str, Field(max_length=2000, pattern=r"^https?://"), checked(addresses.url_problem)]
Keyspace = Annotated[
    str, Field(min_length=1, max_length=48, pattern=r"^[a-z][a-z0-9_]*$"), checked(addresses.keyspace_problem)
]
Bucket = Annotated[
    str, Field(min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$"), checked(addresses.bucket_problem)
]
Prefix = Annotated[str, Field(max_length=512), checked(addresses.prefix_problem)]


def is_zone(name: str) -> bool:
    """Whether `name` is an IANA time zone."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


class Topic(Model):
    """One Kafka topic that the pipeline owns, unless it is named."""

    name: TopicName | None = Field(
        None, description="An existing topic to use. Default: <namespace>-<pipeline>-<role>."
    )
    partitions: int = Field(
        4,
        ge=1,
        le=1000,
        description="Number of partitions. Immutable: changing it moves keys.",
        json_schema_extra=rules(rule("self == oldSelf", "partitions cannot change: meters would change partition")),
    )
    retention: int = Field(
        7 * DAY,
        ge=-1,
        description="Seconds a record is kept; -1 keeps it for ever.",
        json_schema_extra=rules(rule("self != 0", "retention is -1 or at least 1 second")),
    )
    replicas: int = Field(1, ge=1, le=9, description="Replication factor.")

    @field_validator("retention")
    @classmethod
    def _not_zero(cls, retention: int) -> int:
        refuse([Refusal((), 0, "must be -1 or at least 1 second")] if retention == 0 else [])
        return retention


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

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.secretName)", "secretName is required"),
            rule("has(self.username) != (self.mechanism == 'TLS')", "username is for SASL, and required there"),
        )
    )

    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "TLS"] = Field(description="SASL mechanism, or mTLS.")
    username: str | None = Field(None, max_length=253, description="SASL user name.")
    secret_name: Name | None = Field(
        None, description="Secret with password, or user.crt and user.key; ca.crt to trust the brokers."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        found = []
        if self.secret_name is None:
            found.append(Refusal(("secretName",), None, f"is required with mechanism {self.mechanism}"))
        if self.mechanism == "TLS" and self.username is not None:
            found.append(Refusal(("username",), self.username, "is for SASL; with TLS the certificate names the user"))
        if self.mechanism != "TLS" and self.username is None:
            found.append(Refusal(("username",), None, f"is required with mechanism {self.mechanism}"))
        refuse(found)
        return self


class Kafka(Model):
    """Which Kafka, and the topics on it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("!(has(self.bootstrapServers) && has(self.strimzi))", "give bootstrapServers or strimzi, not both"),
            rule("!(has(self.auth) && has(self.strimzi))", "auth is for bootstrapServers; strimzi brings its own"),
        )
    )

    bootstrap_servers: Servers | None = Field(
        None, description="host:port, comma separated. This or strimzi; on a laptop neither."
    )
    tls: bool = Field(False, description="Encrypt the connections to bootstrapServers.")
    auth: KafkaAuth | None = Field(None, description="Client authentication for bootstrapServers.")
    strimzi: Strimzi | None = Field(None, description="A Kafka run by Strimzi.")
    topics: Topics = Field(Topics(), description="The topics.")

    @model_validator(mode="after")
    def _one_way_to_reach_it(self) -> Self:
        found = []
        if self.bootstrap_servers is not None and self.strimzi is not None:
            found.append(Refusal(("strimzi",), self.strimzi.cluster, "give bootstrapServers or strimzi, not both"))
        if self.auth is not None and self.strimzi is not None:
            found.append(Refusal(("auth",), self.auth.mechanism, "is for bootstrapServers; strimzi brings its own"))
        refuse(found)
        return self


class ReadingsFormat(StrEnum):
    """Formats a readings topic may carry; they may be mixed."""

    JSON = "json"
    ENVELOPE = "envelope"
    AVRO = "avro"


class KeyRule(StrEnum):
    """What the Kafka key must be, so that one meter's readings meet in one partition."""

    METER = "meter"
    CHANNEL = "channel"
    TRUSTED = "trusted"


class FieldNames(Model):
    """Names of the JSON and Avro fields of a reading."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "[self.meter, self.metric, self.attribute, self.timestamp, self.value, self.interval, self.quality,"
                " self.revision].all(a, [self.meter, self.metric, self.attribute, self.timestamp, self.value,"
                " self.interval, self.quality, self.revision].exists_one(b, a == b))",
                "two fields cannot have one name",
            )
        )
    )

    meter: str = Field("gateway", min_length=1, max_length=100, description="Meter, gateway or household id.")
    metric: str = Field("metricType", min_length=1, max_length=100, description="ELECTRICITY, WATER, GAS, HEAT …")
    attribute: str = Field("metricAttribute", min_length=1, max_length=100, description="ACTIVE_POWER, SUMMATION …")
    timestamp: str = Field("timestamp", min_length=1, max_length=100, description="RFC 3339 with zone, or epoch ms.")
    value: str = Field("value", min_length=1, max_length=100, description="A finite number.")
    interval: str = Field("interval", min_length=1, max_length=100, description="Seconds covered; 0 is an instant.")
    quality: str = Field("quality", min_length=1, max_length=100, description="Bit mask, 0 to 255.")
    revision: str = Field("revision", min_length=1, max_length=100, description="Higher replaces lower, 0 to 65535.")

    @model_validator(mode="after")
    def _differ(self) -> Self:
        owner: dict[str, str] = {}
        found = []
        for field, name in self:
            if name in owner:
                found.append(Refusal((field,), name, f"is already the name of '{owner[name]}'"))
            owner.setdefault(name, field)
        refuse(found)
        return self


class Readings(Model):
    """How messages become readings."""

    formats: tuple[ReadingsFormat, ...] = Field(
        (ReadingsFormat.JSON, ReadingsFormat.ENVELOPE),
        min_length=1,
        max_length=3,
        description="Accepted formats.",
        json_schema_extra=rules(rule("self.all(a, self.exists_one(b, a == b))", "a format cannot be listed twice")),
    )
    fields: FieldNames = Field(FieldNames(), description="Names of the fields of JSON and Avro.")
    registry: Registry = Field(Registry(), description="Where the schemas of Avro readings are.")
    timezone: str | None = Field(
        None, max_length=64, description="IANA zone of timestamps without a zone. Unset: they are dead letters."
    )
    max_ahead: int = Field(
        300, ge=0, le=DAY, description="Seconds a reading may be ahead of its Kafka record; beyond: a dead letter."
    )
    key: KeyRule = Field(
        KeyRule.METER,
        description="What decides the partition: murmur2 of the meter, of meter/metric/attribute, or nothing known."
        " Immutable.",
        json_schema_extra=rules(rule("self == oldSelf", "key cannot change: meters would change partition")),
    )

    @field_validator("formats")
    @classmethod
    def _listed_once(cls, formats: tuple[ReadingsFormat, ...]) -> tuple[ReadingsFormat, ...]:
        refuse(Refusal((i,), one, "is listed twice") for i, one in enumerate(formats) if one in formats[:i])
        return formats

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str | None) -> str | None:
        if zone is not None and not is_zone(zone):
            near = get_close_matches(zone, available_timezones(), n=1)
            way_out = f"did you mean {near[0]}?" if near else "e.g. Europe/Paris"
            refuse([Refusal((), zone, f"is no IANA time zone; {way_out}")])
        return zone


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

    replicas: int = Field(
        1, ge=0, le=1000, description="Number of worker processes; 0 stops the worker. Autoscaling begins with it."
    )
    autoscaling: Autoscaling = Field(Autoscaling(), description="How the number of pods follows the load.")
    resources: Resources = Field(Resources(), description="CPU and memory of each pod.")


class Aggregator(Scaled):
    """Windowed aggregates: count, min, max, sum, first, last of tumbling UTC windows, final results only."""

    windows: tuple[Annotated[int, Field(ge=1, le=DAY)], ...] = Field(
        (60, 600, 3600, DAY),
        min_length=1,
        max_length=8,
        description="Window sizes in seconds, ascending. Each divides a day and is a multiple of the smallest.",
        json_schema_extra=rules(
            rule("self.isSorted() && self.all(a, self.exists_one(b, a == b))", "windows must ascend without repeats"),
            rule("self.all(w, 86400 % w == 0)", "windows must divide a day (86400 s)"),
            rule("self.all(w, w % self[0] == 0)", "windows must be multiples of the smallest"),
        ),
    )
    grace: int = Field(300, ge=0, le=7 * DAY, description="Seconds a window waits for readings out of order.")
    duplicates: Duplicates = Field(Duplicates.DROP, description="drop: the winner counts alone. count: all count.")
    output: Output = Field(
        Output.COLUMNS, description="columns: one message a partition and window size. json: one a window."
    )
    commit_interval_ms: int = Field(
        1000, ge=50, le=5000, description="Milliseconds between two transactions; brokers abort one after 10 s."
    )

    @field_validator("windows")
    @classmethod
    def _nest(cls, windows: tuple[int, ...]) -> tuple[int, ...]:
        found = []
        for i, size in enumerate(windows):
            if i and size <= windows[i - 1]:
                found.append(Refusal((i,), size, f"must be greater than the size before it ({windows[i - 1]} s)"))
            elif DAY % size:
                found.append(Refusal((i,), size, "must divide a day (86400 s)"))
            elif size % windows[0]:
                found.append(Refusal((i,), size, f"must be a multiple of the smallest window ({windows[0]} s)"))
        refuse(found)
        return windows


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

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("!(has(self.contactPoints) && has(self.k8ssandra))", "give contactPoints or k8ssandra, not both")
        )
    )

    contact_points: tuple[Host, ...] | None = Field(
        None, min_length=1, max_length=16, description="Hosts. This or k8ssandra; on a laptop neither."
    )
    port: int = Field(9042, ge=1, le=65535, description="CQL port.")
    datacenter: str = Field("datacenter1", min_length=1, max_length=63, description="Local datacenter.")
    secret_name: Name | None = Field(None, description="Secret with username and password.")
    schema_secret_name: Name | None = Field(
        None,
        description="Secret with username and password of a role that may create tables. Default: secretName; with"
        " k8ssandra <cluster>-superuser.",
    )
    k8ssandra: K8ssandra | None = Field(None, alias="k8ssandra", description="A Cassandra run by K8ssandra.")
    keyspace: Keyspace | None = Field(None, description="Default: <namespace>_<pipeline>.")
    replication_factor: int = Field(1, ge=1, le=9, description="Copies of each row in the datacenter.")
    ttl: dict[str, Annotated[int, Field(ge=0)]] = Field(
        {},
        max_length=8,
        description="Seconds a row is kept, by window size; 0 keeps it for ever. Sizes not listed: 90 days below 10"
        " minutes, a year below an hour, else for ever.",
    )

    @model_validator(mode="after")
    def _one_way_to_reach_it(self) -> Self:
        if self.contact_points is not None and self.k8ssandra is not None:
            refuse([Refusal(("k8ssandra",), self.k8ssandra.cluster, "give contactPoints or k8ssandra, not both")])
        return self

    def ttl_of(self, window: int) -> int:
        """Seconds a row of this window size is kept; 0 is for ever."""
        default = 90 * DAY if window < 600 else 365 * DAY if window < 3600 else 0
        return self.ttl.get(str(window), default)


class Flush(Model):
    """When buffered readings become a commit of the lake: at whichever bound comes first."""

    seconds: int = Field(60, ge=1, le=3600, description="Age of the oldest buffered reading.")
    rows: int = Field(1_000_000, ge=1000, le=20_000_000, description="Buffered readings.")


class Lake(Scaled):
    """The long-term store, a Delta table on S3 holding every raw reading, and the archiver that fills it."""

    bucket: Bucket = Field("meterpipe", description="Bucket.")
    prefix: Prefix | None = Field(None, description="Key prefix. Default: <namespace>-<pipeline>.")
    endpoint: Url | None = Field(None, description="Default: AWS of the region.")
    region: str = Field("us-east-1", min_length=1, max_length=63, description="Region.")
    secret_name: Name | None = Field(None, description="Secret with accessKey and secretKey.")
    flush: Flush = Field(Flush(), description="When to commit.")


class Monitoring(Model):
    """Metrics and traces of the workers."""

    port: int = Field(8080, ge=1, le=65535, description="HTTP port of /metrics, /live and /ready.")
    traces: Url | None = Field(None, description="OTLP/HTTP endpoint for batch spans.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe log line shown.")


class DeletionPolicy(StrEnum):
    """What happens to the topics that Strimzi keeps for the pipeline when it is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class Spec(Model):
    """A smart-metering pipeline."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.cassandra.ttl.all(k, self.aggregator.windows.exists(w, string(w) == k))",
                "the keys of cassandra.ttl must be sizes of aggregator.windows",
                ".cassandra.ttl",
            ),
            rule(
                "!self.activity.enabled || self.readings.key == 'meter'",
                "activity needs all readings of a meter in one partition: readings.key must be meter",
                ".activity.enabled",
            ),
        )
    )

    kafka: Kafka = Field(Kafka(), description="Kafka and its topics.")
    readings: Readings = Field(Readings(), description="How messages become readings.")
    aggregator: Aggregator = Field(Aggregator(), description="Windowed aggregates.")
    cassandra: Cassandra = Field(Cassandra(), description="The medium-term store and its sink.")
    lake: Lake = Field(Lake(), description="The long-term store and its archiver.")
    ingest: Ingest = Field(Ingest(), description="Edge adapters that take readings in from gateways.")
    validation: Validation = Field(Validation(), description="Judging readings before they are counted.")
    routing: Routing = Field(Routing(), description="Readings sent on to other topics.")
    alarms: Alarms = Field(Alarms(), description="Alarms raised and cleared by readings.")
    activity: Activity = Field(Activity(), description="When each meter was heard last, and how often.")
    monitoring: Monitoring = Field(Monitoring(), description="Metrics and traces.")
    pods: Pods = Field(Pods(), description="What all pods have in common.")
    network: Network = Field(Network(), description="NetworkPolicies of the pods.")
    replay: Replay = Field(Replay(), description="Counting the readings topic anew.")
    deletion_policy: DeletionPolicy = Field(
        DeletionPolicy.RETAIN,
        description="What goes with the pipeline. Retain: no data. Delete: its topics in Strimzi's namespace. Topics"
        " made by the admin API, keyspace and lake stay with either.",
    )
    paused: bool = Field(False, description="Stop all workers, keep everything else.")

    @model_validator(mode="after")
    def _meters_are_in_one_partition(self) -> Self:
        if self.activity.enabled and self.readings.key is not KeyRule.METER:
            reason = f"needs all readings of a meter in one partition, and readings.key is {self.readings.key.value}"
            refuse([Refusal(("activity", "enabled"), True, reason)])
        return self

    @field_validator("cassandra")
    @classmethod
    def _ttl_of_windows(cls, cassandra: Cassandra, info: ValidationInfo) -> Cassandra:
        aggregator = info.data.get("aggregator")
        if isinstance(aggregator, Aggregator):
            sizes = [str(size) for size in aggregator.windows]
            reason = f"is not the size of a window of spec.aggregator.windows ({', '.join(sizes)})"
            refuse(Refusal(("ttl", key), seconds, reason) for key, seconds in cassandra.ttl.items() if key not in sizes)
        return cassandra


class Metadata(Model):
    """Who the pipeline is."""

    name: Name = Field(description="Name of the pipeline.")
    namespace: Name = Field("local", description="Kubernetes namespace; `local` on a laptop.")
    labels: dict[str, Label] = Field({}, max_length=256, description="Labels.")
    annotations: dict[str, Text] = Field({}, max_length=256, description="Annotations.")


OWN_TOPICS = (
    *("readings", "aggregates-", "late", "dead-letters", "changelog", "balance", "validation-", "thresholds", "alarms"),
    *("uplinks", "activity-", "route-"),
)
"""What the names of the pipeline's own topics begin with, behind its namespace and name."""


class MeterPipeline(Model):
    """One smart-metering data platform: ingest, aggregates, medium-term store, lake."""

    api_version: Literal["meterpipe.io/v1alpha1"] = Field(description="meterpipe.io/v1alpha1")
    kind: Literal["MeterPipeline"] = Field(description="MeterPipeline")
    metadata: Metadata = Field(description="Name and namespace.")
    spec: Spec = Field(Spec(), description="What the pipeline shall be.")

    @model_validator(mode="after")
    def _no_route_leads_back(self) -> Self:
        prefix, readings = f"{self.metadata.namespace}-{self.metadata.name}", self.spec.kafka.topics.readings.name
        own = tuple(f"{prefix}-{role}" for role in OWN_TOPICS)
        reason = "is a topic of this pipeline: its readings would come round again"
        refuse(
            Refusal(("spec", "routing", "routes", number, "topic"), route.topic, reason)
            for number, route in enumerate(self.spec.routing.routes)
            if route.topic is not None and (route.topic == readings or route.topic.startswith(own))
        )
        return self
