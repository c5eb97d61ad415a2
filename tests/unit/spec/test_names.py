"""Derived names: recognisable, within each system's limit, different for different pipelines."""

import re

from hypothesis import given
from hypothesis import strategies as st
from meterpipe.spec.models import MeterPipeline
from meterpipe.spec.names import KEYSPACE_LIMIT, TOPIC_LIMIT, Names, names_of, shorten

IDENTITIES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)


def names(namespace: str, name: str, **spec: object) -> Names:
    return names_of(
        MeterPipeline.model_validate(
            {
                "apiVersion": "meterpipe.io/v1alpha1",
                "kind": "MeterPipeline",
                "metadata": {"name": name, "namespace": namespace},
                "spec": spec,
            }
        )
    )


def test_names_begin_with_namespace_and_name():
    of = names("local", "demo")
    assert (of.readings, of.aggregates(60), of.group("sink")) == (
        "local-demo-readings",
        "local-demo-aggregates-60",
        "local-demo-sink",
    )
    assert (of.keyspace, of.table(600), of.lake_prefix) == ("local_demo", "metrics_aggregates_600", "local-demo")


def test_names_given_in_the_spec_win():
    given_names = names(
        "local", "demo", kafka={"topics": {"readings": {"name": "shared"}}}, cassandra={"keyspace": "k"}
    )
    assert (given_names.readings, given_names.keyspace, given_names.late) == ("shared", "k", "local-demo-late")


@given(IDENTITIES, IDENTITIES)
def test_every_name_fits_its_system(namespace, name):
    of = names(namespace, name)
    assert len(of.readings) <= TOPIC_LIMIT
    assert re.fullmatch(rf"[a-z][a-z0-9_]{{0,{KEYSPACE_LIMIT - 1}}}", of.keyspace)


@given(st.text(min_size=1), st.text(min_size=1), st.integers(10, 40))
def test_long_names_that_differ_stay_different(first, second, limit):
    assert (shorten(first * 40, limit) == shorten(second * 40, limit)) == (first * 40 == second * 40)
