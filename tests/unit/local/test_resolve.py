from pathlib import Path

import pytest
from meterpipe.local.errors import LocalError
from meterpipe.local.resolve import embedded_services, refuse_clusters, resolve
from meterpipe.local.services import Connections
from meterpipe.spec.connections import CassandraConnection, KafkaConnection, LakeConnection
from meterpipe.spec.models import MeterPipeline

EMBEDDED = Connections(
    kafka=KafkaConnection(bootstrap_servers="127.0.0.1:1"),
    cassandra=CassandraConnection(contact_points=("127.0.0.1",), port=2),
    lake=LakeConnection(endpoint="http://127.0.0.1:3"),
)


def pipeline(**spec: object) -> MeterPipeline:
    resource = {"apiVersion": "meterpipe.io/v1alpha1", "kind": "MeterPipeline", "metadata": {"name": "p"}, "spec": spec}
    return MeterPipeline.model_validate(resource)


def test_a_spec_without_addresses_gets_embedded_services(tmp_path):
    bare = pipeline()
    assert embedded_services(bare) == ["kafka", "cassandra", "s3"]
    config = resolve(bare, EMBEDDED, tmp_path)
    assert (config.kafka, config.cassandra, config.lake) == (EMBEDDED.kafka, EMBEDDED.cassandra, EMBEDDED.lake)


def test_a_named_service_is_not_embedded(tmp_path):
    named = pipeline(kafka={"bootstrapServers": "broker:9092"}, lake={"endpoint": "http://minio:9000"})
    assert embedded_services(named) == ["cassandra"]
    config = resolve(named, EMBEDDED, tmp_path)
    assert config.kafka == KafkaConnection(bootstrap_servers="broker:9092")
    assert config.lake is not None
    assert config.lake.endpoint == "http://minio:9000"


def test_secrets_are_files_and_only_their_paths_are_told(tmp_path: Path):
    (tmp_path / "kafka-user").mkdir()
    (tmp_path / "kafka-user" / "password").write_text("x")
    (tmp_path / "kafka-user" / "ca.crt").write_text("y")
    auth = {"mechanism": "SCRAM-SHA-512", "username": "me", "secretName": "kafka-user"}
    secured = pipeline(kafka={"bootstrapServers": "broker:9092", "tls": True, "auth": auth})
    assert resolve(secured, EMBEDDED, tmp_path).kafka.properties == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": f"file:{tmp_path}/kafka-user/password",
        "ssl.ca.location": f"{tmp_path}/kafka-user/ca.crt",
    }


def test_a_missing_secret_is_named_with_its_field_and_path(tmp_path: Path):
    guarded = pipeline(cassandra={"contactPoints": ["db"], "secretName": "db-user"})
    with pytest.raises(LocalError, match=r"spec\.cassandra\.secretName is 'db-user'.*no folder"):
        resolve(guarded, EMBEDDED, tmp_path)
    (tmp_path / "db-user").mkdir()
    with pytest.raises(LocalError, match="put the value of username into it"):
        resolve(guarded, EMBEDDED, tmp_path)


def test_what_needs_kubernetes_is_refused_with_the_way_out():
    with pytest.raises(LocalError, match=r"spec\.kafka\.strimzi needs Kubernetes"):
        refuse_clusters(pipeline(kafka={"strimzi": {"cluster": "c"}}))
