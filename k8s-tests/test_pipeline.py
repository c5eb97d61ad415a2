"""One pipeline on a secured Kafka and Cassandra through all that happens to it; its numbers stay exactly right.

Each test sends readings while it disturbs the pipeline, then compares everything sent so far with a recomputation.
"""

import subprocess
import time
from collections.abc import Callable

import pytest
from dataplatform import Platform
from kube import Kube, eventually
from pipeline import READY_SECONDS, WORKERS, Pipeline, settled
from release import Release

pytestmark = pytest.mark.k8s
LIMIT = 60.0  # seconds within which what was deleted by hand must be back
RATE = 100.0  # readings a second while something happens: a day of the load takes 10 s
Note = Callable[[str], None]


def test_the_sample_is_ready_within_two_minutes_and_its_results_are_right(sample: Pipeline, note: Note) -> None:
    begun = time.monotonic()
    sample.ready(READY_SECONDS)
    note(f"ready {time.monotonic() - begun:.1f} s after it was applied")
    begun = time.monotonic()
    sample.load.send(days=2)
    found = sample.load.check()
    note(f"{found['readings']} readings, all through and compared after {time.monotonic() - begun:.1f} s")


def test_aggregators_scale_up_and_down_under_load(city: Pipeline) -> None:
    city.ready()
    city.load.start(days=2, rate=RATE)
    for replicas in (3, 2):
        city.apply({"aggregator": {"replicas": replicas}})
        city.ready()
        assert len(city.pods("aggregator")) == replicas
    city.load.check()


@pytest.mark.parametrize("worker", WORKERS)
def test_a_killed_pod_is_replaced_and_nothing_is_lost(city: Pipeline, worker: str) -> None:
    city.ready()
    city.load.start(rate=RATE)
    before = city.pods(worker)
    victim = sorted(before)[0]
    city.kube.kubectl("delete", "pod", victim, "--grace-period=0", "--force", "--wait=false")
    eventually(lambda: city.pods(worker), lambda now: victim not in now and len(now) == len(before))
    city.ready()
    city.load.check()


@pytest.mark.parametrize(
    "what",
    [
        "deployment/city-aggregator",
        "deployment/city-sink",
        "service/city-aggregator",
        "configmap/city-aggregator",
        "configmap/city-archiver",
        "serviceaccount/city-sink",
        "secret/city-kafka",
    ],
)
def test_what_was_deleted_by_hand_is_restored(city: Pipeline, what: str, note: Note) -> None:
    def identity() -> str:
        return city.kube.kubectl("get", what, "-o", "jsonpath={.metadata.uid}")

    city.ready()
    before = identity()
    city.kube.kubectl("delete", what, "--wait=true")
    begun = time.monotonic()
    eventually(identity, lambda now: bool(now) and now != before, LIMIT)
    back = time.monotonic() - begun
    city.ready(LIMIT)
    note(f"back after {back:.1f} s, all ready after {time.monotonic() - begun:.1f} s")


def test_a_hand_edit_is_taken_back(city: Pipeline) -> None:
    city.ready()
    patch = '[{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": ["worker", "none"]}]'
    city.kube.kubectl("patch", "deployment", "city-sink", "--type=json", "-p", patch)

    def arguments() -> list[str]:
        return list(city.deployment("sink")["spec"]["template"]["spec"]["containers"][0]["args"])

    eventually(arguments, lambda args: args[:2] == ["worker", "sink"], LIMIT)
    city.ready()


def test_results_are_right_after_all_was_restored(city: Pipeline) -> None:
    city.ready()
    city.load.send()
    city.load.check()


