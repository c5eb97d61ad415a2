"""What shall be there: which objects, in which order, and which are left alone."""

import pytest
from meterpipe_operator import kinds
from meterpipe_operator.facts import Live, Missing, StrimziFacts

from tests.unit.operator.world import EVERYTHING, EXTRAS, by_ref, deployment, names, ref, wanted

CORE = ("aggregator", "sink", "archiver")
STOPPED = {name: {"replicas": 0} for name in ("aggregator", "cassandra", "lake")}
STRIMZI = {"kafka": {"bootstrapServers": None, "strimzi": {"cluster": "c1", "namespace": "kafka"}}}
C1 = StrimziFacts("c1", "kafka", "scram-sha-512", authorization=True)


def test_the_same_pipeline_and_facts_give_the_same_objects():
    assert wanted() == wanted()


def test_a_pipeline_has_three_workers_each_with_what_it_needs():
    made = by_ref(wanted())
    assert {one.name for one in made if one.kind == kinds.DEPLOYMENT} == {f"city-{worker}" for worker in CORE}
    for worker in CORE:
        for kind in (kinds.DEPLOYMENT, kinds.CONFIG_MAP, kinds.SERVICE, kinds.SERVICE_ACCOUNT, kinds.NETWORK_POLICY):
            assert ref(kind, f"city-{worker}") in made


def test_what_a_pod_mounts_is_applied_before_it():
    order = list(by_ref(wanted()))
    for worker in CORE:
        at = order.index(ref(kinds.DEPLOYMENT, f"city-{worker}"))
        assert order.index(ref(kinds.CONFIG_MAP, f"city-{worker}")) < at
        assert order.index(ref(kinds.SERVICE_ACCOUNT, f"city-{worker}")) < at
        assert order.index(ref(kinds.SECRET, "city-kafka")) < at


def jobs(found, task):
    return [name for name in names(found.objects, kinds.JOB) if f"-{task}-" in name]


def test_workers_wait_for_topics_and_the_sink_for_its_tables_too():
    found = wanted()
    before = {target.name: {on.name for on in waits} for target, waits in found.after.items()}
    (topics,), (schema,) = jobs(found, "topics"), jobs(found, "schema")
    assert before == {"city-aggregator": {topics}, "city-sink": {topics, schema}, "city-archiver": {topics}}


def test_no_job_runs_for_workers_without_pods():
    found = wanted(STOPPED)
    assert names(found.objects, kinds.JOB) == []
    assert found.after == {}
    assert {deployment(found, worker)["spec"]["replicas"] for worker in CORE} == {0}


def test_a_sink_without_pods_needs_no_tables():
    found = wanted({"cassandra": {"replicas": 0}})
    assert jobs(found, "schema") == []
    assert len(jobs(found, "topics")) == 1


def test_a_job_that_was_done_stays_while_nobody_needs_it():
    running, stopped = wanted(), wanted(STOPPED)
    made = {one for one in by_ref(running) if one.kind == kinds.JOB}
    assert made <= stopped.kept


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"aggregator": {"windows": [60, 3600]}}, {"topics", "schema"}),
        ({"kafka": {"topics": {"readings": {"retention": 3600}}}}, {"topics"}),
        ({"cassandra": {"ttl": {"60": 86400}}}, {"schema"}),
        ({"cassandra": {"replicationFactor": 3}}, {"schema"}),
        ({"pods": {"image": "next:2"}}, {"topics", "schema"}),
        ({"pods": {"nodeSelector": {"disk": "ssd"}}}, set()),
        ({"aggregator": {"grace": 600}}, set()),
        ({"lake": {"bucket": "other"}}, set()),
    ],
)
def test_a_job_is_done_again_when_its_work_is_another(change, again):
    before, after = wanted(), wanted(change)
    assert {task for task in ("topics", "schema") if jobs(before, task) != jobs(after, task)} == again


def test_a_paused_pipeline_keeps_everything_but_its_pods():
    running, paused = wanted(), wanted({"paused": True})
    kept = {one for one in by_ref(running) if one.kind not in (kinds.JOB, kinds.CONTROLLER_REVISION)}
    assert (
        kept - set(by_ref(paused))
        == set(paused.kept) & kept
        == {one for one in kept if one.name in ("city-topics", "city-schema")}
    )
    assert {deployment(paused, worker)["spec"]["replicas"] for worker in CORE} == {0}


def test_while_kafka_is_missing_running_pods_stay_as_they_are():
    found = wanted(kafka=Missing("KafkaNotReady", "it is away"))
    assert names(found.objects, kinds.DEPLOYMENT) == []
    for worker in CORE:
        assert {ref(kinds.DEPLOYMENT, f"city-{worker}"), ref(kinds.CONFIG_MAP, f"city-{worker}")} <= found.kept
    assert {"kafka", "topics"} <= found.undecided


