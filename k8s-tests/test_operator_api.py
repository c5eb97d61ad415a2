"""The operator against a real API server, kubelet and pods; its workers are stand-ins, so that no Kafka is needed."""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Harness, run_tool
from kube import Kube, KubeError, eventually
from operator_process import IMAGE, Operator
from pipeline import RESOURCE, merged
from release import NAMESPACE, Release

pytestmark = pytest.mark.k8s
ROOT = Path(__file__).parent.parent
CRD = ROOT / "charts" / "meterpipe" / "files" / "meterpipelines.yaml"
OWNED = "deployments,services,configmaps,secrets,serviceaccounts,networkpolicies,jobs,poddisruptionbudgets,hpa"
SMALL = {"requests": {"cpu": "10m", "memory": "32Mi"}}
OFF = {"aggregator": {"replicas": 0}, "cassandra": {"replicas": 0}, "lake": {"replicas": 0}}
SPEC: dict[str, Any] = {
    "kafka": {"bootstrapServers": "kafka.nowhere.svc:9092"},
    "aggregator": {"resources": SMALL},
    "cassandra": {"contactPoints": ["cassandra.nowhere.svc"], "resources": SMALL},
    "lake": {"resources": SMALL},
}


@pytest.fixture(scope="module")
def alone(harness: Harness, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """The cluster with our resource and the image of the stand-in, and without another operator."""
    archive = tmp_path_factory.mktemp("image") / "stub.tar"
    if harness.ours:
        stub = f"{Path(__file__).parent / 'stub' / 'meterpipe'}:/usr/local/bin/meterpipe"
        words = ("--base", "python", "--add", stub, "--entrypoint", "meterpipe", "--user", "10001:10001")
        run_tool("make-image", archive, IMAGE, *words)
        harness.load(archive)
    kube = harness.kube
    made = RESOURCE not in kube.kubectl("get", "crd", "-o", "name")
    if made:
        kube.kubectl("apply", "--server-side", "-f", CRD)
        kube.kubectl("wait", "--for=condition=Established", f"crd/{RESOURCE}")
    release = Release(kube.inside(NAMESPACE))
    installed = "meterpipe" in release.kube.kubectl("get", "deployments", "-o", "name")
    if installed:
        release.stop()
    yield kube
    if installed:
        release.start()
    if made:
        kube.kubectl("delete", "crd", RESOURCE)


@pytest.fixture
def space(alone: Kube, harness: Harness) -> Iterator[Kube]:
    with harness.namespace() as inside:
        yield inside
        inside.kubectl("delete", RESOURCE, "--all", "--wait=false")


@pytest.fixture
def operator(space: Kube, tmp_path: Path) -> Iterator[Operator]:
    found = Operator(space, tmp_path / "operator.log")
    found.start()
    yield found
    found.kill()
    print(found.log.read_text())  # shown when the test fails


def apply(kube: Kube, changes: dict[str, Any], name: str = "p") -> None:
    """Apply a pipeline: SPEC with changes."""
    metadata = {"name": name, "namespace": kube.namespace}
    manifest = {"apiVersion": "meterpipe.io/v1alpha1", "kind": "MeterPipeline", "metadata": metadata}
    kube.apply(json.dumps({**manifest, "spec": merged(SPEC, changes)}))


def condition(kube: Kube, kind: str, name: str = "p") -> dict[str, Any]:
    """A condition of a pipeline, if it is of the present specification."""
    found = kube.get(RESOURCE, name)
    conditions = found.get("status", {}).get("conditions", [])
    current = found["metadata"]["generation"]
    return next((one for one in conditions if one["type"] == kind and one["observedGeneration"] == current), {})


def until(kube: Kube, kind: str, status: str, name: str = "p", seconds: float = 60) -> dict[str, Any]:
    """Wait for a condition of the present specification."""
    return eventually(lambda: condition(kube, kind, name), lambda found: found.get("status") == status, seconds)


def settled(kube: Kube, operator: Operator) -> None:
    """Wait until the operator has nothing to do any more."""
    until(kube, "Progressing", "False")
    seen = [-1.0]

    def still() -> bool:
        time.sleep(1)
        seen.append(operator.writes)
        return seen[-1] == seen[-2] and operator.metric("meterpipe_operator_queue") == 0

    eventually(still, bool, 60)


def owned(kube: Kube, name: str = "p") -> dict[str, str]:
    """The uids of all that belongs to a pipeline."""
    items = kube.get(OWNED, "-l", f"meterpipe.io/pipeline={name}")["items"]
    return {f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["uid"] for one in items}


def deployment(kube: Kube, worker: str) -> dict[str, Any]:
    return dict(kube.get("deployment", f"p-{worker}"))


def template(kube: Kube, worker: str) -> dict[str, Any]:
    return dict(deployment(kube, worker)["spec"]["template"])


def test_what_is_deleted_or_changed_by_hand_comes_back_and_then_nothing_is_written(
    space: Kube, operator: Operator
) -> None:
    apply(space, OFF)
    until(space, "Ready", "True")
    settled(space, operator)
    before = owned(space)
    space.kubectl("delete", "deployment/p-sink", "service/p-sink", "configmap/p-sink", "serviceaccount/p-sink")
    after = eventually(lambda: owned(space), lambda found: found.keys() == before.keys(), 10)
    assert sum(after[name] != before[name] for name in before) == 4
    space.kubectl("scale", "deployment/p-archiver", "--replicas=3")
    space.kubectl("patch", "service", "p-archiver", "--type=json", "-p", '[{"op":"remove","path":"/spec/selector"}]')
    eventually(lambda: deployment(space, "archiver")["spec"]["replicas"], lambda replicas: replicas == 0, 10)
    eventually(lambda: space.get("service", "p-archiver")["spec"].get("selector"), bool, 10)
    settled(space, operator)
    writes, version = operator.writes, space.get(RESOURCE, "p")["metadata"]["resourceVersion"]
    time.sleep(10)
    assert operator.writes == writes
    assert space.get(RESOURCE, "p")["metadata"]["resourceVersion"] == version


def test_writing_the_status_changes_neither_the_resource_nor_its_metadata(space: Kube, operator: Operator) -> None:
    apply(space, OFF)
    until(space, "Ready", "True")
    metadata = space.get(RESOURCE, "p")["metadata"]
    assert metadata["generation"] == 1
    assert "finalizers" not in metadata
    annotations = set(metadata.get("annotations", {})) - {"kubectl.kubernetes.io/last-applied-configuration"}
    assert annotations == set()


def test_an_operator_killed_in_the_middle_converges_when_it_is_back(space: Kube, operator: Operator) -> None:
    for number in range(10):
        apply(space, OFF, f"p{number}")
    eventually(lambda: len(space.get("deployments")["items"]), lambda count: count > 0)
    operator.kill()
    apply(space, {**OFF, "monitoring": {"port": 9000}}, "p1")
    space.kubectl("delete", "services", "--all")
    space.kubectl("delete", RESOURCE, "p2", "--wait=false")
    operator.start()
    for number in (0, 1, *range(3, 10)):
        until(space, "Ready", "True", f"p{number}")
    ports = space.get("service", "p1-sink")["spec"]["ports"]
    assert [one["port"] for one in ports] == [9000]
    eventually(lambda: len(space.get("services")["items"]), lambda count: count == 27)
    assert operator.stop() == 0


def test_a_wrong_specification_is_told_while_the_last_valid_one_runs_on_across_a_restart(
    space: Kube, operator: Operator, tmp_path: Path
) -> None:
    apply(space, OFF)
    until(space, "Ready", "True")
    before = template(space, "aggregator")
    wrong = merged(OFF, {"readings": {"timezone": "Europe/Pariss"}, "aggregator": {"grace": 900}})
    apply(space, wrong)
    told = until(space, "Degraded", "True")
    assert told["reason"] == "InvalidSpec"
    file = tmp_path / "wrong.json"
    about = {"apiVersion": "meterpipe.io/v1alpha1", "kind": "MeterPipeline", "metadata": {"name": "p"}}
    file.write_text(json.dumps({**about, "spec": merged(SPEC, wrong)}))
    command = [sys.executable, "-m", "meterpipe.cli.main", "validate", "-f", str(file), "--json"]
    said = json.loads(subprocess.run(command, capture_output=True, check=False, text=True).stdout)["problems"][0]
    words = f"{said['path']}: {said['reason']}" + (f" ({said['way_out']})" if said["way_out"] else "")
    assert told["message"].startswith(words)
    assert condition(space, "Ready")["status"] == "False"
    operator.kill()
    space.kubectl("delete", "deployment", "p-aggregator")
    operator.start()
    eventually(lambda: template(space, "aggregator"), lambda found: found == before)
    assert until(space, "Degraded", "True")["message"] == told["message"]
    apply(space, merged(OFF, {"aggregator": {"grace": 900}}))
    until(space, "Ready", "True")
    assert template(space, "aggregator") != before


def test_a_change_of_grace_or_of_a_secret_rolls_only_the_workers_that_use_it(space: Kube, operator: Operator) -> None:
    secret(space, "s3", accessKey="a", secretKey="b")
    apply(space, merged(OFF, {"lake": {"secretName": "s3"}}))
    until(space, "Ready", "True")
    workers = ("aggregator", "sink", "archiver")
    before = {worker: template(space, worker) for worker in workers}
    secret(space, "s3", accessKey="a", secretKey="c")
    eventually(lambda: template(space, "archiver"), lambda found: found != before["archiver"], 20)
    apply(space, merged(OFF, {"lake": {"secretName": "s3"}, "aggregator": {"grace": 60}}))
    eventually(lambda: template(space, "aggregator"), lambda found: found != before["aggregator"], 20)
    assert template(space, "sink") == before["sink"]
    secret(space, "s3", accessKey="a", secretKey="c", other="key")
    settled(space, operator)
    after = template(space, "archiver")
    space.kubectl("delete", "secret", "s3")
    told = until(space, "Degraded", "False")
    assert told["reason"] == "AsExpected", "no worker runs that needs it"
    assert template(space, "archiver") == after, "what cannot be told now stays as it is"


def test_a_missing_secret_is_a_condition_and_goes_away_with_the_secret(space: Kube, operator: Operator) -> None:
    apply(space, {"aggregator": {"replicas": 0}, "cassandra": {"replicas": 0}, "lake": {"secretName": "s3"}})
    told = until(space, "Degraded", "True")
    assert told["reason"] == "SecretNotFound"
    assert "spec.lake.secretName" in told["message"]
    secret(space, "s3", accessKey="a", secretKey="b")
    until(space, "Ready", "True", seconds=90)


def test_changing_who_scales_never_passes_through_another_number_of_replicas(space: Kube, operator: Operator) -> None:
    rest = {"cassandra": {"replicas": 0}, "lake": {"replicas": 0}}
    apply(space, {**rest, "aggregator": {"replicas": 3}})
    until(space, "Ready", "True", seconds=120)
    seen: set[int] = set()
    version = deployment(space, "aggregator")["metadata"]["resourceVersion"]
    for mode in ("operator", "hpa", "fixed", "hpa", "operator", "fixed"):
        scaling = {"mode": mode, "min": 3, "max": 3}
        apply(space, {**rest, "aggregator": {"replicas": 3, "autoscaling": scaling}})
        wanted = mode == "hpa"
        eventually(lambda: bool(space.get("hpa")["items"]), wanted.__eq__, 20)
        until(space, "Ready", "True")
        settled(space, operator)
        seen.add(deployment(space, "aggregator")["spec"]["replicas"])
    path = (
        f"/apis/apps/v1/namespaces/{space.namespace}/deployments?watch=true&resourceVersion={version}&timeoutSeconds=3"
    )
    for line in space.kubectl("get", "--raw", path).splitlines():
        found = json.loads(line)["object"]
        if found["metadata"]["name"] == "p-aggregator":
            seen.add(found["spec"]["replicas"])
    assert seen == {3}


def test_the_operators_own_autoscaling_adds_pods_to_workers_that_fall_behind(space: Kube, operator: Operator) -> None:
    scaling = {"mode": "operator", "min": 1, "max": 4}
    changes = {"aggregator": {"autoscaling": scaling}, "cassandra": {"replicas": 0}, "lake": {"replicas": 0}}
    apply(space, changes)
    until(space, "Ready", "True", seconds=120)
    found = eventually(
        lambda: space.get(RESOURCE, "p")["status"]["workers"]["aggregator"],
        lambda told: told["replicas"] == 4 and told["ready"] == 4 and told.get("lag", 0) > 1_000_000,
        240,
    )
    assert found["lag"] == 4_000_000
    assert space.get(RESOURCE, "p")["status"]["readingsPerSecond"] > 0


def test_an_api_server_that_was_killed_is_found_again(space: Kube, operator: Operator, harness: Harness) -> None:
    if not harness.ours:
        pytest.skip("only our own cluster's API server can be killed")
    apply(space, OFF)
    until(space, "Ready", "True")
    run_tool("exec", "pkill", "-9", "-x", "kube-apiserver")
    eventually(lambda: space.kubectl("delete", "service", "p-sink"), bool, 60)
    eventually(lambda: space.get("service", "p-sink"), bool, 30)
    apply(space, merged(OFF, {"monitoring": {"port": 9000}}))
    until(space, "Ready", "True")
    assert operator.is_ready()


def test_deleting_a_pipeline_takes_its_objects_along_with_or_without_the_operator(
    space: Kube, operator: Operator
) -> None:
    for name in ("p", "q"):
        apply(space, OFF, name)
        until(space, "Ready", "True", name)
    space.kubectl("delete", RESOURCE, "p", "--timeout=20s")
    eventually(lambda: owned(space, "p"), lambda left: left == {})
    operator.kill()
    space.kubectl("delete", RESOURCE, "q", "--timeout=20s")
    eventually(lambda: owned(space, "q"), lambda left: left == {})


def test_of_two_pipelines_that_claim_one_output_the_younger_waits_until_the_older_is_gone(
    space: Kube, operator: Operator
) -> None:
    shared = merged(OFF, {"cassandra": {"keyspace": "one_keyspace"}})
    apply(space, shared, "first")
    until(space, "Ready", "True", "first")
    time.sleep(1.1)  # creation is told in seconds
    apply(space, shared, "second")
    told = until(space, "NameConflict", "True", "second")
    assert "one_keyspace" in told["message"]
    assert owned(space, "second") == {}
    assert condition(space, "NameConflict", "first")["status"] == "False"
    space.kubectl("delete", RESOURCE, "first")
    until(space, "Ready", "True", "second")


def test_the_webhook_refuses_in_our_words(space: Kube, tmp_path: Path, harness: Harness) -> None:
    if not harness.ours:
        pytest.skip("this machine's address as the cluster sees it is known for our own cluster only")
    host = json.loads(run_tool("status", "--json"))["network"].replace(".0.0/16", ".0.1")
    certificate = make_certificate(tmp_path, host)
    found = Operator(
        space, tmp_path / "operator.log", ("--webhook-port", "9743", "--webhook-certificates", str(tmp_path))
    )
    found.start()
    name = f"test-{space.namespace}"
    try:
        space.apply(json.dumps(configuration(name, space.namespace, f"https://{host}:9743/validate", certificate)))

        def refusal() -> str:
            with pytest.raises(KubeError) as refused:
                space.run(
                    "kubectl", "apply", "--dry-run=server", "-f", "-", stdin=manifest_of({"timezone": "Europe/Pariss"})
                )
            return str(refused.value)

        said = eventually(refusal, lambda text: "webhook" in text, 30)
        assert "spec.readings.timezone: is no IANA time zone; did you mean Europe/Paris?" in said
        space.kubectl("apply", "-f", "-", stdin=manifest_of({"timezone": "Europe/Paris"}))
    finally:
        space.kubectl("delete", "validatingwebhookconfiguration", name, "--ignore-not-found")
        found.kill()


def manifest_of(readings: dict[str, Any]) -> str:
    spec = merged(SPEC, merged(OFF, {"readings": readings}))
    about = {"apiVersion": "meterpipe.io/v1alpha1", "kind": "MeterPipeline", "metadata": {"name": "p"}}
    return json.dumps({**about, "spec": spec})


def configuration(name: str, namespace: str, url: str, certificate: Path) -> dict[str, Any]:
    """The webhook's configuration as the chart writes it, for one namespace."""
    rule = {"apiGroups": ["meterpipe.io"], "apiVersions": ["v1alpha1"], "operations": ["CREATE", "UPDATE"]}
    bundle = base64.b64encode(certificate.read_bytes()).decode()
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": "validate.meterpipe.io",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Ignore",
                "clientConfig": {"url": url, "caBundle": bundle},
                "rules": [{**rule, "resources": ["meterpipelines"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            }
        ],
    }


def make_certificate(folder: Path, host: str) -> Path:
    """A certificate of this machine that signs itself."""
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=webhook"]
    words += ["-addext", f"subjectAltName=IP:{host}", "-keyout", f"{folder}/tls.key", "-out", f"{folder}/tls.crt"]
    subprocess.run(words, check=True, capture_output=True)
    return folder / "tls.crt"


def secret(kube: Kube, name: str, **data: str) -> None:
    """Make or change a Secret."""
    kube.apply(json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}))
