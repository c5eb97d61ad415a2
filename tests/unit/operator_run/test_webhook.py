"""What the webhook says of a change."""

from meterpipe_operator.webhook import problems_of

from tests.unit.operator_run.objects import SPEC, resource

WRONG = {**SPEC, "readings": {"timezone": "Nowhere"}}


def test_a_wrong_specification_is_refused_in_the_words_of_validate():
    (problem,) = problems_of(resource(spec=WRONG))
    assert str(problem).startswith("spec.readings.timezone: is no IANA time zone")


def test_who_changes_nothing_of_a_specification_that_is_wrong_already_is_let_through():
    stored = resource(spec=WRONG, finalizers=["x"])
    assert problems_of({**stored, "metadata": {**stored["metadata"], "finalizers": []}}, stored) == ()
    assert problems_of(resource(spec={**WRONG, "paused": True}), stored) != ()


def test_fields_that_decide_on_partitions_cannot_change():
    topics = {"topics": {"readings": {"partitions": 8}}}
    moved = {**SPEC, "kafka": {**SPEC["kafka"], **topics}, "readings": {"key": "channel"}}
    found = problems_of(resource(spec=moved), resource())
    assert [one.path for one in found] == ["spec.kafka.topics.readings.partitions", "spec.readings.key"]
    assert "leave it at 4" in str(found[0])


def test_a_valid_change_and_a_repair_are_let_through():
    assert problems_of(resource(spec={**SPEC, "paused": True}), resource()) == ()
    assert problems_of(resource(), resource(spec=WRONG)) == ()
