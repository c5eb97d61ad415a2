"""What is written: what is missing, changed, or was edited by hand; and nothing else."""

import copy
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe_operator import kinds
from meterpipe_operator.desired import Desired
from meterpipe_operator.difference import first_difference, quantity
from meterpipe_operator.facts import Live, Missing
from meterpipe_operator.kinds import ref_of
from meterpipe_operator.plan import plan, stamped

from tests.unit.operator.world import by_ref, deployment, done, live, ref, wanted

WANTED = wanted({"aggregator": {"replicas": 2}})


def there(found: Desired = WANTED):
    """All of it, as the API server has it when Jobs are done."""
    return [done(one) if one["kind"] == "Job" else live(one) for one in found.objects]


def test_on_an_empty_cluster_all_is_applied_but_what_has_to_wait():
    made = plan(WANTED, [])
    waiting = {ref(kinds.DEPLOYMENT, f"city-{worker}") for worker in ("aggregator", "sink", "archiver")}
    assert {one.ref for one in made.apply} == set(by_ref(WANTED)) - waiting
    assert {one.ref for one in made.wait} == waiting
    assert {one.why for one in made.apply} == {"missing"}


def test_when_the_jobs_are_done_the_deployments_follow():
    jobs = [done(one) for one in WANTED.objects if one["kind"] == "Job"]
    assert {one.ref.name for one in plan(WANTED, jobs).apply if one.ref.kind == kinds.DEPLOYMENT} == {
        "city-aggregator", "city-sink", "city-archiver",
    }  # fmt: skip


def test_the_sink_waits_for_its_tables_while_the_others_run():
    jobs = [done(one) for one in WANTED.objects if "-topics-" in one["metadata"]["name"]]
    made = plan(WANTED, jobs)
    assert [one.ref.name for one in made.wait] == ["city-sink"]
    assert made.wait[0].reason == "WaitingForSchema"


def test_an_idle_pipeline_writes_nothing():
    made = plan(WANTED, there())
    assert made.empty
    assert not made.wait


@given(st.randoms(use_true_random=False), st.data())
def test_whatever_was_taken_away_is_brought_back_and_no_more(order: random.Random, data: st.DataObject):
    present = there()
    gone = data.draw(st.sets(st.sampled_from([ref_of(one) for one in present if one["kind"] != "Job"])))
    order.shuffle(present)
    made = plan(WANTED, [one for one in present if ref_of(one) not in gone])
    assert {one.ref for one in made.apply} == gone
    assert not made.delete


def edited(kind, name, edit):
    objects = copy.deepcopy(there())
    for one in objects:
        if ref_of(one) == ref(kind, name):
            edit(one)
    return [(one.ref.name, one.why) for one in plan(WANTED, objects).apply]


@pytest.mark.parametrize(
    ("kind", "edit", "why"),
    [
        (kinds.DEPLOYMENT, lambda one: one["spec"].update(replicas=9), "spec.replicas differs"),
        (
            kinds.DEPLOYMENT,
            lambda one: one["spec"]["template"]["spec"]["containers"][0].update(args=["worker", "none"]),
            "spec.template.spec.containers[worker].args differs",
        ),
        (kinds.SERVICE, lambda one: one["spec"].pop("selector"), "spec.selector differs"),
        (kinds.CONFIG_MAP, lambda one: one["data"].update({"worker.json": "{}"}), "data.worker.json differs"),
        (kinds.SERVICE_ACCOUNT, lambda one: one["metadata"].update(labels={}), "metadata.labels differs"),
        (kinds.SERVICE, lambda one: one["metadata"].pop("annotations"), "changed"),
    ],
)
def test_a_hand_edit_is_noticed_and_named(kind, edit, why):
    if why == "metadata.labels differs":
        why = "metadata.labels.app.kubernetes.io/name differs"
    assert edited(kind, "city-aggregator", edit) == [("city-aggregator", why)]


