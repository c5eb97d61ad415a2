"""What goes by the operator's hand when a pipeline is deleted."""

from meterpipe.spec.load import pipeline_of
from meterpipe_operator.desired import Desired
from meterpipe_operator.finalizer import FINALIZER, Farewell, farewell, is_deleted, is_held, must_hold
from meterpipe_operator.kinds import DEPLOYMENT, KAFKA_TOPIC, KAFKA_USER, Ref

from tests.unit.operator_run.objects import SPEC, resource


def one(kind, name="x"):
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {"name": name, "namespace": "n"}}


USER, TOPIC, WORKER = one(KAFKA_USER), one(KAFKA_TOPIC), one(DEPLOYMENT)


def ref(kind):
    return Ref(kind, "n", "x")


def pipeline(policy):
    return pipeline_of(resource(spec={**SPEC, "deletionPolicy": policy}))


def test_only_topics_and_users_of_strimzi_need_the_operator_to_go():
    assert not must_hold(Desired((WORKER,)), [WORKER])
    assert must_hold(Desired((USER,)), [])
    assert must_hold(Desired(()), [TOPIC])


def test_topics_stay_by_default_and_the_user_goes():
    assert farewell(pipeline("Retain"), [USER, TOPIC, WORKER], []) == Farewell((ref(KAFKA_USER),), release=False)
    assert farewell(pipeline("Retain"), [TOPIC, WORKER], []) == Farewell(release=True)


def test_a_pipeline_that_was_never_valid_loses_no_topic():
    assert farewell(None, [TOPIC], []) == Farewell(release=True)


def test_with_its_data_workers_go_before_topics_and_topics_before_the_pipeline():
    deleted = pipeline("Delete")
    assert farewell(deleted, [USER, TOPIC, WORKER], []) == Farewell((ref(DEPLOYMENT),))
    assert farewell(deleted, [USER, TOPIC], [one(DEPLOYMENT)]) == Farewell(())
    assert farewell(deleted, [USER, TOPIC], []) == Farewell((ref(KAFKA_TOPIC), ref(KAFKA_USER)))
    assert farewell(deleted, [], []) == Farewell(release=True)


def test_a_pipeline_tells_whether_it_goes_and_whether_we_hold_it():
    assert is_held(resource(finalizers=[FINALIZER]))
    assert not is_held(resource(finalizers=["another"]))
    assert is_deleted(resource(deletionTimestamp="2026-01-01T00:00:00Z"))
    assert not is_deleted(resource())
