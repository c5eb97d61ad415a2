"""Checks of addresses and names that no schema can make."""

import pytest
from meterpipe.spec import addresses


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (addresses.servers_problem, "kafka:9092"),
        (addresses.servers_problem, "a.b.svc:1, [::1]:9092,10.0.0.1:65535"),
        (addresses.host_problem, "cassandra-1.db.svc.cluster.local."),
        (addresses.host_problem, "::1"),
        (addresses.host_problem, "my_host"),
        (addresses.url_problem, "http://s3.data.svc:7070"),
        (addresses.url_problem, "https://collector.example.org/v1/traces"),
        (addresses.url_problem, "http://[::1]:4318"),
        (addresses.topic_problem, "readings"),
        (addresses.topic_problem, "_mine"),
        (addresses.keyspace_problem, "city"),
        (addresses.keyspace_problem, "systems"),
        (addresses.bucket_problem, "lake.example.org"),
        (addresses.prefix_problem, ""),
        (addresses.prefix_problem, "/a/b.c/"),
    ],
)
def test_what_a_service_would_take_is_taken(check, text):
    assert check(text) is None


@pytest.mark.parametrize(
    ("check", "text", "word"),
    [
        (addresses.servers_problem, "kafka", "no port"),
        (addresses.servers_problem, "a:1,,b:2", "no port"),
        (addresses.servers_problem, "kafka:99999", "65535"),
        (addresses.servers_problem, "http://kafka:9092", "URL"),
        (addresses.servers_problem, ":9092", "host name"),
        (addresses.host_problem, "cassandra:9042", "port in its own field"),
        (addresses.host_problem, "http://cassandra", "URL"),
        (addresses.host_problem, "-x", "host name"),
        (addresses.url_problem, "http://", "host"),
        (addresses.url_problem, "http://s3:99999", "port"),
        (addresses.url_problem, "http://key:secret@s3:7070", "Secret"),
        (addresses.url_problem, "http://s3:7070/?a=b", "without"),
        (addresses.url_problem, "http://s 3", "host name"),
        (addresses.topic_problem, "__consumer_offsets", "Kafka itself"),
        (addresses.topic_problem, "..", "no topic name"),
        (addresses.keyspace_problem, "system_auth", "Cassandra itself"),
        (addresses.keyspace_problem, "table", "CQL"),
        (addresses.bucket_problem, "192.168.1.1", "IP"),
        (addresses.bucket_problem, "a..b", "S3"),
        (addresses.prefix_problem, "a//b", "slashes"),
        (addresses.prefix_problem, "a/../b", "slashes"),
    ],
)
def test_what_a_service_would_refuse_is_refused_with_the_reason(check, text, word):
    assert word in check(text)
