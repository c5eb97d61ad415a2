"""The console, before any service is asked."""

import click
import pytest
from click.testing import CliRunner
from meterpipe.adapters.topic_facts import roles
from meterpipe.adapters.topic_reader import Edge, Newest, Since
from meterpipe.cli.beginning import Beginning, parse_start
from meterpipe.cli.lines import Lines, printable
from meterpipe.cli.main import cli
from meterpipe.cli.topics import span_of
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.models import MeterPipeline


@pytest.fixture
def run(tmp_path):
    resource = {"apiVersion": "meterpipe.io/v1alpha1", "kind": "MeterPipeline", "metadata": {"name": "one"}}
    config = WorkerConfig.model_validate({"pipeline": resource, "kafka": {"bootstrapServers": "127.0.0.1:1"}})
    file = tmp_path / "worker.json"
    file.write_text(config.model_dump_json(by_alias=True, exclude_none=True))
    return lambda *args: CliRunner().invoke(cli, [*args, "--config", str(file)])


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("beginning", Edge.BEGINNING),
        ("end", Edge.END),
        ("-100", Newest(100)),
        ("15m", Since(1_000_000_000 - 900_000)),
        ("2d", Since(1_000_000_000 - 172_800_000)),
        ("2024-01-31", None),
    ],
)
def test_a_start_is_an_edge_a_count_or_a_span(text, start):
    assert parse_start(text, 1_000_000_000) == start


def test_a_start_may_be_a_time_and_nothing_else():
    assert Beginning().convert("2024-01-31", None, None) == Since(1_706_659_200_000)
    with pytest.raises(click.BadParameter, match="beginning, end, -100"):
        Beginning().convert("yesterday", None, None)


def test_columns_stay_in_line_and_widen_when_they_must():
    lines = Lines(["a", "b"])
    first = lines.of([{"a": 1, "b": 2.5}, {"a": None, "b": "x"}])
    assert [click.unstyle(line) for line in first] == ["a  b", "1  2.5", "   x"]
    assert lines.of([{"a": "long", "b": 1}]) == ["long  1"]
    assert lines.of([{"a": 1, "b": 1}]) == ["1     1"]


def test_names_cannot_steer_the_terminal():
    assert Lines(["a"]).of([{"a": "\x1b[2Jhouse"}])[1] == "\\x1b[2Jhouse"
    assert printable("Zähler 7") == "Zähler 7"


@pytest.mark.parametrize(
    ("seconds", "text"), [(604_800, "7 d"), (3600, "1 h"), (90, "90 s"), (120, "2 min"), (None, "for ever"), (0, "0 d")]
)
def test_a_span_is_told_in_whole_units(seconds, text):
    assert span_of(seconds) == text


def test_every_topic_of_a_pipeline_has_a_role():
    resource = {
        "apiVersion": "meterpipe.io/v1alpha1",
        "kind": "MeterPipeline",
        "metadata": {"name": "one"},
        "spec": {"validation": {"enabled": True}, "aggregator": {"windows": [60, 3600]}},
    }
    found = roles(MeterPipeline.model_validate(resource))
    assert len(set(found.values())) == len(found)
    assert found["local-one-aggregates-3600"] == "results 3600 s"
    assert found["local-one-dead-letters"] == "dead letters"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("tail", "--window", "60"), "--window is for results"),
        (("tail", "results", "--window", "7"), "the pipeline has windows of"),
        (("tail", "quarantine"), "the pipeline has no validation"),
        (("lag", "--worker", "cook"), "there are aggregator, sink, archiver"),
        (("dead-letters", "replay"), "nothing says which letters to replay"),
        (("dead-letters", "replay", "--from", "-5"), "--from takes beginning, a time or a span"),
        (("dead-letters", "show", "x"), "give PARTITION:OFFSET"),
    ],
)
def test_wrong_usage_is_told_with_the_way_out(run, args, told):
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert told in result.stderr


def test_topics_lists_unless_told_otherwise():
    runner = CliRunner()
    assert "--partitions" in runner.invoke(cli, ["topics", "list", "--help"]).output
    assert "apply" in runner.invoke(cli, ["topics", "--help"]).output
    assert "topics list" in runner.invoke(cli, ["topics", "--nothing"]).output
