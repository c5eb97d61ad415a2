"""The cluster that tests marked `k8s` share.

By default it is made by cluster/cluster, for which the tests must run as root on Linux; KEEP_SERVICES=1 leaves it up
afterwards. With METERPIPE_TEST_KUBECONFIG=FILE the tests use the cluster of that file instead, like one made by kind,
whose images are loaded beforehand.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import dataplatform
import pytest
import release as releases
import vendor_crds
from cluster import preflight, programs
from cluster.store import Store, cache_root
from dataplatform import Platform
from harness import Harness, is_up, run_tool
from kube import Kube
from pipeline import SAMPLE, Pipeline, namespace, on_platform, services
from release import Release

NOTES = pytest.StashKey[list[str]]()
FIRST_BUILD = 3600  # seconds that the first test may take, as everything may have to be built for it
PATIENCE = 600  # seconds for the others


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests that need the cluster more time, and the first of them that of a first build."""
    seconds = FIRST_BUILD
    for item in items:
        if "harness" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(seconds))
            seconds = PATIENCE


@pytest.fixture(scope="session")
def harness() -> Iterator[Harness]:
    """Bring the cluster up once for all tests of the session."""
    if given := os.environ.get("METERPIPE_TEST_KUBECONFIG"):
        yield Harness(Kube(Path(given).absolute(), _helm_folder()), ours=False)
        return
    if problem := preflight.problem():
        pytest.fail(
            f"tests marked k8s cannot make their cluster here: {problem}\n"
            "or give another with METERPIPE_TEST_KUBECONFIG=FILE, or leave them out with -m 'not k8s'",
            pytrace=False,
        )
    was_up = is_up()
    run_tool("up", "--image", "python")
    kubeconfig = Path(run_tool("kubeconfig").strip())
    kube = Kube(kubeconfig, kubeconfig.parent / "bin")
    yield Harness(kube, ours=True)
    if not was_up and not os.environ.get("KEEP_SERVICES"):
        run_tool("down", "--keep-images")


@pytest.fixture
def kube(harness: Harness) -> Iterator[Kube]:
    """Give a test a namespace of its own, deleted afterwards with all in it."""
    with harness.namespace() as inside:
        yield inside


@pytest.fixture(scope="session")
def vendor_kinds(harness: Harness) -> None:
    """The real definitions of Strimzi, K8ssandra, cert-manager, KEDA and the Prometheus operator are in the cluster."""
    folder = vendor_crds.vendor_crds(Store(cache_root()))
    harness.kube.kubectl("apply", "--server-side", "--force-conflicts", "-f", folder)
    harness.kube.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", folder)


@pytest.fixture(scope="session")
def platform(harness: Harness, vendor_kinds: None) -> Iterator[Platform]:
    """Kafka, Cassandra and S3 that all pipelines of the session share."""
    harness.load(*dataplatform.IMAGES)
    yield dataplatform.set_up(harness.kube)
    if not harness.ours and not os.environ.get("KEEP_SERVICES"):
        harness.kube.kubectl("delete", "namespace", dataplatform.NAMESPACE, "--wait=false")


@pytest.fixture(scope="session")
def release(platform: Platform, harness: Harness) -> Iterator[Release]:
    """The operator, installed by its chart; a session that finds one brings it to the present image."""
    found = Release(harness.kube.inside(releases.NAMESPACE))
    if "meterpipe" in found.kube.helm("list", "--short", "--all"):
        found.restart()
    found.install()
    yield found
    if not os.environ.get("KEEP_SERVICES"):
        found.kube.helm("uninstall", releases.NAME, "--wait")


@pytest.fixture(scope="session")
def city(platform: Platform, release: Release, harness: Harness) -> Iterator[Pipeline]:
    """A pipeline on a secured Kafka and Cassandra, which several tests change in turn. Each leaves it ready."""
    with namespace(harness.kube, "city") as inside:
        pipeline = Pipeline(inside, platform, "city", services(strimzi=True))
        pipeline.apply()
        yield pipeline
        pipeline.delete("--wait=false")


@pytest.fixture(scope="session")
def sample(platform: Platform, release: Release, harness: Harness) -> Iterator[Pipeline]:
    """The sample pipeline for Kubernetes on the tests' services: by certificates at Kafka's listener `tls`."""
    with namespace(harness.kube, "sample") as inside:
        pipeline = Pipeline(inside, platform, "sample", on_platform(SAMPLE))
        pipeline.apply()
        yield pipeline
        pipeline.delete("--wait=false")


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tell a figure; it is shown at the end of the session."""
    return lambda line: request.config.stash.setdefault(NOTES, []).append(f"{request.node.name}: {line}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show what tests noted."""
    if notes := config.stash.get(NOTES, []):
        terminalreporter.section("figures")
        for line in notes:
            terminalreporter.write_line(line)


def _helm_folder() -> Path:
    return programs.build(Store(cache_root()), "helm").parent
