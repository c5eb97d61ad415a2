"""Which pipeline a command means."""

import pytest
from meterpipe.cli.errors import BadInput, Failed
from meterpipe.cli.main import COMMANDS, load
from meterpipe.cli.target import kafka_target, target

PIPELINE = """
apiVersion: meterpipe.io/v1alpha1
kind: MeterPipeline
metadata: {name: one}
spec: {%s}
"""
AWAY = "kafka: {bootstrapServers: 'kafka:9092'}, cassandra: {contactPoints: [store], secretName: store}"


@pytest.fixture
def pipeline(tmp_path):
    def write(spec: str):
        file = tmp_path / "pipeline.yaml"
        file.write_text(PIPELINE % spec)
        return {"spec": file, "config": None, "root": tmp_path / "data", "secrets": tmp_path / "secrets"}

    return write


def test_commands_that_talk_to_kafka_only_need_no_secrets_of_other_services(pipeline):
    where = pipeline(AWAY)
    assert kafka_target(**where).kafka.bootstrap_servers == "kafka:9092"
    with pytest.raises(Failed, match=r"spec\.cassandra\.secretName"):
        target(**where)


def test_a_pipeline_without_kafka_needs_one_that_runs(pipeline):
    with pytest.raises(Failed, match="names no Kafka") as refused:
        kafka_target(**pipeline(""))
    assert "meterpipe run -f" in (refused.value.way_out or "")


def test_two_pipelines_are_one_too_many(pipeline):
    where = pipeline("")
    with pytest.raises(BadInput, match="both name a pipeline"):
        target(**(where | {"config": where["spec"]}))


@pytest.mark.parametrize("name", ["generate", "flush", "replay"])
def test_the_pipeline_is_named_alike_everywhere(name):
    (option,) = (one for one in load(COMMANDS[name]).params if one.name == "spec")
    assert {"-f", "--pipeline"} <= set(option.opts)
    assert ("--file" in option.opts) == (name != "replay")  # where it is the data set's
