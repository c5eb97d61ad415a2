"""The rules of spec.ingest."""

import pytest
from meterpipe.spec.ingest import Ingest
from pydantic import ValidationError

GROUP = {"name": "north", "secretName": "north-tokens"}


def test_ingest_is_off_by_default():
    assert Ingest().replicas == 0


@pytest.mark.parametrize("spec", [{"groups": [GROUP]}, {"anonymous": True}, {"replicas": 0}])
def test_it_must_be_said_who_may_post(spec):
    assert Ingest.model_validate({"replicas": 1, **spec})


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"replicas": 1}, "groups"),
        ({"groups": [GROUP, GROUP]}, "name"),
        ({"mqtt": {"host": "no host"}}, "host"),
        ({"mqtt": {"host": "broker", "topic": "meters/#"}}, "topic"),
        ({"http": {"port": 0}}, "port"),
    ],
)
def test_each_rule_names_its_field(spec, field):
    with pytest.raises(ValidationError) as caught:
        Ingest.model_validate(spec)
    assert caught.value.errors()[0]["loc"][-1] == field
