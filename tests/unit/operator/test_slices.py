"""Which pods roll on which change. A field of the specification that is not in the table fails the test."""

from dataclasses import replace
from typing import Any

import pytest
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.load import load_model
from meterpipe.spec.names import names_of
from meterpipe_operator import kinds
from meterpipe_operator.facts import Missing, RedisFacts, RegistryFacts, Secret
from meterpipe_operator.workers import WORKERS, sliced

from tests.unit.operator.world import EXTRAS, NOTIFIER, TOLD, by_ref, deployment, facts, merged, pipeline, ref, wanted

ALL = set(WORKERS)
READERS = ALL - {"sink", "notifier"}
CHANGES: list[tuple[dict[str, Any], set[str]]] = [
    ({"aggregator": {"grace": 600}}, {"aggregator", "alarms"}),
    ({"aggregator": {"duplicates": "count"}}, {"aggregator"}),
    ({"aggregator": {"output": "json"}}, {"aggregator"}),
    ({"aggregator": {"commitIntervalMs": 500}}, {"aggregator"}),
    ({"aggregator": {"windows": [60, 3600]}}, {"aggregator", "sink"}),
    ({"aggregator": {"replicas": 5}}, set()),
    ({"aggregator": {"autoscaling": {"mode": "hpa", "max": 9}}}, set()),
    ({"aggregator": {"resources": {"requests": {"cpu": "1"}}}}, {"aggregator"}),
    ({"cassandra": {"replicas": 3}}, set()),
    ({"cassandra": {"ttl": {"60": 86400}}}, set()),
    ({"cassandra": {"replicationFactor": 3}}, set()),
    ({"cassandra": {"keyspace": "mine"}}, {"sink", "notifier"}),
    ({"cassandra": {"resources": {"limits": {"memory": "4Gi"}}}}, {"sink"}),
    ({"lake": {"replicas": 0}}, set()),
    ({"lake": {"bucket": "other"}}, {"archiver"}),
    ({"lake": {"prefix": "there"}}, {"archiver"}),
    ({"lake": {"region": "eu-west-3"}}, {"archiver"}),
    ({"lake": {"endpoint": "http://s4:7070"}}, {"archiver"}),
    ({"lake": {"flush": {"rows": 5000}}}, {"archiver"}),
    ({"kafka": {"topics": {"readings": {"retention": 3600}}}}, set()),
    ({"kafka": {"topics": {"readings": {"partitions": 8}}}}, set()),
    ({"kafka": {"topics": {"readings": {"name": "shared"}}}}, READERS),
    ({"readings": {"timezone": "Europe/Paris"}}, READERS),
    ({"readings": {"maxAhead": 10}}, READERS),
    ({"readings": {"fields": {"meter": "id"}}}, READERS),
    ({"monitoring": {"logLevel": "DEBUG"}}, ALL),
    ({"monitoring": {"traces": "http://otel:4318"}}, ALL),
    ({"monitoring": {"port": 9000}}, ALL),
    ({"pods": {"nodeSelector": {"disk": "ssd"}}}, ALL),
    ({"pods": {"image": "other:2"}}, ALL),
    ({"pods": {"serviceAccountAnnotations": {"role": "reader"}}}, set()),
    ({"network": {"extraPorts": [9999]}}, set()),
    ({"deletionPolicy": "Delete"}, set()),
    ({"paused": True}, set()),
    ({"validation": {"spike": {"factor": 20}}}, {"validation"}),
    ({"validation": {"replicas": 4}}, set()),
    ({"ingest": {"maxPending": 5000}}, {"ingest"}),
    ({"ingest": {"replicas": 3}}, set()),
    ({"routing": {"routes": [{"name": "other"}]}}, {"router"}),
    ({"routing": {"replicas": 3}}, set()),
    ({"alarms": {"replicas": 3, "notifier": {"replicas": 2}}}, set()),
    ({"alarms": {"notifier": {"openAlarms": False}}}, {"notifier"}),
    ({"alarms": {"notifier": {"webhook": {"url": "http://h/", "secretName": "s"}}}}, {"notifier"}),
    ({"alarms": {"notifier": {"api": {"enabled": True, "anonymous": True}}}}, {"notifier"}),
    ({"alarms": {"notifier": {"resources": {"requests": {"cpu": "1"}}}}}, {"notifier"}),
    ({"alarms": {"thresholds": {"hysteresis": 1}}}, {"alarms"}),
    ({"alarms": {"spike": {"enabled": True}}}, {"alarms"}),
    ({"activity": {"replicas": 3}}, set()),
    ({"activity": {"redis": {"host": "other"}}}, {"activity"}),
    ({"activity": {"uplinks": {"grace": 60}}}, {"activity"}),
    ({"readings": {"formats": ["json"]}}, READERS),
    ({"replay": {"nonce": "again"}}, set()),
]


