"""Services that the specification gives, and the user's Secrets for them."""

from meterpipe_operator.facts import CassandraFacts, KafkaFacts, LakeFacts, Missing
from meterpipe_operator.given import cassandra_given, kafka_given, lake_given

from tests.unit.operator.world import bare, cluster, secret

SASL = {"mechanism": "SCRAM-SHA-512", "username": "u", "secretName": "k"}


def kafka(spec, *objects):
    return kafka_given(bare({"kafka": spec}), cluster(*objects).get)


def test_plain_kafka_needs_its_address_alone():
    assert kafka({"bootstrapServers": "k:9092"}) == KafkaFacts("k:9092")


def test_a_password_is_mounted_from_the_users_own_secret():
    facts = kafka({"bootstrapServers": "k:9092", "tls": True, "auth": SASL}, secret("k", password="p", ca__crt="CA"))
    assert isinstance(facts, KafkaFacts)
    assert facts.properties["security.protocol"] == "SASL_SSL"
    assert facts.secret is not None
    assert (facts.secret.name, facts.secret.keys, facts.secret.copied) == ("k", ("password", "ca.crt"), None)


def test_a_certificate_names_its_user():
    auth = {"mechanism": "TLS", "secretName": "k"}
    facts = kafka({"bootstrapServers": "k:9092", "auth": auth}, secret("k", user__crt="C", user__key="K"))
    assert isinstance(facts, KafkaFacts)
    assert facts.properties.keys() == {"ssl.certificate.location", "ssl.key.location", "security.protocol"}


def test_without_an_address_the_way_out_is_told():
    facts = kafka({})
    assert isinstance(facts, Missing)
    assert "bootstrapServers" in facts.message


def test_a_secret_that_is_not_there_is_named_with_its_field_and_keys():
    facts = kafka({"bootstrapServers": "k:9092", "auth": SASL})
    assert isinstance(facts, Missing)
    assert facts.reason == "SecretNotFound"
    assert "spec.kafka.auth.secretName" in facts.message
    assert "energy/k" in facts.message
    assert "password" in facts.message


def test_a_secret_without_the_key_is_told_with_what_it_holds():
    facts = kafka({"bootstrapServers": "k:9092", "auth": SASL}, secret("k", pass_word="p"))
    assert isinstance(facts, Missing)
    assert facts.reason == "SecretIncomplete"
    assert "pass_word" in facts.message


def test_cassandra_may_have_a_user_for_the_tables_of_its_own():
    spec = {"cassandra": {"contactPoints": ["c"], "secretName": "w", "schemaSecretName": "s"}}
    objects = cluster(secret("w", username="worker\n", password="p"), secret("s", username="maker", password="q"))
    facts = cassandra_given(bare(spec), objects.get)
    assert isinstance(facts, CassandraFacts)
    assert facts.login is not None
    assert facts.schema is not None
    assert (facts.login.username, facts.schema.username) == ("worker", "maker")


def test_s3_without_a_secret_is_left_to_the_cloud():
    assert lake_given(bare({}), cluster().get) == LakeFacts()


def test_keys_of_s3_have_to_be_there():
    facts = lake_given(bare({"lake": {"secretName": "s3"}}), cluster(secret("s3", accessKey="a")).get)
    assert isinstance(facts, Missing)
    assert "secretKey" in facts.message
