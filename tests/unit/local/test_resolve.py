from pathlib import Path

import pytest
from meterpipe.local.errors import LocalError
from meterpipe.local.resolve import embedded_services, refuse_clusters, resolve
from meterpipe.local.services import Connections
from meterpipe.local.session import worker_counts
from meterpipe.spec.connections import CassandraConnection, KafkaConnection, LakeConnection, RegistryConnection
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


def test_a_registry_is_embedded_for_avro_only_and_only_if_none_is_named():
    avro = {"formats": ["json", "avro"]}
    assert "registry" in embedded_services(pipeline(readings=avro))
    named = pipeline(readings=avro | {"registry": {"url": "http://registry:8080"}})
    assert "registry" not in embedded_services(named)


@pytest.mark.parametrize(
    ("mechanism", "files", "told"),
    [
        ("basic", {"username": "me\n", "password": "x"}, {"username": "me", "password_file": "password"}),
        ("bearer", {"token": "x", "ca.crt": "y"}, {"token_file": "token", "ca_file": "ca.crt"}),
    ],
)
def test_a_registrys_secrets_are_files_too(tmp_path: Path, mechanism, files, told):
    (tmp_path / "reg").mkdir()
    for name, text in files.items():
        (tmp_path / "reg" / name).write_text(text)
    auth = {"mechanism": mechanism, "secretName": "reg"}
    secured = pipeline(readings={"registry": {"url": "https://registry", "auth": auth}})
    paths = {key: text if key == "username" else tmp_path / "reg" / text for key, text in told.items()}
    wanted = RegistryConnection(url="https://registry", cache=tmp_path / "schemas", **paths)
    assert resolve(secured, EMBEDDED, tmp_path, tmp_path / "schemas").registry == wanted


def test_the_validation_runs_where_it_is_enabled():
    assert "validation-0" not in worker_counts(pipeline())
    names = worker_counts(pipeline(validation={"enabled": True, "replicas": 2}))
    assert names[:3] == ["aggregator-0", "validation-0", "validation-1"]