def test_what_the_server_and_others_add_stays():
    def add(one):
        pod = one["spec"]["template"]["spec"]
        pod["containers"].insert(0, {"name": "sidecar"})
        pod["containers"][1]["env"].append({"name": "HTTP_PROXY", "value": "x"})
        pod["dnsPolicy"] = "ClusterFirst"
        one["metadata"]["labels"]["team"] = "grid"
        one["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "3"

    assert edited(kinds.DEPLOYMENT, "city-sink", add) == []


def test_a_number_of_pods_that_is_not_ours_is_not_compared():
    scaled = {"aggregator": {"replicas": 2, "autoscaling": {"mode": "operator"}}}
    found = wanted(scaled, live={"aggregator": Live(3, managers=frozenset(("meterpipe-autoscaler",)))})
    objects = there(found)
    for one in objects:
        if ref_of(one) == ref(kinds.DEPLOYMENT, "city-aggregator"):
            one["spec"]["replicas"] = 4
    assert plan(found, objects).empty


def test_what_is_no_longer_wanted_is_deleted():
    smaller = wanted({"aggregator": {"replicas": 1}})
    made = plan(smaller, there())
    assert {one.ref.name for one in made.delete if one.ref.kind == kinds.DISRUPTION_BUDGET} == {"city-aggregator"}


def test_what_is_kept_is_neither_written_nor_deleted():
    away = wanted({"aggregator": {"replicas": 2}}, kafka=Missing("KafkaNotReady", "away"))
    made = plan(away, there())
    touched = {one.ref for one in (*made.apply, *made.delete, *made.first)}
    assert ref(kinds.DEPLOYMENT, "city-aggregator") not in touched
    assert ref(kinds.SECRET, "city-kafka") not in touched


def test_while_kafka_is_missing_no_job_and_no_user_goes():
    user = {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {
            "name": "energy-city", "namespace": "kafka", "labels": {"app.kubernetes.io/component": "kafka"},
        },
    }  # fmt: skip
    away = wanted({"aggregator": {"replicas": 2}}, kafka=Missing("KafkaNotFound", "away"))
    made = plan(away, [*there(), user])
    assert not {one.ref.kind for one in made.delete} & {kinds.JOB, kinds.KAFKA_USER, kinds.SECRET}


def test_topics_are_never_deleted():
    topic = {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "metadata": {"name": "energy-city-aggregates-30", "namespace": "kafka"},
    }
    assert plan(WANTED, [*there(), topic]).empty


def test_jobs_of_former_configurations_go_when_the_new_one_is_applied():
    other = wanted({"aggregator": {"windows": [60, 3600], "replicas": 2}})
    made = plan(other, there())
    assert {one.ref.name.rsplit("-", 1)[0] for one in made.delete if one.ref.kind == kinds.JOB} == {
        "city-topics", "city-schema",
    }  # fmt: skip
    assert {one.ref.name for one in made.wait} == {"city-aggregator", "city-sink", "city-archiver"}


def test_a_failed_job_is_told_and_made_anew():
    jobs = [one for one in WANTED.objects if one["kind"] == "Job"]
    failed = [done(one, "Failed", "BackoffLimitExceeded") for one in jobs if "-topics-" in one["metadata"]["name"]]
    made = plan(WANTED, failed)
    assert [one.ref.name for one in made.delete] == [failed[0]["metadata"]["name"]]
    assert {one.reason for one in made.wait if one.failed} == {"TopicsFailed"}
    assert "BackoffLimitExceeded" in made.wait[0].message


def test_a_job_is_never_changed():
    def edit(one):
        one["spec"]["template"]["spec"]["containers"][0]["image"] = "other"

    name = next(one["metadata"]["name"] for one in WANTED.objects if "-schema-" in one["metadata"]["name"])
    assert edited(kinds.JOB, name, edit) == []


def test_an_object_that_is_going_is_waited_for():
    def going(one):
        one["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    assert edited(kinds.SERVICE, "city-sink", going) == []


def topic_state(**status):
    topic = {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "metadata": {"name": "t", "namespace": "kafka", "generation": 2},
        "status": {"observedGeneration": 2, **status},
    }
    from meterpipe_operator.plan import state_of

    return state_of(topic)


def test_a_topic_is_ready_when_strimzi_says_so_of_this_generation():
    ready = [{"type": "Ready", "status": "True"}]
    assert topic_state(conditions=ready) is True
    assert topic_state(conditions=ready, observedGeneration=1) is None
    assert topic_state() is None


def test_a_refused_topic_has_failed():
    bad = [{"type": "Ready", "status": "False", "reason": "ResourceConflict"}]
    assert topic_state(conditions=bad, topicName="t") is False


@pytest.mark.parametrize("kind", ["Unmanaged", "ReconciliationPaused"])
def test_a_topic_strimzi_leaves_alone_is_the_users_to_answer_for(kind):
    assert topic_state(conditions=[{"type": kind, "status": "True"}]) is True


def test_an_autoscaler_goes_before_the_number_becomes_ours_again():
    live_one = {"aggregator": Live(3, managers=frozenset(("meterpipe-autoscaler",)))}
    scaled = wanted({"aggregator": {"replicas": 3, "autoscaling": {"mode": "hpa"}}}, live=live_one)
    fixed = wanted({"aggregator": {"replicas": 3}}, live=live_one)
    made = plan(fixed, there(scaled))
    assert [one.ref.kind for one in made.first] == [kinds.AUTOSCALER]
    assert deployment(fixed, "aggregator")["spec"]["replicas"] == 3


def test_the_number_is_claimed_for_the_autoscalers_before_we_let_go():
    before = there(wanted({"aggregator": {"replicas": 3}}))
    ours = {"aggregator": Live(3, managers=frozenset(("meterpipe",)))}
    scaled = wanted({"aggregator": {"replicas": 3, "autoscaling": {"mode": "hpa", "min": 2}}}, live=ours)
    made = plan(scaled, before)
    (claim,) = made.claim
    assert (claim.replicas, claim.manifest["spec"]) == (3, {"replicas": 3})
    assert "replicas" not in deployment(scaled, "aggregator")["spec"]


@pytest.mark.parametrize(("one", "other"), [("1000m", "1"), ("0.5", "500m"), ("1024Mi", "1Gi"), ("1Gi", "1073741824")])
def test_equal_amounts_are_no_difference(one, other):
    wish = {"resources": {"limits": {"memory": one}}}
    assert quantity(one) == quantity(other)
    assert first_difference(wish, {"resources": {"limits": {"memory": other}}}) is None


VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.text(max_size=4)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abname"), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_nothing_differs_from_itself(value):
    assert first_difference(value, copy.deepcopy(value)) is None


@given(st.dictionaries(st.sampled_from("abcd"), VALUES), st.dictionaries(st.sampled_from("xyz"), VALUES))
def test_more_fields_are_no_difference(value, more):
    assert first_difference(value, {**value, **more}) is None


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(), min_size=1), st.data())
def test_another_value_is_found_where_it_is(value, data):
    key = data.draw(st.sampled_from(sorted(value)))
    assert first_difference(value, {**value, key: value[key] + 1}) == key


def test_the_digest_is_part_of_what_is_applied_and_not_of_itself():
    one = WANTED.objects[0]
    assert stamped(one) == stamped(copy.deepcopy(one))
    assert stamped(one)["metadata"]["annotations"]["meterpipe.io/applied"]
