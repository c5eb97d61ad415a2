"""What is known of the cluster, whatever the order in which it was told."""

from hypothesis import given
from hypothesis import strategies as st
from meterpipe_operator.cache import Cache
from meterpipe_operator.kinds import DEPLOYMENT, POD, Ref


def deployment(name="a", version=1, namespace="n", **labels):
    metadata = {"name": name, "namespace": namespace, "resourceVersion": str(version), "labels": labels}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}


def ref(name="a", namespace="n"):
    return Ref(DEPLOYMENT, namespace, name)


def test_a_newer_version_replaces_an_older_one_and_never_the_other_way_round():
    cache = Cache()
    assert cache.put(deployment(version=2))
    assert not cache.put(deployment(version=1))
    assert not cache.put(deployment(version=2))
    assert cache.put(deployment(version=3))
    assert cache.get(ref())["metadata"]["resourceVersion"] == "3"


def test_a_late_message_does_not_bring_a_deleted_object_back():
    cache = Cache()
    cache.put(deployment(version=2))
    assert cache.drop(deployment(version=5))
    assert not cache.put(deployment(version=4))
    assert cache.get(ref()) is None


def test_an_object_made_again_after_its_deletion_is_there():
    cache = Cache()
    cache.put(deployment(version=2))
    cache.drop(deployment(version=5))
    assert cache.put(deployment(version=6))
    assert not cache.drop(deployment(version=5))
    assert cache.get(ref()) is not None


def test_a_complete_list_drops_what_went_while_nobody_watched():
    cache = Cache()
    for name in "abc":
        cache.put(deployment(name, 2))
    news = cache.replace(DEPLOYMENT, None, [deployment("a", 2), deployment("b", 4)], version=5)
    assert news == {ref("b"), ref("c")}
    assert [one["metadata"]["name"] for one in cache.all(DEPLOYMENT)] == ["a", "b"]


def test_a_complete_list_keeps_what_was_made_after_it_was_read():
    cache = Cache()
    cache.put(deployment("new", 9))
    assert cache.replace(DEPLOYMENT, None, [], version=5) == set()
    assert cache.get(ref("new")) is not None


def test_a_list_of_one_namespace_says_nothing_of_another():
    cache = Cache()
    cache.put(deployment("a", 2, namespace="other"))
    assert cache.replace(DEPLOYMENT, "n", [], version=5) == set()
    assert cache.get(ref("a", "other")) is not None


def test_objects_are_found_by_a_label_in_the_order_of_their_names():
    cache = Cache()
    for name in "cab":
        cache.put(deployment(name, 1, team="x" if name != "b" else "y"))
    found = cache.labelled(DEPLOYMENT, "n", "team", "x")
    assert [one["metadata"]["name"] for one in found] == ["a", "c"]
    assert cache.labelled(POD, "n", "team", "x") == ()


@st.composite
def lives_and_their_telling(draw):
    """The life of an object, and its messages in some order with some of them told twice."""
    events, version, there = [], 0, False
    for _ in range(draw(st.integers(1, 8))):
        version += draw(st.integers(1, 3))
        gone = there and draw(st.booleans())
        events.append(("drop" if gone else "put", version))
        there = not gone
    again = draw(st.lists(st.sampled_from(events), max_size=4))
    return events, draw(st.permutations([*events, *again]))


@given(lives_and_their_telling())
def test_in_whatever_order_it_is_told_what_exists_in_the_end_is_there(case):
    events, told = case
    cache = Cache()
    for verb, version in told:
        getattr(cache, verb)(deployment(version=version))
    last, version = events[-1]
    known = cache.get(ref())
    if last == "put":
        assert known is not None
        assert known["metadata"]["resourceVersion"] == str(version)
    else:
        assert known is None or int(known["metadata"]["resourceVersion"]) < version
        cache.drop(deployment(version=version))
        assert cache.get(ref()) is None
