"""meterpipe reset: what is said before any service is asked."""

import pytest
from click.testing import CliRunner
from meterpipe.cli.main import cli
from meterpipe.spec.connections import WorkerConfig


@pytest.fixture
def reset(tmp_path):
    resource = {"apiVersion": "meterpipe.io/v1alpha1", "kind": "MeterPipeline", "metadata": {"name": "one"}}
    config = WorkerConfig.model_validate({"pipeline": resource, "kafka": {"bootstrapServers": "127.0.0.1:1"}})
    file = tmp_path / "worker.json"
    file.write_text(config.model_dump_json(by_alias=True, exclude_none=True))
    return lambda *args, **more: CliRunner().invoke(cli, ["reset", "aggregator", *args, "--config", str(file)], **more)


def test_it_must_be_said_where_to_go_on(reset):
    result = reset()
    assert result.exit_code == 2
    assert "give --to-changelog or --to-beginning" in result.stderr


def test_forgetting_the_state_is_asked_about_and_no_is_an_answer(reset):
    result = reset("--to-beginning", input="n\n")
    assert result.exit_code == 1
    assert "counts every reading that the readings topic still holds anew" in result.stderr


def test_help_tells_both_ways_out(reset):
    output = reset("--help").stdout
    assert "loses nothing" in output
    assert "All aggregators must be stopped" in output
