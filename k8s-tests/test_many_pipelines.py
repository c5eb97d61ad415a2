"""A hundred pipelines at once, and what an operator does that has nothing to do."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from audit import writes_of
from dataplatform import Platform
from harness import Harness
from kube import Kube, eventually
from pipeline import RESOURCE, namespace, services, stopped
from release import NAME, NAMESPACE, Release

pytestmark = pytest.mark.k8s
COUNT = 100
AT_ONCE = 4  # processes that create them
LIMIT = 60.0  # seconds
SETTLED = 90.0  # seconds until an operator that goes on writing has failed
QUIET = 20.0  # seconds of watching an idle operator
SHARE = 0.05  # of a core
Note = Callable[[str], None]


@pytest.fixture(scope="module")
def many(
    harness: Harness, platform: Platform, release: Release, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Kube, float]]:
    """A namespace with all of them reconciled, and the seconds it took."""
    spec = stopped(services(strimzi=False))
    items = [
        {
            "apiVersion": "meterpipe.io/v1alpha1",
            "kind": "MeterPipeline",
            "metadata": {"name": f"p{number:03}"},
            "spec": spec,
        }
        for number in range(COUNT)
    ]
    with namespace(harness.kube, "many") as kube:
        files = [tmp_path_factory.mktemp("many") / "some.json" for _ in range(AT_ONCE)]
        for number, file in enumerate(files):
            file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items[number::AT_ONCE]}))
        begun = time.monotonic()
        creating = [kube.start("kubectl", "create", "-f", file) for file in files]
        assert [process.communicate()[1] for process in creating] == [""] * AT_ONCE
        eventually(lambda: kube.get(RESOURCE)["items"], lambda found: sum(map(reconciled, found)) == COUNT, 180)
        yield kube, time.monotonic() - begun


def reconciled(resource: dict[str, Any]) -> bool:
    """Whether its status tells of the present specification that all of it is there."""
    status = resource.get("status", {})
    ready = [one for one in status.get("conditions", []) if one["type"] == "Ready" and one["status"] == "True"]
    return bool(ready) and status.get("observedGeneration") == resource["metadata"]["generation"]


def test_a_hundred_pipelines_are_reconciled_within_a_minute(many: tuple[Kube, float], note: Note) -> None:
    kube, seconds = many
    note(f"{COUNT} pipelines after {seconds:.1f} s")
    deployments = kube.get("deployments")["items"]
    assert len(deployments) == 3 * COUNT
    assert {one["spec"]["replicas"] for one in deployments} == {0}
    assert seconds <= LIMIT


def test_an_idle_operator_uses_hardly_any_time_and_writes_nothing(
    harness: Harness, many: tuple[Kube, float], release: Release, note: Note
) -> None:
    if not harness.ours:
        pytest.skip("reads the API server's audit log, and METERPIPE_TEST_KUBECONFIG names another cluster")
    user = f"system:serviceaccount:{NAMESPACE}:{NAME}"
    note(f"writes nothing more {settled(user):.0f} s after all are ready")
    with writes_of(user) as writes:
        share = release.cpu_share(QUIET)
    note(f"{share:.2%} of a core with {COUNT} pipelines, {len(writes.lines)} writes in {QUIET:.0f} s")
    assert writes.lines == []
    assert share <= SHARE


def settled(user: str) -> float:
    """Wait until what the pipelines' start had `user` write is written; the seconds it took. Gives up after SETTLED."""
    begun = time.monotonic()
    while (took := time.monotonic() - begun) < SETTLED:
        with writes_of(user) as writes:
            time.sleep(10)
        if not writes.lines:
            break
    return took