def test_while_cassandra_is_missing_only_the_sink_is_left_alone():
    found = wanted(cassandra=Missing("CassandraNotReady", "it is away"))
    assert names(found.objects, kinds.DEPLOYMENT) == ["city-aggregator", "city-archiver"]
    assert ref(kinds.DEPLOYMENT, "city-sink") in found.kept


def test_on_strimzi_topics_and_user_are_its_objects_in_its_namespace():
    found = wanted(STRIMZI, strimzi=C1, kinds=EVERYTHING)
    topics = [one for one in found.objects if one["kind"] == "KafkaTopic"]
    assert len(topics) == 9
    for one in topics:
        assert one["metadata"]["namespace"] == "kafka"
        assert one["metadata"]["labels"]["strimzi.io/cluster"] == "c1"
        assert "ownerReferences" not in one["metadata"]
        assert one["spec"]["topicName"] == one["metadata"]["name"]
    assert jobs(found, "topics") == []
    assert set(found.after[ref(kinds.DEPLOYMENT, "city-archiver")]) == {
        one for one in by_ref(found) if one.kind == kinds.KAFKA_TOPIC
    }


def test_the_user_may_do_what_workers_do_on_its_own_topics_by_name():
    (user,) = [one for one in wanted(STRIMZI, strimzi=C1).objects if one["kind"] == "KafkaUser"]
    assert user["metadata"]["name"] == "energy-city"
    assert user["spec"]["authentication"] == {"type": "scram-sha-512"}
    acls = {one["resource"]["name"]: one for one in user["spec"]["authorization"]["acls"]}
    assert "Write" not in acls["energy-city-readings"]["operations"]
    assert "Write" in acls["energy-city-changelog"]["operations"]
    prefixes = [name for name, one in acls.items() if one["resource"]["patternType"] == "prefix"]
    assert prefixes == ["energy-city-aggregator-"]
    assert acls[prefixes[0]]["resource"]["type"] == "transactionalId"


def test_the_user_of_a_pipeline_with_alarms_may_read_thresholds_and_tell_alarms():
    watched = wanted(STRIMZI | {"alarms": {"enabled": True}}, strimzi=C1).objects
    (user,) = [one for one in watched if one["kind"] == "KafkaUser"]
    acls = user["spec"]["authorization"]["acls"]
    rights = {(one["resource"]["type"], one["resource"]["name"]): one["operations"] for one in acls}
    assert len(rights) == len(acls)
    for topic in ("thresholds", "alarms", "alarms-changelog"):
        assert "Write" in rights["topic", f"energy-city-{topic}"]
    for group in ("alarms", "thresholds-restore", "alarms-changelog-restore"):
        assert "Read" in rights["group", f"energy-city-{group}"]
    assert "Write" in rights["transactionalId", "energy-city-alarms-"]


def test_where_kafka_checks_no_rights_the_user_asks_for_none():
    plain = StrimziFacts("c1", "kafka", "scram-sha-512")
    (user,) = [one for one in wanted(STRIMZI, strimzi=plain).objects if one["kind"] == "KafkaUser"]
    assert "authorization" not in user["spec"]


def test_an_open_listener_needs_no_user():
    found = wanted(STRIMZI, strimzi=StrimziFacts("c1", "kafka"))
    assert "KafkaUser" not in {one["kind"] for one in found.objects}


def test_a_named_readings_topic_is_somebody_elses():
    named = {"kafka": {**STRIMZI["kafka"], "topics": {"readings": {"name": "Shared.Readings"}}}}
    topics = names(wanted(named, strimzi=C1).objects, kinds.KAFKA_TOPIC)
    assert len(topics) == 8
    assert not [name for name in topics if "shared" in name]


def test_a_pod_monitor_is_there_where_prometheus_operator_is():
    assert names(wanted().objects, kinds.POD_MONITOR) == []
    assert names(wanted(kinds=EVERYTHING).objects, kinds.POD_MONITOR) == ["city-workers"]


HPA = {"aggregator": {"replicas": 3, "autoscaling": {"mode": "hpa", "min": 2, "max": 5}}}
KEDA = {"cassandra": {"autoscaling": {"mode": "keda", "min": 0, "max": 5, "lag": 1000}}}


