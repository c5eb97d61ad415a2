"""The ConfigMap of a worker or task: its slice of the pipeline and its connections, as the one file it reads."""

import json
from typing import Any

from meterpipe.spec.connections import CassandraConnection, KafkaConnection, LakeConnection, WorkerConfig
from meterpipe.spec.models import MeterPipeline, Spec

from meterpipe_operator.digest import digest
from meterpipe_operator.facts import CassandraFacts, KafkaFacts, LakeFacts, Login
from meterpipe_operator.labels import Owner, metadata
from meterpipe_operator.mounts import CONFIG_FILE, path_of
from meterpipe_operator.workers import Slice, sliced

NOWHERE = KafkaConnection(bootstrap_servers="")
"""For tasks that never talk to Kafka: a configuration has to name one."""


def worker_config(
    pipeline: MeterPipeline,
    part: Slice,
    kafka: KafkaFacts | None,
    cassandra: CassandraConnection | None = None,
    lake: LakeConnection | None = None,
) -> WorkerConfig:
    """The configuration of one worker or task."""
    reached = (
        KafkaConnection(bootstrap_servers=kafka.bootstrap_servers, properties=dict(kafka.properties))
        if kafka
        else NOWHERE
    )
    return WorkerConfig(pipeline=sliced(pipeline, part), kafka=reached, cassandra=cassandra, lake=lake)


def cassandra_connection(facts: CassandraFacts, login: Login | None) -> CassandraConnection:
    """How pods reach Cassandra as `login`."""
    return CassandraConnection(
        contact_points=facts.contact_points,
        port=facts.port,
        datacenter=facts.datacenter,
        username=login.username if login else None,
        password_file=path_of("cassandra", "password") if login else None,
    )


def lake_connection(spec: Spec, facts: LakeFacts) -> LakeConnection:
    """How pods reach S3."""
    keys = facts.secret is not None
    return LakeConnection(
        endpoint=spec.lake.endpoint,
        region=spec.lake.region,
        access_key_file=path_of("lake", "accessKey") if keys else None,
        secret_key_file=path_of("lake", "secretKey") if keys else None,
    )


def document(config: WorkerConfig) -> dict[str, Any]:
    """The file's content. Defaults are left out: a release that adds a field with a default changes nothing."""
    written: dict[str, Any] = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return written


def config_digest(config: WorkerConfig) -> str:
    """Changes when, and only when, the file does."""
    return digest(document(config))


def config_map(owner: Owner, component: str, config: WorkerConfig) -> dict[str, Any]:
    """The ConfigMap `<pipeline>-<component>`."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(owner, component, component),
        "data": {CONFIG_FILE: _text(document(config))},
    }


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
