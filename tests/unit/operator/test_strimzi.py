"""What Strimzi 1.2 really publishes, and how it misleads: each trap of its contract has a test."""

import base64
import copy

import pytest
from meterpipe_operator.facts import KafkaFacts, Missing
from meterpipe_operator.strimzi import strimzi_facts

from tests.unit.operator.world import EVERYTHING, bare, cluster, secret

ADDRESS = "c1-kafka-bootstrap.kafka.svc"
READY = [{"type": "Ready", "status": "True"}]


def kafka(**changes):
    found = {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "Kafka",
        "metadata": {"name": "c1", "namespace": "kafka", "generation": 2},
        "spec": {
            "kafka": {
                "authorization": {"type": "simple"},
                "listeners": [
                    {"name": "plain", "port": 9092, "type": "internal", "tls": False},
                    {"name": "tls", "port": 9093, "type": "internal", "tls": True, "authentication": {"type": "tls"}},
                    {
                        "name": "scram", "port": 9094, "type": "internal", "tls": True,
                        "authentication": {"type": "scram-sha-512"},
                    },
                    {"name": "outside", "port": 9095, "type": "nodeport", "tls": False},
                ],
            }
        },
        "status": {
            "observedGeneration": 2,
            "conditions": copy.deepcopy(READY),
            "listeners": [
                {"name": name, "bootstrapServers": f"{ADDRESS}:{port}"}
                for name, port in (("plain", 9092), ("tls", 9093), ("scram", 9094), ("outside", 9095))
            ],
        },
    }  # fmt: skip
    for path, value in changes.items():
        place, *steps = path.split("__")
        target = found
        for step in (place, *steps)[:-1]:
            target = target[step]
        target[path.split("__")[-1]] = value
    return found


def user(**changes):
    status = {"observedGeneration": 1, "conditions": READY, "username": "energy-city", "secret": "its-secret"}
    labels = {"meterpipe.io/pipeline": "city", "meterpipe.io/namespace": "energy"}
    about = {"name": "energy-city", "namespace": "kafka", "generation": 1, "labels": labels}
    return {
        "apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaUser", "metadata": about, "status": status | changes,
    }  # fmt: skip


AUTHORITY = secret("c1-cluster-ca-cert", "kafka", ca__crt="CA", ca__p12="x", ca__password="y")
SCRAM = secret("its-secret", "kafka", password="pass", sasl__jaas__config="module ...")
TLS = secret("its-secret", "kafka", ca__crt="CLIENTS-CA", user__crt="CERT", user__key="KEY", user__p12="x")


def found(*objects, listener="scram", there=EVERYTHING):
    asked = {"cluster": "c1", "namespace": "kafka", "listener": listener}
    pipeline = bare({"kafka": {"strimzi": asked}})
    return strimzi_facts(pipeline, pipeline.spec.kafka.strimzi, cluster(*objects).get, there)


def reached(*objects, **more):
    facts = found(*objects, **more).kafka
    assert isinstance(facts, KafkaFacts), facts
    return facts


def missing(*objects, **more):
    facts = found(*objects, **more).kafka
    assert isinstance(facts, Missing), facts
    return facts


def plain(value):
    return base64.b64decode(value).decode()


def test_a_scram_listener_gives_password_and_authority():
    facts = reached(kafka(), user(), AUTHORITY, SCRAM)
    assert facts.bootstrap_servers == f"{ADDRESS}:9094"
    assert facts.properties == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "energy-city",
        "sasl.password": "file:/etc/meterpipe/secrets/kafka/password",
        "ssl.ca.location": "/etc/meterpipe/secrets/kafka/ca.crt",
    }
    assert facts.secret.name == "city-kafka"
    assert {key: plain(value).strip() for key, value in facts.secret.copied.items()} == {
        "ca.crt": "CA",
        "password": "pass",
    }


def test_a_tls_listener_trusts_the_clusters_authority_and_not_the_one_beside_the_users_certificate():
    facts = reached(kafka(), user(username="CN=energy-city"), AUTHORITY, TLS, listener="tls")
    assert facts.properties["security.protocol"] == "SSL"
    assert "sasl.mechanism" not in facts.properties
    assert plain(facts.secret.copied["ca.crt"]).strip() == "CA"
    assert plain(facts.secret.copied["user.key"]) == "KEY"


def test_an_open_listener_needs_neither_user_nor_secret():
    facts = reached(kafka(), listener="plain")
    assert (facts.properties, facts.secret) == ({}, None)


def test_brokers_outside_the_cluster_may_have_any_port():
    assert reached(kafka(), listener="outside").any_port
    assert not reached(kafka(), listener="plain").any_port


def test_the_password_is_looked_for_in_the_secret_the_status_names():
    assert missing(kafka(), user(secret="another"), AUTHORITY, SCRAM).reason == "KafkaSecretNotFound"