def test_an_hpa_decides_on_a_deployment_that_leaves_the_number_out():
    live = {"aggregator": Live(3, managers=frozenset(("meterpipe-autoscaler",)), windows="60,600,3600,86400")}
    found = wanted(HPA, live=live)
    assert "replicas" not in deployment(found, "aggregator")["spec"]
    hpa = by_ref(found)[ref(kinds.AUTOSCALER, "city-aggregator")]["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (2, 5)
    assert hpa["scaleTargetRef"]["name"] == "city-aggregator"


def test_a_paused_worker_has_no_autoscaler_that_would_wake_it():
    assert names(wanted({**HPA, "paused": True}).objects, kinds.AUTOSCALER) == []


def test_keda_watches_the_lag_of_all_topics_of_the_worker_as_its_user():
    found = wanted(KEDA, kinds=EVERYTHING)
    scaled = by_ref(found)[ref(kinds.SCALED_OBJECT, "city-sink")]["spec"]
    topics = [one["metadata"]["topic"] for one in scaled["triggers"]]
    assert topics == [f"energy-city-aggregates-{size}" for size in (60, 600, 3600, 86400)]
    assert {one["metadata"]["consumerGroup"] for one in scaled["triggers"]} == {"energy-city-sink"}
    assert scaled["triggers"][0]["metadata"]["sasl"] == "scram_sha512"
    authentication = by_ref(found)[ref(kinds.TRIGGER_AUTHENTICATION, "city-kafka")]["spec"]
    assert {one["parameter"] for one in authentication["secretTargetRef"]} == {"password"}
    assert authentication["configMapTargetRef"] == [{"parameter": "username", "name": "city-kafka", "key": "username"}]
    assert ref(kinds.CONFIG_MAP, "city-kafka") in by_ref(found)


def test_two_workers_scaled_by_keda_share_its_login():
    both = {**KEDA, "lake": {"autoscaling": {"mode": "keda"}}}
    found = wanted(both, kinds=EVERYTHING)
    assert names(found.objects, kinds.TRIGGER_AUTHENTICATION) == ["city-kafka"]


# -- replay

REPLAY = {"replay": {"nonce": "second"}}
RUNNING = Live(1, pods=1, replayed="first", windows="60,600,3600,86400")


def replayed(live, **more):
    return wanted(REPLAY, live={"aggregator": live} if live else {}, **more)


def test_a_new_pipeline_has_nothing_to_replay():
    found = replayed(None)
    assert jobs(found, "replay") == []
    assert deployment(found, "aggregator")["metadata"]["annotations"]["meterpipe.io/replayed"] == "second"


def test_a_replay_first_stops_the_aggregators_and_nobody_else():
    found = replayed(RUNNING)
    assert deployment(found, "aggregator")["spec"]["replicas"] == 0
    assert deployment(found, "sink")["spec"]["replicas"] == 1
    assert jobs(found, "replay") == []


def test_when_they_are_gone_the_state_is_forgotten_once():
    found = replayed(Live(0, pods=0, replayed="first"))
    (job,) = jobs(found, "replay")
    container = by_ref(found)[ref(kinds.JOB, job)]["spec"]["template"]["spec"]["containers"][0]
    assert container["args"][:4] == ["reset", "aggregator", "--to-beginning", "--yes"]
    assert deployment(found, "aggregator")["spec"]["replicas"] == 0


def test_when_it_is_done_the_aggregators_run_again_and_the_nonce_is_remembered():
    (job,) = jobs(replayed(Live(0, pods=0, replayed="first")), "replay")
    found = replayed(Live(0, pods=0, replayed="first"), done=frozenset((job,)))
    assert deployment(found, "aggregator")["spec"]["replicas"] == 1
    assert deployment(found, "aggregator")["metadata"]["annotations"]["meterpipe.io/replayed"] == "second"
    over = replayed(Live(1, pods=1, replayed="second"))
    assert jobs(over, "replay") == []


def test_pods_are_not_cut_off_from_a_kafka_that_cannot_be_told_at_the_moment():
    found = wanted(kafka=Missing("KafkaNotFound", "there is none"))
    policies = {ref(kinds.NETWORK_POLICY, f"city-{part}") for part in ("tasks", *CORE)}
    assert policies <= found.kept
    assert not policies & by_ref(found).keys()


def test_workers_a_pipeline_need_not_have_come_and_go_whole():
    extra = set(by_ref(wanted(EXTRAS))) - set(by_ref(wanted()))
    for worker in ("validation", "ingest"):
        for kind in (kinds.DEPLOYMENT, kinds.CONFIG_MAP, kinds.SERVICE, kinds.SERVICE_ACCOUNT, kinds.NETWORK_POLICY):
            assert ref(kind, f"city-{worker}") in extra


def test_edge_adapters_may_write_readings_and_nobody_else():
    def may_write(spec):
        (user,) = [one for one in wanted(spec, strimzi=C1).objects if one["kind"] == "KafkaUser"]
        rights = {one["resource"]["name"]: one["operations"] for one in user["spec"]["authorization"]["acls"]}
        return "Write" in rights["energy-city-readings"]

    assert not may_write(STRIMZI)
    assert may_write({**STRIMZI, "ingest": EXTRAS["ingest"]})
