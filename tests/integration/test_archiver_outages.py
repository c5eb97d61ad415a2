"""The archiver while its lake, or the disk below it, does not do its work: nothing is lost, nothing is there twice."""

import json
import subprocess
import time
from pathlib import Path

import pytest
from meterpipe.adapters.archiver import Archiver
from meterpipe.adapters.s3 import ensure_bucket, location_of, new_client, remove_lake
from meterpipe.adapters.topics import ensure_topics
from meterpipe.local.paths import DataDir
from meterpipe.local.services import down
from meterpipe.spec.connections import WorkerConfig
from meterpipe.worker.telemetry import Memory, Metric

from tests.integration.conftest import new_config
from tests.integration.lake_helpers import assert_exactly, count_of, lake_spec, send, step_until


def on(config: WorkerConfig, lake) -> WorkerConfig:
    """The pipeline with another lake."""
    return config.model_copy(update={"lake": lake})


@pytest.fixture
def lake_down_and_up(services, own_services):
    """(a pipeline whose S3 server is its own, stop that server, start it again)."""
    data, connections = own_services("s3")
    config = on(new_config(services, lake_spec()), connections.lake)
    ensure_topics(config)
    ensure_bucket(connections.lake, config.pipeline.spec.lake.bucket)

    def up():
        own_services("s3")

    return config, lambda: down(data), up


def test_readings_wait_in_memory_while_the_lake_is_down_and_reading_stops_before_it_overflows(lake_down_and_up, caplog):
    config, stop, start = lake_down_and_up
    telemetry = Memory()
    archiver = Archiver(config, telemetry)
    send(config, range(100))
    step_until(archiver, lambda: count_of(config) == 100)
    assert archiver.ready()
    stop()
    total = 30_000
    send(config, range(100, total))
    step_until(archiver, lambda: archiver._paused)
    assert not archiver.ready()
    held = archiver._held
    longest = 0.0
    for _ in range(40):
        began = time.monotonic()
        archiver.step()  # goes on living, without taking more in
        longest = max(longest, time.monotonic() - began)
    assert archiver._held == held
    assert held < total - 100
    assert longest < 60  # seconds: what the liveness probe allows
    assert telemetry.value(Metric.RETRIES) >= 1
    assert "trying again" in caplog.text
    assert "nothing is lost" in caplog.text
    start()
    step_until(archiver, lambda: archiver._buffer.positions() and count_of(config) == total)
    assert archiver.ready()
    archiver.close()
    assert_exactly(config, range(total))


def test_an_archiver_that_had_stopped_reading_goes_on_with_what_a_rebalance_leaves_it(lake_down_and_up):
    config, stop, start = lake_down_and_up
    first, total = Archiver(config, Memory()), 30_000
    send(config, range(100))
    step_until(first, lambda: count_of(config) == 100)
    stop()
    send(config, range(100, total))
    step_until(first, lambda: first._paused)
    second = Archiver(config, Memory())

    def both() -> tuple[Archiver, Archiver]:
        second.step()
        return first, second

    step_until(first, lambda: [len(archiver._partitions.given) for archiver in both()] == [2, 2])
    start()
    step_until(first, lambda: all(archiver._buffer.positions() for archiver in both()) and count_of(config) == total)
    for archiver in both():
        archiver.close()
    assert_exactly(config, range(total))


def test_an_archiver_started_while_the_lake_is_down_begins_when_it_is_up(lake_down_and_up):
    config, stop, start = lake_down_and_up
    stop()
    send(config, range(200))
    archiver = Archiver(config, Memory())
    step_until(archiver, lambda: archiver._settling.failures > 0)
    assert not archiver.ready()
    start()
    step_until(archiver, lambda: count_of(config) == 200)
    assert archiver.ready()
    archiver.close()
    assert_exactly(config, range(200))


def test_a_missing_bucket_is_named_and_waited_for(services, caplog):
    spec = lake_spec()
    config = new_config(services, spec | {"lake": spec["lake"] | {"bucket": "not-there-yet"}})
    ensure_topics(config)
    client = new_client(config.lake)
    if any(bucket["Name"] == "not-there-yet" for bucket in client.list_buckets()["Buckets"]):
        client.delete_bucket(Bucket="not-there-yet")
    send(config, range(50))
    archiver = Archiver(config, Memory())
    step_until(archiver, lambda: archiver._settling.failures > 0)
    assert "NoSuchBucket" in caplog.text
    ensure_bucket(config.lake, "not-there-yet")
    step_until(archiver, lambda: count_of(config) == 50)
    archiver.close()
    assert_exactly(config, range(50))
    assert remove_lake(location_of(config)) > 0
    client.delete_bucket(Bucket="not-there-yet")


def test_leaving_while_the_lake_is_down_loses_nothing(lake_down_and_up, caplog):
    config, stop, start = lake_down_and_up
    first = Archiver(config, Memory())
    send(config, range(100))
    step_until(first, lambda: count_of(config) == 100)
    stop()
    send(config, range(100, 400))
    step_until(first, lambda: first._held == 300)
    first.close()
    assert "leaving with 300 readings that the lake did not take" in caplog.text
    start()
    second = Archiver(config, Memory())
    step_until(second, lambda: count_of(config) == 400)
    second.close()
    assert_exactly(config, range(400))


@pytest.fixture
def small_disk(tmp_path):
    """The folder of the next S3 server, on a disk of 4 MB."""
    objects = DataDir(tmp_path / "services").service("s3") / "objects"
    objects.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", objects], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk needs the right to mount: {mounted.stderr.decode().strip()}")
    yield objects
    subprocess.run(["umount", "-l", objects], check=True)


def fill(disk: Path) -> Path:
    """Take all the space that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as out:
        try:
            while out.write(b"\0" * 4096):
                pass
        except OSError:
            pass
    return ballast


def test_a_full_disk_is_reported_and_once_there_is_room_everything_is_archived(
    small_disk, services, own_services, caplog
):
    _, connections = own_services("s3")
    config = on(new_config(services, lake_spec()), connections.lake)
    ensure_topics(config)
    ensure_bucket(connections.lake, config.pipeline.spec.lake.bucket)
    telemetry = Memory()
    archiver = Archiver(config, telemetry)
    send(config, range(100))
    step_until(archiver, lambda: count_of(config) == 100)
    ballast = fill(small_disk)
    send(config, range(100, 3000))
    step_until(archiver, lambda: telemetry.value(Metric.RETRIES) >= 2)
    assert not archiver.ready()
    warnings = [json.dumps(r.getMessage()) for r in caplog.records if "did not take" in r.getMessage()]
    assert warnings
    assert any("QuotaExceeded" in w or "storage is full" in w or "space" in w for w in warnings), warnings
    assert count_of(config) == 100
    ballast.unlink()
    step_until(archiver, lambda: count_of(config) == 3000)
    assert archiver.ready()
    archiver.close()
    assert_exactly(config, range(3000))