def test_a_new_password_changes_the_digest_although_no_status_does():
    before = reached(kafka(), user(), AUTHORITY, SCRAM).secret
    after = reached(kafka(), user(), AUTHORITY, secret("its-secret", "kafka", password="new")).secret
    assert before.digest != after.digest


def test_keys_that_are_not_mounted_change_nothing():
    other = secret("its-secret", "kafka", password="pass", sasl__jaas__config="another line")
    noise = secret("c1-cluster-ca-cert", "kafka", ca__crt="CA", ca__p12="z", ca__password="w")
    assert reached(kafka(), user(), AUTHORITY, SCRAM) == reached(kafka(), user(), noise, other)


def test_after_a_renewal_the_old_authority_is_trusted_beside_the_new_one():
    both = AUTHORITY | {"data": {**AUTHORITY["data"], "ca-2026.crt": base64.b64encode(b"OLD").decode()}}
    assert plain(reached(kafka(), user(), both, SCRAM).secret.copied["ca.crt"]).split() == ["CA", "OLD"]


def test_a_listener_with_its_own_certificate_is_trusted_by_what_status_shows():
    own = kafka()
    own["spec"]["kafka"]["listeners"][2]["configuration"] = {"brokerCertChainAndKey": {"secretName": "mine"}}
    own["status"]["listeners"][2]["certificates"] = ["MINE"]
    assert plain(reached(own, user(), SCRAM).secret.copied["ca.crt"]).strip() == "MINE"


def test_without_strimzis_kinds_it_is_said_so():
    assert missing(there=frozenset()).reason == "StrimziNotInstalled"


def test_a_kafka_that_is_not_there_is_named():
    facts = missing()
    assert facts.reason == "KafkaNotFound"
    assert "kafka/c1" in facts.message


def test_users_and_secrets_that_outlive_a_deleted_kafka_deceive_nobody():
    assert missing(user(), SCRAM, AUTHORITY).reason == "KafkaNotFound"
    assert missing(kafka(metadata__deletionTimestamp="2026-01-01T00:00:00Z")).reason == "KafkaNotFound"


def test_an_unknown_listener_is_told_with_those_there_are():
    facts = missing(kafka(), listener="sasl")
    assert facts.reason == "ListenerNotFound"
    assert "plain, tls, scram, outside" in facts.message


def test_a_fresh_kafka_without_status_is_waited_for():
    fresh = kafka()
    del fresh["status"]
    assert missing(fresh).reason == "KafkaNotReady"


def test_strimzis_complaint_is_passed_on():
    bad = {"type": "NotReady", "status": "True", "reason": "InvalidResourceException", "message": "port 9404"}
    facts = missing(kafka(status__listeners=[], status__conditions=[bad]))
    assert facts.reason == "KafkaNotReady"
    assert "InvalidResourceException: port 9404" in facts.message


def test_a_warning_is_no_failure():
    warned = kafka(status__conditions=[{"type": "Warning", "status": "True", "reason": "Old"}, *READY])
    assert reached(warned, user(), AUTHORITY, SCRAM)


def test_the_status_of_an_older_specification_is_not_believed_and_disturbs_nobody():
    facts = missing(kafka(metadata__generation=3), user(), AUTHORITY, SCRAM)
    assert (facts.reason, facts.passing) == ("KafkaChanging", True)


def test_an_authentication_we_cannot_do_is_refused_by_name():
    oauth = kafka()
    oauth["spec"]["kafka"]["listeners"][2]["authentication"]["type"] = "oauth"
    assert missing(oauth).reason == "AuthenticationNotSupported"


def test_while_the_user_is_being_made_its_kind_of_cluster_is_known():
    facts = found(kafka(), AUTHORITY)
    assert facts.kafka.reason == "WaitingForKafkaUser"
    assert (facts.strimzi.authentication, facts.strimzi.authorization) == ("scram-sha-512", True)


@pytest.mark.parametrize("status", [{"observedGeneration": 0}, {"username": None}])
def test_a_user_strimzi_is_not_through_with_is_waited_for(status):
    assert missing(kafka(), user(**status), AUTHORITY, SCRAM).passing


def test_a_refused_user_is_told():
    bad = [{"type": "NotReady", "status": "True", "reason": "ExecutionException"}]
    facts = missing(kafka(), user(conditions=bad), AUTHORITY, SCRAM)
    assert (facts.reason, facts.passing) == ("KafkaUserNotReady", False)


def test_somebody_elses_user_of_our_name_is_not_used():
    other = user()
    other["metadata"]["labels"]["meterpipe.io/namespace"] = "elsewhere"
    assert missing(kafka(), other, AUTHORITY, SCRAM).reason == "KafkaUserTaken"


def test_a_missing_authority_is_told():
    assert missing(kafka(), user(), SCRAM).reason == "KafkaSecretNotFound"
