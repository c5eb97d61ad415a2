"""Routes, alarms, notifier and activity on the cluster: they become ready, and say what a recomputation says."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dataplatform
import pytest
from dataplatform import Platform
from harness import Harness
from kube import eventually
from pipeline import SMALL, Pipeline, merged, namespace, services, settled
from release import Release

pytestmark = pytest.mark.k8s
HERE = Path(__file__).parent
JUDGE = HERE / "data_platform" / "judge_stream.py"
MORE = ("router", "alarms", "notifier", "activity")
SPEC = {
    "routing": {
        "resources": SMALL,
        "routes": [{"name": "high", "where": "value > 0.4", "select": {"meter": "meter", "kwh": "value"}}],
    },
    "alarms": {
        "enabled": True,
        "resources": SMALL,
        "silence": {"enabled": True},
        "flatline": {"enabled": True, "readings": 4},
        "notifier": {"resources": SMALL},
    },
    "activity": {
        "enabled": True,
        "resources": SMALL,
        "redis": {"host": f"redis.{dataplatform.NAMESPACE}.svc"},
        "uplinks": {"keep": 30 * 86_400},
    },
}


@pytest.fixture(scope="module")
def town(platform: Platform, release: Release, harness: Harness) -> Iterator[Pipeline]:
    """A pipeline with all workers that look at the stream, and the Redis it needs."""
    harness.load("redis")
    platform.kube.apply(HERE / "services" / "redis.yaml")
    platform.kube.rollout("redis")
    with namespace(harness.kube, "town") as inside:
        pipeline = Pipeline(inside, platform, "town", merged(services(strimzi=True), SPEC))
        pipeline.apply()
        yield pipeline
        pipeline.delete("--wait=false")


def test_routes_alarms_and_activity_are_as_recomputed(town: Pipeline, note: Callable[[str], None]) -> None:
    town.ready(240)  # seven kinds of pods on a node of two cores
    for worker in MORE:
        eventually(lambda worker=worker: town.deployment(worker), settled, 120)  # type: ignore[misc]
    town.load.threshold(JUDGE)
    town.load.send(days=3)
    town.load.check()
    found = town.load.check(judge=JUDGE)
    assert found["alarms"] > 0
    note(f"{found['readings']} readings, {found['alarms']} alarms: routes, alarms and activity as recomputed")


def test_a_pipeline_that_names_no_redis_says_so_and_the_others_work(town: Pipeline) -> None:
    town.apply({"activity": {"redis": {"host": None}}})
    condition = eventually(lambda: town.condition("Ready"), lambda found: found.get("status") == "False", 60)
    told = [
        one for one in town.get()["status"]["conditions"] if "RedisNotGiven" in (one.get("reason"), one.get("message"))
    ]
    assert told or "spec.activity.redis names no Redis" in str(town.get()["status"]), condition
    town.apply({"activity": {"redis": {"host": f"redis.{dataplatform.NAMESPACE}.svc"}}})
    town.ready()
