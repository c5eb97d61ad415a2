"""Thirty wrong specifications: all are refused with the field that is wrong, or at least told and not followed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dataplatform
import pytest
import yaml
from click.testing import CliRunner
from dataplatform import Platform
from harness import Harness
from kube import Kube, KubeError, eventually
from meterpipe.cli.main import cli
from pipeline import Pipeline, merged, namespace, services, stopped
from release import Release

CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "invalid_specs.yaml").read_text())
OURS = [case for case in CASES if case["seenBy"] == "us"]
WORDS_AGREE = 12  # characters of a reason that are enough to know it again


def name_of(case: dict[str, Any]) -> str:
    return f"{case['field']}-{json.dumps(case['spec'], separators=(',', ':'))}"


def manifest(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "meterpipe.io/v1alpha1",
        "kind": "MeterPipeline",
        "metadata": {"name": "wrong"},
        "spec": spec,
    }


def told(spec: dict[str, Any], folder: Path) -> str:
    """What `meterpipe validate` says."""
    file = folder / "wrong.yaml"
    file.write_text(yaml.safe_dump(manifest(spec)))
    result = CliRunner().invoke(cli, ["validate", "-f", str(file)])
    assert result.exit_code == 2, result.output
    return result.output


def reason_of(said: str, field: str) -> str:
    """What follows the field in the words of `validate`."""
    (line,) = [line for line in said.splitlines() if f"{field}: " in line]
    return line.partition(f"{field}: ")[2]


def refused(kube: Kube, spec: dict[str, Any]) -> str:
    """What the API server says to `kubectl apply`."""
    with pytest.raises(KubeError) as caught:
        kube.kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest(spec)))
    return str(caught.value)


def test_there_are_thirty_of_them_and_ten_that_only_we_can_tell() -> None:
    assert (len(CASES), len(OURS)) == (30, 10)
    assert len({name_of(case) for case in CASES}) == 30


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_validate_names_the_field(case: dict[str, Any], tmp_path: Path) -> None:
    assert f"{case['field']}: " in told(case["spec"], tmp_path)


@pytest.mark.k8s
def test_kubectl_apply_is_refused_with_the_field(harness: Harness, release: Release, tmp_path: Path) -> None:
    with harness.namespace() as kube:
        for case in CASES:
            said = refused(kube, case["spec"])
            if case["seenBy"] == "server":
                assert case.get("serverField", case["field"]) in said, said
            else:
                assert reason_of(told(case["spec"], tmp_path), case["field"]) in said, said


@pytest.mark.k8s
def test_what_can_never_change_cannot_be_changed(harness: Harness, release: Release) -> None:
    with harness.namespace() as kube:
        spec = stopped({"kafka": {"bootstrapServers": "kafka:9092"}})
        kube.apply(json.dumps(manifest(spec)))
        for changes, field in (
            ({"kafka": {"topics": {"readings": {"partitions": 8}}}}, "spec.kafka.topics.readings.partitions"),
            ({"readings": {"key": "channel"}}, "spec.readings.key"),
        ):
            said = refused(kube, merged(spec, changes))
            assert field in said
            assert "cannot change" in said


@pytest.fixture(scope="module")
def valid(harness: Harness, platform: Platform, release: Release) -> Iterator[Pipeline]:
    """A pipeline that runs. The operator has no webhook, and rights in the pipeline's namespace only."""
    with namespace(harness.kube, "wrong") as inside:
        confined = f"watch.namespaces={{{inside.namespace}}},dependencies.namespaces={{{dataplatform.NAMESPACE}}}"
        release.install("webhook.enabled=false", confined)
        pipeline = Pipeline(inside, platform, "wrong", merged(services(strimzi=False), {"cassandra": {"replicas": 0}}))
        pipeline.apply()
        pipeline.ready()
        yield pipeline
        pipeline.delete("--wait=false")
        release.install()


@pytest.mark.k8s
def test_without_the_webhook_status_tells_it_and_the_last_valid_specification_goes_on(
    valid: Pipeline, release: Release, tmp_path: Path
) -> None:
    good, before = valid.spec, valid.all_pods()
    for case in OURS:
        valid.spec = good
        changes = dict(case["spec"])
        if "contactPoints" in changes.get("cassandra", {}):
            changes["cassandra"] = {**changes["cassandra"], "k8ssandra": None}
        valid.apply(changes)
        condition = eventually(lambda: valid.condition("Ready"), lambda found: found.get("reason") == "InvalidSpec")
        wanted = reason_of(told(valid.spec, tmp_path), case["field"])
        assert f"{case['field']}: {wanted}" in condition["message"], condition
    assert valid.all_pods() == before
    release.kill()
    release.wait()
    valid.kube.kubectl("delete", "deployment", "wrong-aggregator")
    eventually(lambda: valid.pods("aggregator"), lambda now: bool(now) and now != before["aggregator"])
    eventually(
        lambda: valid.deployment("aggregator").get("status", {}).get("readyReplicas"), lambda ready: ready == 1, 120
    )
    assert valid.condition("Ready")["reason"] == "InvalidSpec"
    assert valid.pods("archiver") == before["archiver"]
    valid.spec = good
    valid.apply()
    valid.ready()
