"""Which pipelines an object concerns, and which changes are worth a look."""

from meterpipe_operator.kinds import SECRET, Ref
from meterpipe_operator.observe import Dependents, Key, concerned, matters

from tests.unit.operator_run.objects import resource


def secret(namespace="n", **labels):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace, "labels": labels}}


def test_an_object_concerns_the_pipeline_of_its_labels_in_its_own_namespace_or_the_one_it_names():
    assert concerned(secret(**{"meterpipe.io/pipeline": "p"}), Dependents()) == {Key("n", "p")}
    labels = {"meterpipe.io/pipeline": "p", "meterpipe.io/namespace": "other"}
    assert concerned(secret("kafka", **labels), Dependents()) == {Key("other", "p")}
    assert concerned(secret(), Dependents()) == frozenset()


def test_an_object_concerns_all_that_looked_at_it_and_no_longer_do_those_that_stopped():
    dependents, ref = Dependents(), Ref(SECRET, "n", "s")
    dependents.set(Key("n", "p"), [ref])
    dependents.set(Key("n", "q"), [ref])
    assert concerned(secret(), dependents) == {Key("n", "p"), Key("n", "q")}
    dependents.set(Key("n", "p"), [])
    assert concerned(secret(), dependents) == {Key("n", "q")}


def test_a_change_of_status_is_no_reason_to_look_and_one_of_anything_else_that_counts_is():
    before = resource()
    assert not matters(before, {**before, "status": {"lag": 3}})
    assert not matters(before, resource(version=7))
    assert matters(before, resource(generation=2, spec={"paused": True}))
    assert matters(before, resource(deletionTimestamp="2026-01-01T00:00:00Z"))
    assert matters(before, resource(uid="another"))
    assert matters(before, resource(finalizers=["x"]))
    assert matters(None, before)
    assert matters(secret(), secret())
