"""Rules between the fields of a pipeline: each names the exact field that breaks it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.spec.models import DAY, Aggregator, Cassandra, MeterPipeline, Readings, Spec
from pydantic import ValidationError

HEAD = {"apiVersion": "meterpipe.io/v1alpha1", "kind": "MeterPipeline", "metadata": {"name": "demo"}}


def refused(spec: dict[str, Any]) -> set[str]:
    with pytest.raises(ValidationError) as caught:
        MeterPipeline.model_validate({**HEAD, "spec": spec})
    return {".".join(map(str, error["loc"])) for error in caught.value.errors()}


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"aggregator": {"windows": [60, 600, 7000]}}, {"spec.aggregator.windows.2"}),
        ({"aggregator": {"windows": [60, 90]}}, {"spec.aggregator.windows.1"}),
        ({"aggregator": {"windows": [600, 60]}}, {"spec.aggregator.windows.1"}),
        ({"aggregator": {"windows": [60, 60]}}, {"spec.aggregator.windows.1"}),
        ({"aggregator": {"windows": [7, 11]}}, {"spec.aggregator.windows.0", "spec.aggregator.windows.1"}),
        ({"kafka": {"bootstrapServers": "h:1", "strimzi": {"cluster": "c"}}}, {"spec.kafka.strimzi"}),
        (
            {"kafka": {"strimzi": {"cluster": "c"}, "auth": {"mechanism": "TLS", "secretName": "s"}}},
            {"spec.kafka.auth"},
        ),
        ({"kafka": {"auth": {"mechanism": "PLAIN"}}}, {"spec.kafka.auth.username", "spec.kafka.auth.secretName"}),
        (
            {"kafka": {"auth": {"mechanism": "TLS", "username": "u", "secretName": "s"}}},
            {"spec.kafka.auth.username"},
        ),
        ({"kafka": {"topics": {"readings": {"retention": 0}}}}, {"spec.kafka.topics.readings.retention"}),
        ({"readings": {"timezone": "Europe/Pari"}}, {"spec.readings.timezone"}),
        ({"readings": {"timezone": "../etc/passwd"}}, {"spec.readings.timezone"}),
        ({"readings": {"formats": ["json", "json"]}}, {"spec.readings.formats.1"}),
        ({"readings": {"fields": {"value": "gateway"}}}, {"spec.readings.fields.value"}),
        ({"cassandra": {"contactPoints": ["h"], "k8ssandra": {"cluster": "c"}}}, {"spec.cassandra.k8ssandra"}),
        ({"cassandra": {"ttl": {"60": 1, "61": 1, "x": 1}}}, {"spec.cassandra.ttl.61", "spec.cassandra.ttl.x"}),
        (
            {"aggregator": {"windows": [60, 61]}, "lake": {"flush": {"rows": 1}}},
            {"spec.aggregator.windows.1", "spec.lake.flush.rows"},
        ),
    ],
)
def test_a_broken_rule_names_its_field(spec, fields):
    assert refused(spec) == fields


def test_a_time_zone_nearly_right_is_told_the_right_one():
    with pytest.raises(ValidationError, match=r"did you mean Europe/Paris\?"):
        Readings(timezone="Europe/Pariss")


@pytest.mark.parametrize("zone", ["Europe/Paris", "UTC", "America/Argentina/Buenos_Aires"])
def test_an_iana_zone_is_accepted(zone):
    assert Readings(timezone=zone).timezone == zone


@given(st.lists(st.integers(1, DAY), min_size=1, max_size=8))
def test_windows_are_accepted_exactly_if_they_nest(windows):
    nested = windows == sorted(set(windows)) and all(DAY % w == 0 and w % windows[0] == 0 for w in windows)
    try:
        Aggregator(windows=tuple(windows))
    except ValidationError:
        assert not nested
    else:
        assert nested


def test_rows_of_small_windows_age_out_unless_told_otherwise():
    cassandra = Cassandra(ttl={"60": 5, "3600": 7})
    assert [cassandra.ttl_of(size) for size in (60, 300, 600, 3600, DAY)] == [5, 90 * DAY, 365 * DAY, 7, 0]


def test_windows_of_ones_own_need_no_ttl():
    assert Spec(aggregator=Aggregator(windows=(300,))).cassandra.ttl == {}


def test_a_pipeline_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Spec().paused = True  # type: ignore[misc]
