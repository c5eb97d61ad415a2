"""The status: true, in words that help, and never rewritten for noise."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.spec.status import Status, Workers
from meterpipe_operator.conditions import Figures, Situation, rounded, status, steady
from meterpipe_operator.desired import desired
from meterpipe_operator.facts import Missing
from meterpipe_operator.kinds import ref_of
from meterpipe_operator.plan import Plan, plan
from meterpipe_operator.resolve import live_deployments
from meterpipe_operator.workers import WORKERS

from tests.unit.operator.world import OWNER, done, facts, live, pipeline

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"


def deployed(one, ready, updated=None):
    """A Deployment with so many ready pods."""
    number = one["spec"].get("replicas", 1)
    updated = number if updated is None else updated
    return live(one, observedGeneration=1, replicas=number, updatedReplicas=updated, readyReplicas=ready)


def situation(spec=None, ready=None, pods=(), changes=None, **more) -> Situation:
    """A pipeline whose objects are all there; `ready`: pods ready, by worker (default: those wanted)."""
    whole = pipeline(spec)
    known = facts(**(changes or {}))
    wanted = desired(whole, OWNER, known)
    observed = []
    for one in wanted.objects:
        if one["kind"] == "Deployment":
            worker = one["metadata"]["name"].removeprefix("city-")
            observed.append(deployed(one, (ready or {}).get(worker, one["spec"].get("replicas", 1))))
        else:
            observed.append(done(one) if one["kind"] == "Job" else live(one))
    known = replace(known, live=live_deployments(observed))
    planned = plan(desired(whole, OWNER, known), observed)
    return Situation(**{
        "generation": 3, "pipeline": whole, "facts": known, "plan": planned, "observed": tuple(observed),
        "pods": tuple(pods), **more,
    })  # fmt: skip


def told(found: Situation, previous=None, now=NOW):
    result = status(found, previous or {}, now)
    Status.model_validate(result)  # what the API server would keep
    return result, {one["type"]: one for one in result["conditions"]}


def verdicts(found: Situation):
    return {kind: (one["status"], one["reason"]) for kind, one in told(found)[1].items()}


def test_a_pipeline_where_all_is_well():
    assert verdicts(situation()) == {
        "Ready": ("True", "Running"),
        "Progressing": ("False", "Settled"),
        "Degraded": ("False", "AsExpected"),
        "Paused": ("False", "NotPaused"),
        "NameConflict": ("False", "None"),
    }


def test_the_workers_are_counted():
    result, _ = told(situation({"aggregator": {"replicas": 3}}, ready={"aggregator": 2, "sink": 0}))
    assert result["workers"]["aggregator"] == {"replicas": 3, "ready": 2}
    assert result["workers"]["sink"] == {"replicas": 1, "ready": 0}


def test_a_worker_without_a_ready_pod_makes_it_unready_and_is_named():
    _, found = told(situation(ready={"sink": 0}))
    assert found["Ready"]["status"] == "False"
    assert "sink" in found["Ready"]["message"]
    assert found["Progressing"]["status"] == "True"


def test_more_pods_on_their_way_leave_it_ready():
    found = verdicts(situation({"aggregator": {"replicas": 3}}, ready={"aggregator": 1}))
    assert (found["Ready"][0], found["Progressing"]) == ("True", ("True", "RollingOut"))


def test_a_pipeline_at_rest_is_ready():
    stopped = {name: {"replicas": 0} for name in ("aggregator", "cassandra", "lake")}
    assert verdicts(situation(stopped))["Ready"] == ("True", "NothingToRun")


def test_a_paused_pipeline_says_so():
    found = verdicts(situation({"paused": True}))
    assert found["Paused"] == ("True", "Paused")
    assert found["Ready"] == ("False", "Paused")
    assert found["Degraded"][0] == "False"


def test_what_is_missing_is_the_reason():
    away = Missing("KafkaNotFound", "there is no Kafka kafka/c1")
    _, found = told(situation(changes={"kafka": away}))
    for kind, word in (("Ready", "False"), ("Degraded", "True")):
        assert (found[kind]["status"], found[kind]["reason"]) == (word, "KafkaNotFound")
        assert "kafka/c1" in found[kind]["message"]


def test_what_nobody_needs_is_not_missed():
    found = situation({"cassandra": {"replicas": 0}}, changes={"cassandra": Missing("CassandraNotGiven", "none")})
    assert verdicts(found)["Ready"] == ("True", "Running")


def test_while_another_operator_is_at_it_the_pipeline_is_as_ready_as_its_pods():
    base = situation()
    passing = Missing("KafkaChanging", "Strimzi is at it", passing=True)
    found = verdicts(replace(base, facts=replace(base.facts, kafka=passing)))
    assert found["Ready"][0] == "True"
    assert found["Progressing"] == ("True", "KafkaChanging")
    assert found["Degraded"][0] == "False"


def test_an_invalid_specification_is_told_in_the_words_of_validate_while_the_last_valid_one_runs():
    words = "spec.aggregator.windows[1]: must divide a day (86400 s)"
    _, found = told(situation(problems=(words,)))
    assert (found["Ready"]["status"], found["Ready"]["reason"]) == ("False", "InvalidSpec")
    assert words in found["Ready"]["message"]
    assert "keeps running" in found["Degraded"]["message"]


def test_a_pipeline_that_never_was_valid_runs_nothing():
    _, found = told(Situation(1, None, problems=("spec: wrong",)))
    assert "nothing runs" in found["Ready"]["message"]


def test_a_conflict_is_a_condition():
    _, found = told(Situation(1, pipeline(), conflict="keyspace x is town/first's"))
    assert found["NameConflict"]["status"] == "True"
    assert found["Ready"]["reason"] == "NameConflict"
    assert "town/first" in found["NameConflict"]["message"]


def waiting_pod(reason, component="sink", last=None, message="m"):
    state = {"state": {"waiting": {"reason": reason, "message": message}}}
    ended = {"lastState": {"terminated": last}} if last else {}
    about = {"name": f"city-{component}-x", "labels": {"app.kubernetes.io/component": component}}
    return {"metadata": about, "status": {"containerStatuses": [state | ended]}}


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (waiting_pod("ImagePullBackOff", message="no such image"), "ImagePullBackOff", "no such image"),
        (waiting_pod("CrashLoopBackOff", last={"exitCode": 1, "message": "boom"}), "CrashLoopBackOff", "boom"),
        (waiting_pod("CrashLoopBackOff", last={"exitCode": 137, "reason": "OOMKilled"}), "CrashLoopBackOff", "memory"),
        (waiting_pod("CrashLoopBackOff", "schema", {"exitCode": 1, "message": "denied"}), "CrashLoopBackOff", "denied"),
    ],
)
def test_a_pod_that_does_not_start_is_told_with_its_last_words(pod, reason, words):
    _, found = told(situation(pods=[pod]))
    assert (found["Degraded"]["status"], found["Degraded"]["reason"]) == ("True", reason)
    assert words in found["Degraded"]["message"]


def test_a_pod_no_node_has_room_for_is_told():
    full = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient cpu"}]
    pod = {"metadata": {"name": "p", "labels": {}}, "status": {"conditions": full}}
    assert verdicts(situation(pods=[pod]))["Degraded"] == ("True", "Unschedulable")


def test_a_container_that_is_being_made_is_no_trouble():
    assert verdicts(situation(pods=[waiting_pod("ContainerCreating")]))["Degraded"][0] == "False"


def test_what_the_api_server_refused_is_told():
    _, found = told(situation(errors=("Deployment energy/city-sink: quota exceeded",)))
    assert found["Degraded"]["reason"] == "NotApplied"
    assert "quota" in found["Degraded"]["message"]


def test_a_pipeline_that_waits_for_its_topics_progresses():
    base = situation()
    whole, known = base.pipeline, facts()
    jobless = [one for one in base.observed if one["kind"] not in ("Job", "Deployment")]
    found = replace(base, facts=known, observed=tuple(jobless), plan=plan(desired(whole, OWNER, known), jobless))
    assert verdicts(found)["Progressing"] == ("True", "WaitingForTopics")


def test_the_time_of_a_condition_changes_with_its_status_alone():
    first, _ = told(situation())
    _, second = told(situation(ready={"sink": 0}), first, LATER)
    assert second["Ready"]["lastTransitionTime"] == LATER
    assert second["Paused"]["lastTransitionTime"] == NOW


def test_the_same_situation_gives_the_same_status():
    first, _ = told(situation(figures={"aggregator": Figures(1234.5, 99.4)}))
    second, _ = told(situation(figures={"aggregator": Figures(1240.0, 99.9)}), first, LATER)
    assert first == second
    assert (first["lag"], first["readingsPerSecond"]) == (1200, 99)


@given(st.floats(0, 1e12, allow_nan=False), st.floats(0.96, 1.04))
def test_noise_does_not_move_a_figure(value, noise):
    before = steady(None, value)
    assert before is not None
    assert steady(before, before * noise) == before


@given(st.floats(1e-3, 1e12, allow_nan=False))
def test_a_figure_is_told_to_two_digits(value):
    assert abs(rounded(value) - value) <= 0.05 * value * 1.0000001


def test_an_unknown_figure_is_left_out():
    result, _ = told(situation(figures={"aggregator": Figures(None, float("nan"))}))
    assert "lag" not in result
    assert "readingsPerSecond" not in result


def test_nothing_is_said_twice():
    found = situation()
    assert len({ref_of(one) for one in found.observed}) == len(found.observed)
    assert Plan().empty


def test_the_status_has_a_place_for_each_kind_of_worker():
    assert Workers.model_fields.keys() == WORKERS.keys()
