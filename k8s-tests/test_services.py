"""The images of the services a pipeline needs: each does its real work, asked by the pipeline's own clients."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Harness
from kube import Kube, eventually

pytestmark = pytest.mark.k8s
SERVICES = ("kafka", "cassandra", "s3", "redis", "prometheus")

CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app.kubernetes.io/name: meterpipe}}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers:
  - name: client
    image: localhost/meterpipe:test
    imagePullPolicy: Never
    command: [python3, -c, "import prometheus_client as p, time; p.start_http_server(9100); time.sleep(1e6)"]
    ports: [{name: metrics, containerPort: 9100}]
    securityContext:
      {runAsNonRoot: true, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"""
KAFKA = """
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

servers = {"bootstrap.servers": "kafka:9092"}
admin = AdminClient(servers)
admin.create_topics([NewTopic("readings", 3, 1)])["readings"].result(30)
producer = Producer({**servers, "transactional.id": "t"})
producer.init_transactions(30)
producer.begin_transaction()
producer.produce("readings", b"42", partition=2)
producer.commit_transaction(30)
consumer = Consumer({**servers, "group.id": "g", "isolation.level": "read_committed"})
consumer.assign([TopicPartition("readings", 2, 0)])
print(consumer.poll(30).value().decode())
"""
CASSANDRA = """
from cassandra.cluster import Cluster

session = Cluster(["cassandra"]).connect()
session.execute(
    "CREATE KEYSPACE k WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 1}", timeout=30
)
session.execute("CREATE TABLE k.t (a int PRIMARY KEY, b text)", timeout=30)
session.execute("INSERT INTO k.t (a, b) VALUES (1, 'one')")
print(session.execute("SELECT b FROM k.t WHERE a = 1").one().b)
"""
S3 = """
import boto3
from botocore.exceptions import ClientError

keys = {"aws_access_key_id": "test", "aws_secret_access_key": "testsecret", "region_name": "us-east-1"}
s3 = boto3.client("s3", endpoint_url="http://s3:7070", **keys)
s3.create_bucket(Bucket="lake")
s3.put_object(Bucket="lake", Key="a/b", Body=b"kept", IfNoneMatch="*")
try:
    s3.put_object(Bucket="lake", Key="a/b", Body=b"lost", IfNoneMatch="*")
except ClientError as error:
    print(error.response["ResponseMetadata"]["HTTPStatusCode"])
print(s3.get_object(Bucket="lake", Key="a/b")["Body"].read().decode())
"""
REDIS = """
import socket

with socket.create_connection(("redis", 6379), 10) as connection:
    connection.sendall(b"SET meter 7\\r\\nGET meter\\r\\nQUIT\\r\\n")
    print(connection.makefile().read())
"""
PROMETHEUS = """
import urllib.request

print(urllib.request.urlopen("http://prometheus:9090/api/v1/query?query=up", timeout=10).read().decode())
"""


@pytest.fixture(scope="module")
def services(harness: Harness) -> Iterator[Kube]:
    harness.load("meterpipe", *SERVICES)
    with harness.namespace() as kube:
        kube.apply(CLIENT)
        kube.apply(Path(__file__).parent / "services")
        kube.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=120s", timeout=130)
        kube.rollout(*SERVICES, timeout=240)
        yield kube


def ask(kube: Kube, script: str) -> list[str]:
    """Run a Python script in the client pod and return the lines it printed."""
    return kube.kubectl("exec", "--stdin", "client", "--", "python3", "-", stdin=script).split()


def test_kafka_commits_a_transaction(services: Kube) -> None:
    assert ask(services, KAFKA) == ["42"]


def test_cassandra_keeps_a_row(services: Kube) -> None:
    assert ask(services, CASSANDRA) == ["one"]


def test_the_s3_server_refuses_to_overwrite_when_asked_not_to(services: Kube) -> None:
    assert ask(services, S3) == ["412", "kept"]


def test_redis_answers(services: Kube) -> None:
    assert ask(services, REDIS) == ["+OK", "$1", "7", "+OK"]


def test_prometheus_finds_and_scrapes_the_pods_of_pipelines(services: Kube) -> None:
    def jobs_up() -> set[str]:
        found = json.loads(services.kubectl("exec", "--stdin", "client", "--", "python3", "-", stdin=PROMETHEUS))
        return {s["metric"]["job"] for s in found["data"]["result"] if s["value"][1] == "1"}

    assert eventually(jobs_up, lambda jobs: "pods" in jobs) == {"pods", "prometheus"}
