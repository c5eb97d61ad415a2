"""`meterpipe render`: what would be applied, with a cluster's facts and without."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from meterpipe.cli.main import cli
from meterpipe_operator import kinds
from meterpipe_operator.kinds import ref_of

from tests.unit.operator.world import GIVEN, done, live, secret

ROOT = Path(__file__).parents[3]
SPEC = {**GIVEN, "kafka": {"bootstrapServers": "k1:9094"}}


@pytest.fixture
def file(tmp_path):
    head = {"apiVersion": "meterpipe.io/v1alpha1", "kind": "MeterPipeline"}
    path = tmp_path / "city.yaml"
    path.write_text(yaml.safe_dump({**head, "metadata": {"name": "city", "namespace": "energy"}, "spec": SPEC}))
    return path


def render(*args: object) -> Result:
    return CliRunner().invoke(cli, ["render", *map(str, args)], prog_name="meterpipe")


def test_it_prints_objects_that_kubectl_takes(file):
    done = render("-f", file)
    assert done.exit_code == 0, done.output
    objects = list(yaml.safe_load_all(done.stdout))
    assert {one["kind"] for one in objects} >= {"Deployment", "ConfigMap", "Service", "NetworkPolicy", "Job"}
    assert len({ref_of(one) for one in objects}) == len(objects)
    assert "made up" in done.stderr


def test_as_json_it_is_one_list(file):
    printed = json.loads(render("-f", file, "--json").stdout)
    assert printed["kind"] == "List"
    assert printed["items"]


def test_every_sample_can_be_rendered():
    for sample in sorted((ROOT / "manifests" / "pipelines").glob("*.yaml")):
        assert render("-f", sample).exit_code == 0, sample


def cluster(tmp_path, *objects):
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": list(objects)}))
    return path


SECRETS = (secret("store", username="u", password="p"), secret("s3", accessKey="a", secretKey="b"))


def test_with_facts_of_a_cluster_it_tells_what_would_be_written(file, tmp_path):
    facts = cluster(tmp_path, *SECRETS)
    first = render("-f", file, "--facts", facts, "--changes")
    assert "apply ConfigMap energy/city-sink: missing" in first.stdout
    assert "Deployment energy/city-sink waits" in first.stderr


def test_where_all_is_there_nothing_would_be_written(file, tmp_path):
    facts = cluster(tmp_path, *SECRETS)
    objects = list(yaml.safe_load_all(render("-f", file, "--facts", facts).stdout))
    present = [done(one) if one["kind"] == "Job" else live(one) for one in objects]
    assert {one["kind"] for one in present} >= {kinds.DEPLOYMENT.name}
    again = render("-f", file, "--facts", cluster(tmp_path, *SECRETS, *present), "--changes")
    assert again.stdout == "nothing would be written\n"


def test_what_a_cluster_lacks_is_told(file, tmp_path):
    told = render("-f", file, "--facts", cluster(tmp_path, SECRETS[0])).stderr
    assert "SecretNotFound: spec.lake.secretName" in told


def test_a_wrong_pipeline_is_refused(tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("apiVersion: meterpipe.io/v1alpha1\nkind: MeterPipeline\nmetadata: {name: a}\nspec: {nope: 1}\n")
    assert render("-f", wrong).exit_code == 2


def test_facts_that_are_no_objects_are_refused(file, tmp_path):
    other = tmp_path / "facts.yaml"
    other.write_text("just: this\n")
    assert render("-f", file, "--facts", other).exit_code == 2
