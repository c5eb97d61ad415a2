"""The services of one machine: real ones, started here."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from meterpipe.adapters.kafka import new_admin
from meterpipe.adapters.s3 import ensure_bucket, new_client
from meterpipe.adapters.topics import TopicError, ensure_topics
from meterpipe.local import process
from meterpipe.local.paths import DataDir
from meterpipe.local.probes import cql_answers
from meterpipe.local.services import down
from meterpipe.spec.topics import plan_topics


def test_all_services_answer(kafka, cassandra, s3):
    assert new_admin(kafka).list_topics(timeout=10).brokers
    assert cql_answers(cassandra.port)
    assert new_client(s3).list_buckets()["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_topics_are_made_once_and_a_second_time_changes_nothing(pipeline):
    config = pipeline(topics=False, schema=False)
    assert sorted(ensure_topics(config)) == sorted(plan.name for plan in plan_topics(config.pipeline))
    assert ensure_topics(config) == []


def test_another_number_of_partitions_is_refused_with_the_way_out(pipeline):
    config = pipeline({"kafka": {"topics": {"readings": {"partitions": 2}}}}, schema=False)
    topics = config.pipeline.spec.kafka.topics
    more = topics.model_copy(update={"readings": topics.readings.model_copy(update={"partitions": 3})})
    kafka = config.pipeline.spec.kafka.model_copy(update={"topics": more})
    spec = config.pipeline.spec.model_copy(update={"kafka": kafka})
    changed = config.model_copy(update={"pipeline": config.pipeline.model_copy(update={"spec": spec})})
    with pytest.raises(TopicError, match=r"has 2 partitions, the pipeline says 3: set spec.kafka.topics"):
        ensure_topics(changed)


def test_a_bucket_is_made_once(s3):
    assert ensure_bucket(s3, "made-once") in (True, False)
    assert ensure_bucket(s3, "made-once") is False


def test_a_service_comes_back_at_the_same_port_with_its_data(own_services):
    data, first = own_services("s3")
    ensure_bucket(first.lake, "kept")
    assert down(data) == ["s3"]
    _, second = own_services("s3")
    assert second == first
    assert [bucket["Name"] for bucket in new_client(second.lake).list_buckets()["Buckets"]] == ["kept"]


def test_a_port_taken_by_another_program_is_replaced(own_services):
    data, first = own_services("s3")
    down(data)
    with socket.create_server(("127.0.0.1", int(first.lake.endpoint.rpartition(":")[2]))):
        _, second = own_services("s3")
        assert second.lake.endpoint != first.lake.endpoint
        assert new_client(second.lake).list_buckets()["Buckets"] == []


DEMO = ("demo", "--households", "4")


def meterpipe(*arguments: str | Path, output: Path) -> subprocess.Popen[bytes]:
    with output.open("w") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "meterpipe.cli.main", *arguments],
            stdout=out,
            stderr=out,
            # a shell's background jobs ignore it, and so would whatever the tests start there
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )


def finished(command: subprocess.Popen[bytes], output: Path) -> str:
    assert command.wait() == 0, output.read_text()
    return output.read_text()


def until_said(words: str, command: subprocess.Popen[bytes], output: Path) -> None:
    while words not in output.read_text():
        assert command.poll() is None, output.read_text()
        time.sleep(0.1)


@pytest.mark.timeout(900)
def test_the_demo_goes_on_where_an_interrupt_stopped_it_and_its_numbers_are_right(tmp_path):
    data, output = DataDir(tmp_path / "data"), tmp_path / "output"
    first = meterpipe(*DEMO, "--days", "3", "--dir", data.root, output=output)
    until_said("sent", first, output)
    first.send_signal(signal.SIGINT)
    assert first.wait() == 130
    assert process.find_all(data) == {}

    second = meterpipe(*DEMO, "--days", "3", "--dir", data.root, output=output)
    assert "equal to raw" in finished(second, output)

    third = meterpipe(*DEMO, "--days", "4", "--dir", data.root, output=output)
    text = finished(third, output)
    assert "1 days from 2012-10-16" in text
    assert "✘" not in text
    assert process.find_all(data) == {}


@pytest.mark.timeout(600)
def test_a_run_restarts_a_killed_worker_shows_its_status_and_is_stopped_by_down(tmp_path):
    data, output, file = DataDir(tmp_path / "data"), tmp_path / "output", tmp_path / "pipeline.yaml"
    file.write_text("apiVersion: meterpipe.io/v1alpha1\nkind: MeterPipeline\nmetadata: {name: small}\n")
    running = meterpipe("run", "-f", file, "--dir", data.root, output=output)
    until_said("pipeline small runs", running, output)
    before = worker(data, "sink-0")
    os.kill(before.pid, signal.SIGKILL)
    until_said("sink-0 was killed by signal 9", running, output)
    while worker(data, "sink-0") == before:
        time.sleep(0.1)

    status = json.loads(
        finished(
            meterpipe("status", "--json", "--dir", data.root, output=output.with_name("status")),
            output.with_name("status"),
        )
    )
    assert status["pipeline"] == "small"
    assert status["supervisor"] == running.pid
    assert [service["answers"] for service in status["services"]] == [True, True, True]
    assert status["balance"]["raw"] == 0

    another = meterpipe("run", "-f", file, "--dir", data.root, output=output.with_name("another"))
    assert another.wait() == 1
    assert f"process {running.pid} runs a pipeline" in output.with_name("another").read_text()

    finished(meterpipe("down", "--dir", data.root, output=output.with_name("down")), output.with_name("down"))
    assert running.wait() == 0
    assert process.find_all(data) == {}
    finished(meterpipe("clean", "--yes", "--dir", data.root, output=output.with_name("clean")), output)
    assert not data.root.exists()


def worker(data: DataDir, name: str) -> process.Running:
    while not (found := process.find(data, name)):
        time.sleep(0.1)
    return found


def test_a_folder_that_is_not_ours_is_never_cleaned(tmp_path):
    (tmp_path / "precious").touch()
    output = tmp_path / "output"
    command = meterpipe("clean", "--yes", "--dir", tmp_path, output=output)
    assert command.wait() == 1
    assert "no data directory of Meterpipe" in output.read_text()
    assert (tmp_path / "precious").exists()