def template(spec: dict[str, Any], worker: str) -> Any:
    return deployment(wanted(merged(EXTRAS, spec)), worker)["spec"]["template"]


@pytest.mark.parametrize(("change", "rolled"), CHANGES, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_pods_roll_when_what_they_read_changes_and_never_else(change, rolled):
    assert {worker for worker in WORKERS if template(change, worker) != template({}, worker)} == rolled


@pytest.mark.parametrize("worker", WORKERS)
def test_labels_and_annotations_of_the_pipeline_roll_no_pod(worker):
    labelled = pipeline()
    metadata = labelled.metadata.model_copy(update={"labels": {"team": "a"}, "annotations": {"note": "b"}})
    kind = WORKERS[worker]
    assert sliced(labelled.model_copy(update={"metadata": metadata}), kind.slice) == sliced(labelled, kind.slice)


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_finds_in_its_file_what_it_reads_and_the_same_names(worker):
    spec = {
        "aggregator": {"windows": [30, 60], "grace": 7},
        "kafka": {"topics": {"readings": {"name": "shared"}}},
        "cassandra": {"keyspace": "mine"},
        "lake": {"prefix": "there", "bucket": "bucket"},
    }
    text = by_ref(wanted(merged(EXTRAS, spec)))[ref(kinds.CONFIG_MAP, f"city-{worker}")]["data"]["worker.json"]
    config = load_model(text, WorkerConfig)
    whole = pipeline(merged(EXTRAS, spec))
    mine, all_names = names_of(config.pipeline), names_of(whole)
    assert mine.prefix == all_names.prefix
    assert config.pipeline.spec.monitoring == whole.spec.monitoring
    assert config.kafka.bootstrap_servers == "k1:9094,k2:9094"
    if worker in READERS:
        assert mine.readings == "shared"
        assert config.pipeline.spec.readings == whole.spec.readings
    if worker == "aggregator":
        assert config.pipeline.spec.aggregator.grace == 7
    if worker == "sink":
        assert mine.keyspace == "mine"
        assert config.pipeline.spec.aggregator.windows == (30, 60)
        assert config.cassandra is not None
        assert config.cassandra.username == "worker"
    if worker == "aggregator":
        assert mine.validated
    if worker == "ingest":
        assert config.ingest is not None
        assert str(config.ingest.token_files["north"]) == "/etc/meterpipe/secrets/group-north/tokens"
    if worker == "archiver":
        assert mine.lake_prefix == "there"
        assert config.pipeline.spec.lake.bucket == "bucket"
        assert config.lake is not None


def test_a_worker_is_told_nothing_of_stores_it_does_not_use():
    text = by_ref(wanted())[ref(kinds.CONFIG_MAP, "city-aggregator")]["data"]["worker.json"]
    assert "cassandra" not in text
    assert "s3" not in text


@pytest.mark.parametrize(
    ("change", "rolled"),
    [
        ({"kafka": "d-new"}, ALL),
        ({"cassandra": "d-new"}, {"sink", "notifier"}),
        ({"lake": "d-new"}, {"archiver"}),
        ({"redis": "d-new"}, {"activity"}),
    ],
)
def test_another_secret_rolls_the_pods_that_mount_it(change, rolled):
    before = facts()
    assert before.kafka.secret is not None
    assert before.cassandra.login is not None
    assert before.lake.secret is not None
    after = {}
    if "kafka" in change:
        after["kafka"] = replace(before.kafka, secret=replace(before.kafka.secret, digest="d-new"))
    if "cassandra" in change:
        login = replace(before.cassandra.login, secret=replace(before.cassandra.login.secret, digest="d-new"))
        after["cassandra"] = replace(before.cassandra, login=login)
    if "lake" in change:
        after["lake"] = replace(before.lake, secret=replace(before.lake.secret, digest="d-new"))
    secret = Secret("redis", ("password",), "d-redis")
    if "redis" in change:
        after["redis"] = RedisFacts(secret=replace(secret, digest="d-new"))
    one, other = (
        wanted(EXTRAS, redis=RedisFacts(secret=secret)),
        wanted(EXTRAS, **{"redis": RedisFacts(secret=secret)} | after),
    )
    assert {w for w in WORKERS if deployment(one, w)["spec"] != deployment(other, w)["spec"]} == rolled


def test_switching_the_validation_on_rolls_the_aggregators_that_then_read_what_it_passes_on():
    one, other = wanted(), wanted({"validation": {"enabled": True}})
    rolled = {
        w for w in ("aggregator", "sink", "archiver") if deployment(one, w)["spec"] != deployment(other, w)["spec"]
    }
    assert rolled == {"aggregator"}


def test_avro_readers_are_told_of_the_registry_and_mount_its_secret():
    registry = RegistryFacts("http://registry:8081", "me", Secret("reg", ("username", "password"), "d-reg"))
    avro = merged(EXTRAS, {"readings": {"formats": ["avro"], "registry": {"url": "http://registry:8081"}}})
    found = wanted(avro, registry=registry)
    for worker in ("aggregator", "archiver", "validation"):
        config = load_model(by_ref(found)[ref(kinds.CONFIG_MAP, f"city-{worker}")]["data"]["worker.json"], WorkerConfig)
        assert config.registry is not None
        assert (config.registry.url, config.registry.username) == ("http://registry:8081", "me")
        assert str(config.registry.password_file) == "/etc/meterpipe/secrets/registry/password"
        sources = deployment(found, worker)["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"]
        assert "reg" in {one["secret"]["name"] for one in sources[1:]}
        egress = by_ref(found)[ref(kinds.NETWORK_POLICY, f"city-{worker}")]["spec"]["egress"]
        assert 8081 in {port["port"] for rule in egress for port in rule["ports"]}


def test_the_notifier_mounts_the_secrets_of_webhook_and_api_and_reaches_the_one_and_is_reached_at_the_other():
    found = wanted(merged(EXTRAS, {"alarms": {"notifier": TOLD}}), notifier=NOTIFIER)
    text = by_ref(found)[ref(kinds.CONFIG_MAP, "city-notifier")]["data"]["worker.json"]
    config = load_model(text, WorkerConfig)
    assert config.notifier is not None
    assert {str(path) for path in (config.notifier.key_file, config.notifier.token_file, config.notifier.ca_file)} == {
        f"/etc/meterpipe/secrets/webhook/{key}" for key in ("key", "token", "ca.crt")
    }
    assert str(config.notifier.api_tokens_file) == "/etc/meterpipe/secrets/api/tokens"
    sources = deployment(found, "notifier")["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"]
    assert {"hook", "clerks"} <= {one["secret"]["name"] for one in sources[1:]}
    policy = by_ref(found)[ref(kinds.NETWORK_POLICY, "city-notifier")]["spec"]
    assert 8443 in {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert 8091 in {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    service = by_ref(found)[ref(kinds.SERVICE, "city-notifier")]["spec"]
    assert ("api", 8091) in {(port["name"], port["port"]) for port in service["ports"]}
    assert "clusterIP" not in service


def test_another_secret_of_the_webhook_rolls_the_notifier():
    assert NOTIFIER.webhook is not None
    other = replace(NOTIFIER, webhook=replace(NOTIFIER.webhook, digest="d-new"))
    told = merged(EXTRAS, {"alarms": {"notifier": TOLD}})
    one, two = wanted(told, notifier=NOTIFIER), wanted(told, notifier=other)
    assert {w for w in WORKERS if deployment(one, w)["spec"] != deployment(two, w)["spec"]} == {"notifier"}


def test_the_api_places_thresholds_as_the_pipeline_says():
    told = {"alarms": {"notifier": TOLD}, "readings": {"key": "trusted"}, "activity": {"enabled": False}}
    text = by_ref(wanted(merged(EXTRAS, told), notifier=NOTIFIER))[ref(kinds.CONFIG_MAP, "city-notifier")]["data"][
        "worker.json"
    ]
    spec = load_model(text, WorkerConfig).pipeline.spec
    assert (spec.readings.key, spec.validation.enabled) == ("trusted", True)


def test_the_tables_are_made_for_the_notifier_alone_and_for_nobody_who_needs_none():
    def jobs(spec):
        return [one for one in by_ref(wanted(spec)) if one.kind == kinds.JOB and "schema" in one.name]

    alone = {"cassandra": {"replicas": 0}, "alarms": {"enabled": True}}
    assert len(jobs(alone)) == 1
    assert jobs(merged(alone, {"alarms": {"notifier": {"openAlarms": False}}})) == []
    assert jobs(merged(alone, {"alarms": {"notifier": {"replicas": 0}}})) == []


def test_without_a_table_of_open_alarms_the_notifier_is_told_of_no_cassandra():
    told = merged(EXTRAS, {"alarms": {"notifier": {"openAlarms": False}}})
    found = by_ref(wanted(told, cassandra=Missing("CassandraNotGiven", "")))
    assert "cassandra" not in found[ref(kinds.CONFIG_MAP, "city-notifier")]["data"]["worker.json"]