def test_an_operator_killed_during_a_rollout_goes_on_with_it(city: Pipeline, release: Release, note: Note) -> None:
    city.ready()
    city.load.start(rate=RATE)
    before = city.all_pods()
    city.apply({"monitoring": {"logLevel": "WARNING"}})
    eventually(lambda: city.all_pods(), lambda now: now != before, LIMIT)
    release.kill()
    begun = time.monotonic()
    city.ready()
    note(f"rolled out {time.monotonic() - begun:.1f} s after the operator was killed")
    assert all(not (before[worker] & city.pods(worker)) for worker in WORKERS)
    release.wait()
    city.load.check()


def test_a_new_kafka_password_rolls_the_pods_that_use_it_and_no_others(
    city: Pipeline, sample: Pipeline, platform: Platform
) -> None:
    city.ready()
    sample.ready()
    city.load.start(rate=RATE)
    before, others = city.all_pods(), sample.all_pods()
    platform.kube.kubectl(
        "delete", "secret", f"{city.kube.namespace}-city"
    )  # Strimzi makes another with a new password
    for worker in WORKERS:
        eventually(lambda worker=worker: city.pods(worker) & before[worker], lambda old: not old, 120)  # type: ignore[misc]
    city.ready()
    assert sample.all_pods() == others
    city.load.check()


def test_new_keys_of_the_lake_roll_the_archiver_alone(city: Pipeline) -> None:
    city.ready()
    before = city.all_pods()
    patch = '{"stringData": {"accessKey": "test", "secretKey": "testsecret", "note": "not mounted"}}'
    city.kube.kubectl("patch", "secret", "s3", "-p", patch)
    city.kube.kubectl("patch", "secret", "s3", "-p", '{"stringData": {"accessKey": "rotated"}}')
    eventually(lambda: city.pods("archiver"), lambda now: now != before["archiver"], LIMIT)
    city.kube.kubectl("patch", "secret", "s3", "-p", '{"stringData": {"accessKey": "test"}}')
    eventually(lambda: city.deployment("archiver"), settled, 120)
    city.ready()
    assert {worker: city.pods(worker) for worker in ("aggregator", "sink")} == {
        worker: before[worker] for worker in ("aggregator", "sink")
    }
    city.load.send()
    city.load.check()


def test_another_grace_rolls_the_aggregators_and_not_the_sink(city: Pipeline) -> None:
    city.ready()
    city.load.start(rate=RATE)
    before = city.all_pods()
    city.apply({"aggregator": {"grace": 600}})
    eventually(lambda: city.pods("aggregator") & before["aggregator"], lambda old: not old, 120)
    city.ready()
    assert city.pods("sink") == before["sink"]
    assert city.pods("archiver") == before["archiver"]
    city.load.finish()  # sent with the grace of before: the next day closes its windows
    city.load.send()
    city.load.check()


def test_the_number_of_pods_survives_each_change_of_who_decides_on_it(city: Pipeline) -> None:
    city.apply({"aggregator": {"replicas": 3}})
    city.ready()
    city.load.start(rate=RATE)
    scaling = {"min": 2, "max": 4}
    with numbers_of(city.kube, "city-aggregator") as numbers:
        for mode in ("operator", "hpa", "fixed"):
            city.apply({"aggregator": {"autoscaling": {"mode": mode, **scaling}}})
            city.ready()
            managed = "city-aggregator" in city.kube.kubectl("get", "hpa", "-o", "name")
            assert managed == (mode == "hpa")
    assert numbers[:1] == [3]
    assert set(numbers) <= {2, 3, 4}
    assert len(city.pods("aggregator")) == 3
    city.load.check()


class numbers_of:  # noqa: N801  # used as a context manager only
    """Every value that `spec.replicas` of a Deployment takes while the block runs."""

    def __init__(self, kube: Kube, name: str) -> None:
        self.watch = ("get", "deployment", name, "--watch", "-o", 'jsonpath={.spec.replicas}{"\\n"}')
        self.kube, self.numbers = kube, list[int]()
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> list[int]:
        self.process = self.kube.start("kubectl", *self.watch)
        return self.numbers

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.terminate()
        out, _errors = self.process.communicate()
        self.numbers += map(int, out.split())
