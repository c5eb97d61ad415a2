"""The services of one machine: real ones, started here."""

import socket

import pytest
from meterpipe.adapters.kafka import new_admin
from meterpipe.adapters.s3 import ensure_bucket, new_client
from meterpipe.adapters.topics import TopicError, ensure_topics, plan_topics
from meterpipe.local.probes import cql_answers
from meterpipe.local.services import down


def test_all_services_answer(kafka, cassandra, s3):
    assert new_admin(kafka).list_topics(timeout=10).brokers
    assert cql_answers(cassandra.port)
    assert new_client(s3).list_buckets()["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_topics_are_made_once_and_a_second_time_changes_nothing(pipeline):
    config = pipeline(topics=False, schema=False)
    assert sorted(ensure_topics(config)) == sorted(plan.name for plan in plan_topics(config.pipeline))
    assert ensure_topics(config) == []


def test_another_number_of_partitions_is_refused_with_the_way_out(pipeline):
    config = pipeline({"kafka": {"topics": {"readings": {"partitions": 2}}}}, schema=False)
    topics = config.pipeline.spec.kafka.topics
    more = topics.model_copy(update={"readings": topics.readings.model_copy(update={"partitions": 3})})
    kafka = config.pipeline.spec.kafka.model_copy(update={"topics": more})
    spec = config.pipeline.spec.model_copy(update={"kafka": kafka})
    changed = config.model_copy(update={"pipeline": config.pipeline.model_copy(update={"spec": spec})})
    with pytest.raises(TopicError, match=r"has 2 partitions, the pipeline says 3: set spec.kafka.topics"):
        ensure_topics(changed)


def test_a_bucket_is_made_once(s3):
    assert ensure_bucket(s3, "made-once") in (True, False)
    assert ensure_bucket(s3, "made-once") is False


def test_a_service_comes_back_at_the_same_port_with_its_data(own_services):
    data, first = own_services("s3")
    ensure_bucket(first.lake, "kept")
    assert down(data) == ["s3"]
    _, second = own_services("s3")
    assert second == first
    assert [bucket["Name"] for bucket in new_client(second.lake).list_buckets()["Buckets"]] == ["kept"]


def test_a_port_taken_by_another_program_is_replaced(own_services):
    data, first = own_services("s3")
    down(data)
    with socket.create_server(("127.0.0.1", int(first.lake.endpoint.rpartition(":")[2]))):
        _, second = own_services("s3")
        assert second.lake.endpoint != first.lake.endpoint
        assert new_client(second.lake).list_buckets()["Buckets"] == []
