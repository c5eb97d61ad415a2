"""Which specification runs."""

from meterpipe_operator.last_valid import chosen

from tests.unit.operator_run.objects import SPEC, resource

WRONG = {"readings": {"timezone": "Nowhere"}}


def revision(number, spec):
    return {"metadata": {"name": f"r{number}"}, "revision": number, "data": {"spec": spec}}


def test_a_valid_specification_runs_whatever_the_revisions_say():
    found = chosen(resource(), [revision(9, {"paused": True})])
    assert (found.pipeline.spec.paused, found.problems) == (False, ())


def test_instead_of_a_wrong_one_the_newest_that_is_still_valid_runs_as_the_same_pipeline():
    revisions = [revision(1, SPEC), revision(2, {**SPEC, "paused": True}), revision(3, WRONG)]
    found = chosen(resource(spec=WRONG), revisions)
    assert found.pipeline.spec.paused
    assert found.pipeline.metadata.name == "p"
    assert [one.path for one in found.problems] == ["spec.readings.timezone"]


def test_nothing_runs_if_there_never_was_a_valid_one():
    assert chosen(resource(spec=WRONG), []).pipeline is None
