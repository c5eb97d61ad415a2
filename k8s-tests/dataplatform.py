"""What pipelines of the tests work with: a secured Kafka, Cassandra and S3, real ones, and stand-ins for the operators
of Strimzi and K8ssandra. Set up once; everything is in one namespace of its own.
"""

import base64
import json
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from certificates import authority, signed
from kube import Kube, KubeError, eventually

HERE = Path(__file__).parent
NAMESPACE = "platform"
BOOTSTRAP = f"main-kafka-bootstrap.{NAMESPACE}.svc"
CASSANDRA = f"main-dc1-service.{NAMESPACE}.svc"
S3 = f"http://s3.{NAMESPACE}.svc:7070"
S3_KEYS = {"accessKey": "test", "secretKey": "testsecret"}
BUCKET = "lake"
IMAGES = ("meterpipe", "kafka", "cassandra", "s3")
INITIALIZED = [{"type": kind, "status": "True", "reason": "", "message": ""} for kind in ("Initialized", "Ready")]
UP = {"status": {"datacenters": {"dc1": {"cassandra": {"conditions": INITIALIZED}}}}}
"""What K8ssandra tells of a datacenter that takes clients."""


@dataclass(frozen=True)
class Platform:
    """The platform's namespace, with the pod `client` from which stores are reached."""

    kube: Kube

    def python(self, script: str, *arguments: str, timeout: float = 120) -> str:
        """Run a Python script in the client pod and return what it printed."""
        words = ("exec", "--stdin", "deploy/client", "--", "python3", "-", *arguments)
        return self.kube.kubectl(*words, stdin=script, timeout=timeout)

    def background(self, *words: str) -> subprocess.Popen[str]:
        """Start a command in the client pod."""
        return self.kube.start("kubectl", "exec", "deploy/client", "--", *words)

    def has(self, path: str) -> bool:
        """Tell whether the client pod has a file."""
        try:
            self.kube.kubectl("exec", "deploy/client", "--", "test", "-e", path)
        except KubeError:
            return False
        return True

    def put(self, path: str, text: str) -> None:
        """Write a file in the client pod."""
        self.kube.kubectl("exec", "--stdin", "deploy/client", "--", "sh", "-c", f"cat > {path}", stdin=text)

    def secret(self, name: str) -> dict[str, str]:
        """Return the values of a Secret."""
        found = self.kube.get("secret", name)["data"]
        return {key: base64.b64decode(value).decode() for key, value in found.items()}


def set_up(kube: Kube) -> Platform:
    """Bring the platform up, or find it up; the images must be on the node and the vendors' CRDs in the cluster."""
    inside = kube.inside(NAMESPACE)
    platform = Platform(inside)
    if _is_up(inside):
        inside.kubectl("rollout", "restart", "deployment/client", "deployment/strimzi")  # the image may be newer
        inside.rollout("client", "strimzi")
        return platform
    kube.apply(_dump({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))
    inside.apply(_dump(*_secrets(), *_config_maps()))
    inside.apply(HERE / "data_platform" / "objects.yaml")
    inside.apply(_dump(*kafka(), *cassandra()))
    inside.apply(HERE / "services" / "s3.yaml")
    inside.apply(HERE / "data_platform" / "pods.yaml")
    inside.apply(_dump(_k8ssandra()))
    inside.rollout("kafka", "cassandra", "s3", "client", "strimzi", timeout=240)
    platform.python((HERE / "data_platform" / "settle.py").read_text(), CASSANDRA, S3, BUCKET)
    inside.kubectl(
        "patch", "k8ssandraclusters.k8ssandra.io", "main", "--subresource=status", "--type=merge", "-p", json.dumps(UP)
    )
    eventually(
        lambda: inside.get("kafka.kafka.strimzi.io", "main"), lambda k: bool(k.get("status", {}).get("listeners"))
    )
    inside.kubectl("label", "namespace", NAMESPACE, "meterpipe.test/ready=yes")
    return platform


def kafka() -> list[dict[str, Any]]:
    """Return the broker of services/kafka.yaml with the listeners and the authorizer of a secured cluster."""
    service, deployment = _documents(HERE / "services" / "kafka.yaml")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    container["env"] = [
        {"name": "KAFKA_ADDRESS", "value": BOOTSTRAP},
        {"name": "KAFKA_CONFIG", "value": "/etc/kafka/platform/server.properties"},
    ]
    container["volumeMounts"] += [
        {"name": "config", "mountPath": "/etc/kafka/platform"},
        {"name": "certificates", "mountPath": "/etc/kafka/certificates"},
    ]
    pod["volumes"] += [
        {"name": "config", "configMap": {"name": "kafka"}},
        {"name": "certificates", "secret": {"secretName": "kafka-certificates"}},
    ]
    return [service, deployment]


def cassandra() -> list[dict[str, Any]]:
    """Return the node of services/cassandra.yaml, asking for user and password."""
    service, deployment = _documents(HERE / "services" / "cassandra.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container["env"] = [{"name": "CASSANDRA_AUTH", "value": "password"}]
    return [service, deployment]


def _secrets() -> list[dict[str, Any]]:
    brokers, clients = authority("cluster-ca"), authority("clients-ca")
    broker = signed(brokers, "broker", (BOOTSTRAP, f"{BOOTSTRAP}.cluster.local", "localhost"))
    return [
        secret(
            "kafka-certificates", {"broker.pem": broker.key + broker.certificate, "clients-ca.crt": clients.certificate}
        ),
        secret("main-cluster-ca-cert", {"ca.crt": brokers.certificate}),
        secret("main-clients-ca-cert", {"ca.crt": clients.certificate}),
        secret("main-clients-ca", {"ca.key": clients.key}),
        secret("main-superuser", {"username": "main-superuser", "password": secrets.token_urlsafe(16)}),
        secret("s3", S3_KEYS),
    ]


def secret(name: str, data: dict[str, str]) -> dict[str, Any]:
    """Return a Secret's manifest."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def _config_maps() -> list[dict[str, Any]]:
    files = {"kafka": "server.properties", "strimzi": "strimzi.py"}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "data": {file: (HERE / "data_platform" / file).read_text()},
        }
        for name, file in files.items()
    ]


def _k8ssandra() -> dict[str, Any]:
    datacenter = {"metadata": {"name": "dc1"}, "size": 1}
    spec = {"cassandra": {"serverVersion": "5.0.6", "datacenters": [datacenter]}}
    about = {"apiVersion": "k8ssandra.io/v1alpha1", "kind": "K8ssandraCluster", "metadata": {"name": "main"}}
    return about | {"spec": spec}


def _is_up(kube: Kube) -> bool:
    try:
        return bool(kube.get("namespace", NAMESPACE)["metadata"]["labels"].get("meterpipe.test/ready") == "yes")
    except KubeError:
        return False


def _documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def _dump(*documents: dict[str, Any]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
