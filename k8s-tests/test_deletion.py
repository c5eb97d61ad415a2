"""What a deleted pipeline leaves: its data, and nothing of what was made for it."""

import json
from collections.abc import Iterator

import pytest
from dataplatform import Platform
from harness import Harness
from kube import Kube, eventually
from pipeline import RESOURCE, Pipeline, namespace, services
from release import Release

pytestmark = pytest.mark.k8s
OWNED = "deployments,services,configmaps,secrets,serviceaccounts,poddisruptionbudgets,networkpolicies,jobs,hpa,pods"
OWNED += ",controllerrevisions"
TOPICS = """
import sys
from confluent_kafka.admin import AdminClient
admin = AdminClient({"bootstrap.servers": sys.argv[1]})
print("\\n".join(name for name in admin.list_topics(timeout=30).topics if name.startswith(sys.argv[2])))
"""


def owned(kube: Kube, name: str) -> list[str]:
    """Everything in the namespace that belongs to a pipeline."""
    return kube.kubectl("get", OWNED, "-l", f"meterpipe.io/pipeline={name}", "-o", "name").split()


def topics(platform: Platform, prefix: str) -> set[str]:
    """Topics whose names begin so."""
    return set(platform.python(TOPICS, "main-kafka-bootstrap.platform.svc:9092", prefix).split())


@pytest.fixture
def town(harness: Harness, platform: Platform, release: Release) -> Iterator[Kube]:
    with namespace(harness.kube, "town") as inside:
        yield inside


def test_deleting_a_pipeline_removes_all_that_is_its_own_and_keeps_the_data(town: Kube, platform: Platform) -> None:
    pipeline = Pipeline(town, platform, "gone", services(strimzi=True))
    pipeline.apply()
    pipeline.ready()
    pipeline.load.send()
    pipeline.load.check()
    prefix = f"{town.namespace}-gone"
    before = topics(platform, f"{prefix}-")
    pipeline.delete()
    eventually(lambda: owned(town, "gone"), lambda left: left == [], 90)
    users = platform.kube.kubectl("get", "kafkausers.kafka.strimzi.io", "-o", "name").split()
    assert not [user for user in users if prefix in user]
    assert topics(platform, f"{prefix}-") == before != set()
    pipeline.load.check()  # Cassandra and the lake hold what they held


def test_deleting_a_pipeline_with_policy_delete_removes_its_topics_too(town: Kube, platform: Platform) -> None:
    pipeline = Pipeline(town, platform, "all", services(strimzi=True))
    pipeline.apply({"deletionPolicy": "Delete"})
    pipeline.ready()
    pipeline.delete()
    eventually(lambda: owned(town, "all"), lambda left: left == [], 90)
    eventually(lambda: topics(platform, f"{town.namespace}-all-"), lambda left: left == set(), 60)


def test_a_pipeline_deleted_while_the_operator_is_away_does_not_hang(
    town: Kube, platform: Platform, release: Release
) -> None:
    pipeline = Pipeline(town, platform, "alone", services(strimzi=False))
    pipeline.apply()
    pipeline.ready()
    release.stop()
    try:
        pipeline.delete("--timeout=30s")
        assert RESOURCE not in town.kubectl("get", RESOURCE, "-o", "name")
        eventually(lambda: owned(town, "alone"), lambda left: left == [], 120)
    finally:
        release.start()


def test_two_pipelines_of_one_name_in_two_namespaces_do_not_meet(
    harness: Harness, town: Kube, platform: Platform
) -> None:
    with namespace(harness.kube, "village") as village:
        both = [Pipeline(kube, platform, "same", services(strimzi=False)) for kube in (town, village)]
        for pipeline in both:
            pipeline.apply()
        for pipeline in both:
            pipeline.ready()
        both[0].load.households = 10
        for pipeline in both:
            pipeline.load.start()
        found = [pipeline.load.check() for pipeline in both]
        assert [one["readings"] for one in found] == [480, 960]


def test_the_younger_of_two_pipelines_that_claim_one_output_is_told_so(town: Kube, platform: Platform) -> None:
    spec = services(strimzi=False)
    keyspace = f"claimed_{town.namespace[-6:]}"
    spec["cassandra"]["keyspace"] = keyspace
    first = Pipeline(town, platform, "first", spec)
    first.apply()
    first.ready()
    second = Pipeline(town, platform, "second", spec)
    second.apply()
    conflict = eventually(lambda: second.condition("NameConflict"), lambda found: found.get("status") == "True")
    assert f"{town.namespace}/first" in conflict["message"], json.dumps(conflict)
    assert keyspace in conflict["message"]
    assert first.condition("Ready")["status"] == "True"
    assert first.condition("NameConflict").get("status") != "True"
