"""The cluster that tests marked `k8s` share.

By default it is made by cluster/cluster, for which the tests must run as root on Linux; KEEP_SERVICES=1 leaves it up
afterwards. With METERPIPE_TEST_KUBECONFIG=FILE the tests use the cluster of that file instead, like one made by kind,
whose images are loaded beforehand.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import preflight, programs
from cluster.store import Store, cache_root
from harness import Harness, is_up, run_tool
from kube import Kube

FIRST_BUILD = 3600  # seconds that the first test may take, as everything may have to be built for it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test that needs the cluster the time of a first build."""
    for item in items:
        if "harness" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(FIRST_BUILD))
            return


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


def _helm_folder() -> Path:
    return programs.build(Store(cache_root()), "helm").parent
