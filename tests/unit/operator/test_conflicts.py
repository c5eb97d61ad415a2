"""Two pipelines that claim one output: the younger is told so."""

import pytest
from meterpipe_operator.conflicts import Claimant, claims, conflict

from tests.unit.operator.world import GIVEN, bare, merged

OLD, NEW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def claimant(created, name="city", namespace="energy", spec=None):
    return Claimant(created, f"{namespace}/{name}", bare(merged(GIVEN, spec or {}), name, namespace))


def test_pipelines_of_one_name_in_two_namespaces_do_not_meet():
    assert conflict(claimant(NEW, namespace="water"), [claimant(OLD)]) is None


def test_namespace_and_name_that_give_one_prefix_meet():
    one, other = claimant(OLD, "c", "a-b"), claimant(NEW, "b-c", "a")
    assert conflict(one, [other]) is None
    told = conflict(other, [one])
    assert told is not None
    assert "a-b/c" in told


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"cassandra": {"keyspace": "shared"}}, "keyspace shared"),
        ({"lake": {"prefix": "shared"}}, "lake shared"),
    ],
)
def test_a_named_output_that_is_taken_is_told_to_the_younger(spec, what):
    old, new = claimant(OLD, "first", spec=spec), claimant(NEW, "second", spec=spec)
    assert conflict(old, [old, new]) is None
    told = conflict(new, [old, new])
    assert told is not None
    assert what in told
    assert "energy/first" in told


def test_equal_names_on_different_services_do_not_meet():
    other = {"cassandra": {"keyspace": "shared", "contactPoints": ["elsewhere"]}}
    old = claimant(OLD, "first", spec={"cassandra": {"keyspace": "shared"}})
    assert conflict(claimant(NEW, "second", spec=other), [old]) is None


def test_a_readings_topic_may_be_shared():
    spec = {"kafka": {"topics": {"readings": {"name": "shared"}}}}
    assert conflict(claimant(NEW, "second", spec=spec), [claimant(OLD, "first", spec=spec)]) is None


def test_of_two_of_one_age_one_gives_way():
    spec = {"cassandra": {"keyspace": "shared"}}
    both = [claimant(OLD, "first", spec=spec), claimant(OLD, "second", spec=spec)]
    assert [conflict(one, both) is None for one in both] == [True, False]


def test_each_claim_is_made_once():
    found = list(claims(claimant(OLD).pipeline))
    assert len(found) == len(set(found))
