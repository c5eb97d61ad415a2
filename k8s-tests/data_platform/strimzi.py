"""Plays what Strimzi 1.2 publishes, and nothing else of it, in front of a Kafka that runs already. Runs in a pod.

Of each Kafka its listeners; of each KafkaTopic a real topic; of each KafkaUser a real user with its rights, and its
Secret, made again with another password when it is gone. What a real operator was seen to do wrong or late is played
too: a deleted KafkaTopic takes the topic with it unless it is unmanaged, `status` tells the generation it is about.
"""

import base64
import json
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

Object = dict[str, Any]
Listing = Callable[..., Any]

GROUP, VERSION = "kafka.strimzi.io", "v1"
FINALIZER = "strimzi.io/topic-operator"
CLUSTER = "strimzi.io/cluster"
RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,
}
NAMESPACE, SERVERS = sys.argv[1], sys.argv[2]


class Standin:
    def __init__(self) -> None:
        config.load_incluster_config()  # type: ignore[no-untyped-call]
        self.core, self.custom = client.CoreV1Api(), client.CustomObjectsApi()
        self.kafka = AdminClient({"bootstrap.servers": f"{SERVERS}:9092"})
        self.wanted: queue.Queue[None] = queue.Queue()
        self.rights: dict[str, list[Object]] = {}  # what each user was given last

    def run(self) -> None:
        lists = [self._lister(plural) for plural in ("kafkas", "kafkatopics", "kafkausers")]
        lists.append(lambda **k: self.core.list_namespaced_secret(NAMESPACE, **k))
        for each in lists:
            threading.Thread(target=self._watch, args=(each,), daemon=True).start()
        print("watching", flush=True)
        while True:
            self.wanted.get()
            while not self.wanted.empty():
                self.wanted.get()
            try:
                self.reconcile()
            except (ApiException, KafkaException, LookupError) as error:
                print(f"again: {error}", flush=True)
                threading.Timer(1, self.wanted.put, (None,)).start()

    def _lister(self, plural: str) -> Listing:
        return lambda **k: self.custom.list_namespaced_custom_object(GROUP, VERSION, NAMESPACE, plural, **k)

    def _watch(self, listing: Listing) -> None:
        while True:
            try:
                events = watch.Watch().stream(listing, timeout_seconds=240)  # type: ignore[no-untyped-call]
                for _ in events:
                    self.wanted.put(None)
            except Exception as error:  # the API server may be away for a moment
                print(f"watching again: {error}", flush=True)
                threading.Event().wait(1)

    def reconcile(self) -> None:
        for kafka in self._objects("kafkas"):
            self._publish_listeners(kafka)
        for topic in self._objects("kafkatopics"):
            if topic["metadata"].get("labels", {}).get(CLUSTER):
                self._topic(topic)
        for user in self._objects("kafkausers"):
            if user["metadata"].get("labels", {}).get(CLUSTER):
                self._user(user)

    def _objects(self, plural: str) -> list[Object]:
        return list(self._lister(plural)()["items"])

    def _publish_listeners(self, kafka: Object) -> None:
        authority = self._data(f"{kafka['metadata']['name']}-cluster-ca-cert")["ca.crt"]
        listeners = []
        for listener in kafka["spec"]["kafka"]["listeners"]:
            place = {"host": SERVERS, "port": listener["port"]}
            told = {
                "name": listener["name"],
                "addresses": [place],
                "bootstrapServers": f"{SERVERS}:{listener['port']}",
            }
            listeners.append(told | ({"certificates": [authority]} if listener["tls"] else {}))
        self._status("kafkas", kafka, {"listeners": listeners, "clusterId": "bWV0ZXJwaXBlLXRlc3RzMQ"})

    def _topic(self, topic: Object) -> None:
        metadata, spec = topic["metadata"], topic.get("spec", {})
        name = spec.get("topicName") or metadata["name"]
        managed = metadata.get("annotations", {}).get("strimzi.io/managed") != "false"
        if metadata.get("deletionTimestamp"):
            if managed and name in self._topics():
                self.kafka.delete_topics([name])[name].result(30)
            self._finalizers(metadata["name"], [f for f in metadata.get("finalizers", []) if f != FINALIZER])
            return
        if not managed:
            self._status("kafkatopics", topic, {"topicName": name}, condition="Unmanaged")
            return
        if FINALIZER not in metadata.get("finalizers", []):
            self._finalizers(metadata["name"], [*metadata.get("finalizers", []), FINALIZER])
        if name not in self._topics():
            settings = {key: str(value) for key, value in spec.get("config", {}).items()}
            partitions, copies = spec.get("partitions", 1), spec.get("replicas", 1)
            self.kafka.create_topics([NewTopic(name, partitions, copies, config=settings)])[name].result(30)
        self._status("kafkatopics", topic, {"topicName": name, "topicId": "of-the-test"})

    def _topics(self) -> set[str]:
        return set(self.kafka.list_topics(timeout=30).topics)

    def _user(self, user: Object) -> None:
        metadata, spec = user["metadata"], user["spec"]
        if metadata.get("deletionTimestamp"):
            return
        name, kind = metadata["name"], spec["authentication"]["type"]
        if kind == "scram-sha-512":
            username = name
        elif kind == "tls":
            username = f"CN={name}"
        else:
            self._status("kafkausers", user, {}, condition="NotReady")
            return
        if self._secret(name) is None:
            self._create_secret(user, self._certificate(user) if kind == "tls" else self._password(name))
        self._give_rights(f"User:{username}", spec.get("authorization", {}).get("acls", []))
        self._status("kafkausers", user, {"username": username, "secret": name})

    def _password(self, name: str) -> dict[str, str]:
        password = secrets.token_urlsafe(24)
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(name, info, password.encode())
        self.kafka.alter_user_scram_credentials([change])[name].result(30)
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        line = f'{module} required username="{name}" password="{password}";'
        return {"password": password, "sasl.jaas.config": line}

    def _certificate(self, user: Object) -> dict[str, str]:
        """A certificate signed by the clients' authority, and its key; by openssl, as no library for it is here."""
        cluster = user["metadata"]["labels"][CLUSTER]
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            (place / "ca.crt").write_text(self._data(f"{cluster}-clients-ca-cert")["ca.crt"])
            (place / "ca.key").write_text(self._data(f"{cluster}-clients-ca")["ca.key"])

            def openssl(*words: str) -> None:
                subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True)

            openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "user.key")
            openssl("req", "-new", "-key", "user.key", "-subj", f"/CN={user['metadata']['name']}", "-out", "user.csr")
            sign = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-out", "user.crt")
            openssl("x509", "-req", "-in", "user.csr", *sign)
            return {name: (place / name).read_text() for name in ("ca.crt", "user.crt", "user.key")}

    def _give_rights(self, principal: str, rules: list[Object]) -> None:
        if self.rights.get(principal) == rules:
            return
        bindings = [binding for rule in rules for binding in bindings_of(principal, rule)]
        if bindings:
            for future in self.kafka.create_acls(bindings).values():
                future.result(30)
        self.rights[principal] = rules

    def _data(self, name: str) -> dict[str, str]:
        found = self._secret(name)
        if found is None:
            raise LookupError(f"there is no Secret {name}")
        return found

    def _secret(self, name: str) -> dict[str, str] | None:
        try:
            found = self.core.read_namespaced_secret(name, NAMESPACE).data or {}
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return {key: base64.b64decode(value).decode() for key, value in found.items()}

    def _create_secret(self, user: Object, data: dict[str, str]) -> None:
        metadata = user["metadata"]
        owner = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "KafkaUser", "name": metadata["name"]}
        owners = [owner | {"uid": metadata["uid"], "controller": False, "blockOwnerDeletion": False}]
        labels = {CLUSTER: metadata["labels"][CLUSTER], "strimzi.io/kind": "KafkaUser"}
        about = {"name": metadata["name"], "labels": labels, "ownerReferences": owners}
        self.core.create_namespaced_secret(NAMESPACE, client.V1Secret(metadata=about, string_data=data))

    def _finalizers(self, name: str, finalizers: list[str]) -> None:
        body = {"metadata": {"finalizers": finalizers}}
        self.custom.patch_namespaced_custom_object(GROUP, VERSION, NAMESPACE, "kafkatopics", name, body)

    def _status(self, plural: str, found: Object, told: Object, condition: str = "Ready") -> None:
        generation = found["metadata"]["generation"]
        since = found["metadata"]["creationTimestamp"]
        conditions = [{"type": condition, "status": "True", "lastTransitionTime": since}]
        status = told | {"observedGeneration": generation, "conditions": conditions}
        present = found.get("status", {})
        if json.dumps(present, sort_keys=True) != json.dumps(status, sort_keys=True):
            patch = {"status": dict.fromkeys(present) | status}
            name = found["metadata"]["name"]
            self.custom.patch_namespaced_custom_object_status(GROUP, VERSION, NAMESPACE, plural, name, patch)


def bindings_of(principal: str, rule: Object) -> Iterator[AclBinding]:
    """Kafka's own form of one rule of a KafkaUser, an entry an operation."""
    resource = rule["resource"]
    prefixed = resource.get("patternType") == "prefix"
    pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
    name = "kafka-cluster" if resource["type"] == "cluster" else resource["name"]
    for operation in rule["operations"]:
        word = "".join(f"_{c}" if c.isupper() else c for c in operation).strip("_").upper()
        yield AclBinding(
            *(RESOURCES[resource["type"]], name, pattern, principal, rule.get("host", "*")),
            *(AclOperation[word], AclPermissionType.ALLOW),
        )


if __name__ == "__main__":
    Standin().run()
