"""What K8ssandra publishes: services, users and names by cass-operator's rules."""

import pytest
from meterpipe_operator.facts import CassandraFacts, Missing
from meterpipe_operator.k8ssandra import cleaned, k8ssandra_facts

from tests.unit.operator.world import EVERYTHING, bare, cluster, secret

UP = [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}]


def k8ssandra(name="main", conditions=UP, status_name=None, auth=None, **cassandra):
    datacenter = cassandra.pop("datacenter", {"metadata": {"name": "dc1"}})
    told = {"conditions": conditions} | ({"datacenterName": status_name} if status_name else {})
    return {
        "apiVersion": "k8ssandra.io/v1alpha1",
        "kind": "K8ssandraCluster",
        "metadata": {"name": name, "namespace": "db"},
        "spec": {"cassandra": {"datacenters": [datacenter], **cassandra}} | ({} if auth is None else {"auth": auth}),
        "status": {"datacenters": {"dc1": {"cassandra": told}}},
    }


SUPERUSER = secret("main-superuser", "db", username="main-superuser", password="p")


def found(*objects, there=EVERYTHING, **asked):
    spec = {"k8ssandra": {"cluster": "main", "namespace": "db", **asked}}
    pipeline = bare({"cassandra": spec})
    return k8ssandra_facts(pipeline, pipeline.spec.cassandra.k8ssandra, cluster(*objects).get, there)


def reached(*objects, **asked):
    facts = found(*objects, **asked)
    assert isinstance(facts, CassandraFacts), facts
    return facts


def missing(*objects, **asked):
    facts = found(*objects, **asked)
    assert isinstance(facts, Missing), facts
    return facts


@pytest.mark.parametrize(
    ("name", "clean"),
    [("main", "main"), ("Main_Cluster", "main-cluster"), ("my cluster", "mycluster"), ("2nd", "nd"), ("a-", "a")],
)
def test_names_are_cleaned_up_as_cass_operator_does(name, clean):
    assert cleaned(name) == clean


def test_the_service_and_the_superuser_are_found_by_their_names():
    facts = reached(k8ssandra(), SUPERUSER)
    assert facts.contact_points == ("main-dc1-service.db.svc",)
    assert (facts.port, facts.datacenter) == (9042, "dc1")
    assert facts.login.username == "main-superuser"
    assert facts.login.secret.name == "city-cassandra"
    assert facts.login.secret.copied.keys() == {"password"}
    assert facts.schema is None


def test_another_name_of_the_cassandra_cluster_changes_service_and_superuser():
    named = k8ssandra(clusterName="Big_One")
    facts = reached(named, secret("big-one-superuser", "db", username="s", password="p"))
    assert facts.contact_points == ("big-one-dc1-service.db.svc",)


def test_another_name_of_the_datacenter_is_its_name_to_clients():
    renamed = k8ssandra(datacenter={"metadata": {"name": "dc1"}, "datacenterName": "Paris_1"}, status_name="Paris_1")
    facts = reached(renamed, SUPERUSER)
    assert facts.datacenter == "Paris_1"
    assert facts.contact_points == ("main-paris-1-service.db.svc",)


def test_a_datacenter_in_another_namespace_is_reached_there():
    there = k8ssandra(datacenter={"metadata": {"name": "dc1", "namespace": "west"}})
    assert reached(there, SUPERUSER).contact_points == ("main-dc1-service.west.svc",)


def test_the_superusers_secret_may_be_named():
    named = k8ssandra(superuserSecretRef={"name": "root"})
    assert reached(named, secret("root", "db", username="root", password="p")).login.username == "root"


def test_workers_get_the_user_that_is_asked_for_and_the_schema_job_the_superuser():
    worker = secret("worker", "db", username="worker", password="w")
    facts = reached(k8ssandra(), SUPERUSER, worker, secretName="worker")
    assert facts.login.username == "worker"
    assert facts.schema.username == "main-superuser"
    assert facts.login.secret.name != facts.schema.secret.name


def test_without_authentication_no_secret_is_needed():
    assert reached(k8ssandra(auth=False)).login is None


@pytest.mark.parametrize(
    ("objects", "asked", "reason"),
    [
        ((), {}, "CassandraNotFound"),
        ((k8ssandra(), SUPERUSER), {"there": frozenset()}, "K8ssandraNotInstalled"),
        ((k8ssandra(), SUPERUSER), {"datacenter": "dc2"}, "DatacenterNotFound"),
        ((k8ssandra(conditions=[]), SUPERUSER), {}, "CassandraNotReady"),
        ((k8ssandra(conditions=[*UP, {"type": "Stopped", "status": "True"}]), SUPERUSER), {}, "CassandraStopped"),
        ((k8ssandra(),), {}, "CassandraSecretNotFound"),
        ((k8ssandra(), secret("main-superuser", "db", username="x")), {}, "CassandraSecretIncomplete"),
    ],
)
def test_what_is_missing_is_said(objects, asked, reason):
    assert missing(*objects, **asked).reason == reason


def test_a_node_that_is_away_stops_nothing():
    away = [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "False"}]
    assert reached(k8ssandra(conditions=away), SUPERUSER)
