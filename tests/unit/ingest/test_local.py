"""The edge in a local run, and formats that packages bring."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint

import pytest
from meterpipe.adapters.ingest import plugins
from meterpipe.core.ingest.formats import JsonBody
from meterpipe.core.ingest.rows import Parsed
from meterpipe.local.errors import LocalError
from meterpipe.local.resolve import resolve
from meterpipe.local.services import Connections
from meterpipe.local.session import worker_counts
from meterpipe.spec.connections import CassandraConnection, KafkaConnection, LakeConnection
from meterpipe.spec.models import MeterPipeline, Readings

EMBEDDED = Connections(
    kafka=KafkaConnection(bootstrap_servers="127.0.0.1:1"),
    cassandra=CassandraConnection(contact_points=("127.0.0.1",), port=2),
    lake=LakeConnection(endpoint="http://127.0.0.1:3"),
)
GROUPS = [{"name": "north", "secretName": "north-tokens"}]


def pipeline(**ingest: object) -> MeterPipeline:
    spec = {"ingest": ingest}
    resource = {"apiVersion": "meterpipe.io/v1alpha1", "kind": "MeterPipeline", "metadata": {"name": "p"}, "spec": spec}
    return MeterPipeline.model_validate(resource)


def test_without_ingest_a_run_is_as_it_was(tmp_path):
    assert not [name for name in worker_counts(pipeline()) if name.startswith("ingest")]
    assert resolve(pipeline(), EMBEDDED, tmp_path).ingest is None


def test_replicas_run_beside_the_other_workers():
    names = worker_counts(pipeline(replicas=2, anonymous=True))
    assert [name for name in names if name.startswith("ingest")] == ["ingest-0", "ingest-1"]


def test_without_tokens_only_this_machine_may_post(tmp_path):
    found = resolve(pipeline(replicas=1, anonymous=True), EMBEDDED, tmp_path).ingest
    assert found is not None
    assert found.host == "127.0.0.1"


def test_secrets_are_files_by_group_and_of_the_broker(tmp_path):
    for name, key in (("north-tokens", "tokens"), ("broker", "username"), ("broker", "password")):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / key).write_text("x")
    mqtt = {"host": "broker", "secretName": "broker"}
    found = resolve(pipeline(replicas=1, groups=GROUPS, mqtt=mqtt), EMBEDDED, tmp_path).ingest
    assert found is not None
    assert found.token_files == {"north": tmp_path / "north-tokens" / "tokens"}
    assert (found.mqtt_username, found.mqtt_password_file) == ("x", tmp_path / "broker" / "password")


def test_a_token_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LocalError, match="north"):
        resolve(pipeline(replicas=1, groups=GROUPS), EMBEDDED, tmp_path)


class CsvBody:
    name = "csv"
    media_types: tuple[str, ...] = ("text/csv",)
    names: Mapping[str, str] = JsonBody(Readings()).names

    def __init__(self, spec: Readings) -> None:
        pass

    def parse(self, body: bytes, query: object) -> Parsed:
        return Parsed()


class GreedyBody(CsvBody):
    name = "greedy"
    media_types = ("application/json",)


def brings(monkeypatch, maker: str) -> None:
    point = EntryPoint("plug", f"{__name__}:{maker}", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == plugins.GROUP else [])


def test_a_package_may_bring_a_format(monkeypatch):
    brings(monkeypatch, "CsvBody")
    assert plugins.formats(Readings())["text/csv"].name == "csv"


def test_a_format_cannot_take_the_media_type_of_another(monkeypatch):
    brings(monkeypatch, "GreedyBody")
    with pytest.raises(plugins.FormatError, match="json and greedy"):
        plugins.formats(Readings())
