"""The sample manifests: each is stored by a real API server, with the real definitions of the vendors, as it stands."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import Harness
from kube import Kube
from meterpipe.cli.spec import read_pipelines
from meterpipe.spec.models import Spec

from charts import template

MANIFESTS = Path(__file__).parent.parent / "manifests"
SAMPLES = sorted(path for path in MANIFESTS.rglob("*.yaml") if path.parent.name in ("kafka", "cassandra", "pipelines"))
FILES = [path for path in SAMPLES if path.name != "kustomization.yaml"]
GUIDE = Path(__file__).parent.parent / "docs" / "operations.md"
DEV = "metering-dev"
BUCKET = """
import boto3
s3 = boto3.client("s3", endpoint_url="http://s3:7070", region_name="us-east-1",
                  aws_access_key_id="dev", aws_secret_access_key="only-for-development")
s3.put_object(Bucket="meter-readings", Key="a/b", Body=b"kept")
print(s3.get_object(Bucket="meter-readings", Key="a/b")["Body"].read().decode())
"""
CONFINED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def missing(given: Any, stored: Any, path: str = "") -> Iterator[str]:
    """Give the path of each value that was given and is not stored as it was."""
    if isinstance(given, dict) and isinstance(stored, dict):
        for key, value in given.items():
            yield from missing(value, stored.get(key), f"{path}.{key}")
    elif isinstance(given, list) and isinstance(stored, list) and len(given) == len(stored):
        for number, (one, other) in enumerate(zip(given, stored, strict=True)):
            yield from missing(one, other, f"{path}[{number}]")
    elif given != stored:
        yield f"{path}: {given!r} became {stored!r}"


def test_the_samples_of_pipelines_are_valid_and_one_shows_every_part() -> None:
    pipelines = read_pipelines([MANIFESTS / "pipelines", MANIFESTS / "dev" / "pipeline.yaml"])
    assert len(pipelines) == 5
    (full,) = documents(MANIFESTS / "pipelines" / "full.yaml")
    assert full["spec"].keys() == {field.alias or name for name, field in Spec.model_fields.items()}


def test_the_sample_of_kafka_has_the_settings_that_the_guide_names() -> None:
    (kafka,) = [d for d in documents(MANIFESTS / "kafka" / "kafka.yaml") if d["kind"] == "Kafka"]
    example = GUIDE.read_text().partition("## Kafka")[2].partition("```yaml\n")[2].partition("```")[0]
    named = yaml.safe_load(example)["spec"]["kafka"]["config"]
    assert named.items() <= kafka["spec"]["kafka"]["config"].items()


@pytest.fixture(scope="session")
def kinds(harness: Harness, vendor_kinds: None) -> None:
    """The definition of MeterPipelines, too, is in the cluster."""
    crd = template("-s", "templates/crds.yaml")
    harness.kube.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=crd)
    harness.kube.kubectl("wait", "--for=condition=Established", "crd/meterpipelines.meterpipe.io")


@pytest.mark.k8s
@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(MANIFESTS)))
def test_a_sample_is_stored_with_all_that_it_says(kube: Kube, kinds: None, file: Path) -> None:
    kube.kubectl("apply", "--validate=strict", "-f", file)
    for given in documents(file):
        group = given["apiVersion"].partition("/")[0]
        stored = kube.get(f"{given['kind']}.{group}", given["metadata"]["name"])
        assert list(missing(given, stored)) == []


@pytest.mark.k8s
def test_the_development_stack_is_taken_and_its_lake_works(harness: Harness, kinds: None, tmp_path: Path) -> None:
    harness.load("meterpipe", "s3")
    overlay = {
        "resources": [os.path.relpath(MANIFESTS / "dev", tmp_path)],
        # no image can be pulled by the test cluster
        "images": [{"name": "versity/versitygw", "newName": "localhost/s3", "newTag": "test"}],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(overlay))
    kube = harness.kube.inside(DEV)
    client = {
        "containers": [
            {
                "name": "client",
                "image": "localhost/meterpipe:test",
                "imagePullPolicy": "Never",
                "command": ["python3", "-c", BUCKET],
                "securityContext": CONFINED,
            }
        ],
        "restartPolicy": "Never",
    }
    about = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": client}
    harness.kube.kubectl("create", "namespace", DEV)
    try:
        kube.kubectl("label", "namespace", DEV, "pod-security.kubernetes.io/enforce=restricted")
        kube.kubectl("apply", "--validate=strict", "-k", tmp_path)
        assert {pool["spec"]["replicas"] for pool in kube.get("kafkanodepools")["items"]} == {1}
        kube.rollout("s3")
        kube.apply(json.dumps(about))
        kube.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/client", "--timeout=60s")
        assert kube.kubectl("logs", "client") == "kept\n"
    finally:
        kube.kubectl("delete", "namespace", DEV)
