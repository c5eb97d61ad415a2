"""Thresholds as CSV, and the commands about them before Kafka is asked."""

import pytest
from click.testing import CliRunner
from meterpipe.cli.main import cli
from meterpipe.core.alarms.sheet import read_sheet
from meterpipe.core.alarms.thresholds import BadThresholdError, Threshold
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.models import MeterPipeline

HEAD = "meter,metric,attribute,lower,upper,hysteresis,minDuration\n"


def test_a_sheet_sets_thresholds_and_takes_away_those_without_numbers():
    assert read_sheet(HEAD + 'm1,E,P,,5,0.5,60\n"m,2",*,*,1,,,\n\nm3,E,P,,,,\n') == {
        ("m1", "E", "P"): Threshold(upper=5, hysteresis=0.5, min_duration=60),
        ("m,2", "*", "*"): Threshold(lower=1),
        ("m3", "E", "P"): None,
    }


def test_columns_may_stand_in_any_order_and_be_left_out():
    assert read_sheet("attribute,upper,meter,metric\nP,5,m,E\n") == {("m", "E", "P"): Threshold(upper=5)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1: the column meter is missing"),
        ("meter,metric,attribute,up\n", "line 1: 'up' is no column"),
        ("meter,meter,metric,attribute\n", "line 1: a column is there twice"),
        (HEAD + "m,E,P,,5,,\nm,E,P,,x,,\n", "line 3: upper: 'x' is no number"),
        (HEAD + "m,E,P,7,5,,\n", r"line 2: lower: 7 is above upper \(5\)"),
        (HEAD + "m,E,P,,nan,,\n", "line 2: upper"),
        (HEAD + "m,,P,,5,,\n", "line 2: metric: is empty"),
        (HEAD + "m,E,P,,5,,\nm,E,P,,6,,\n", "line 3: m, E, P is there twice"),
        (HEAD + "m,E,P,,5,,,8\n", "line 2: 8 cells"),
        (HEAD + '"m', "line 2"),
    ],
)
def test_a_bad_line_is_named_with_the_reason(text, why):
    with pytest.raises(BadThresholdError, match=why):
        read_sheet(text)


@pytest.fixture
def run(tmp_path):
    def invoke(*args, enabled=True):
        resource = {
            "apiVersion": "meterpipe.io/v1alpha1",
            "kind": "MeterPipeline",
            "metadata": {"name": "one"},
            "spec": {"alarms": {"enabled": enabled}},
        }
        pipeline = MeterPipeline.model_validate(resource)
        config = WorkerConfig.model_validate({"pipeline": pipeline, "kafka": {"bootstrapServers": "127.0.0.1:1"}})
        file = tmp_path / "worker.json"
        file.write_text(config.model_dump_json(by_alias=True, exclude_none=True))
        return CliRunner().invoke(cli, ["alarm", *args, "--config", str(file)])

    return invoke


def test_a_threshold_without_sense_is_refused_before_anything_is_written(run):
    refused = run("set", "m", "E", "P", "--lower", "5", "--upper", "1")
    assert (refused.exit_code, "lower: 5 is above upper (1)" in refused.output) == (2, True)
    assert run("set", "m", "", "P", "--upper", "1").exit_code == 2
    assert "neither lower nor upper" in run("set", "m", "E", "P").output


def test_a_pipeline_without_alarms_says_how_to_switch_them_on(run):
    refused = run("set", "m", "E", "P", "--upper", "1", enabled=False)
    assert (refused.exit_code, "spec.alarms.enabled" in refused.output) == (2, True)


def test_a_bad_file_is_named_with_its_line(run, tmp_path):
    file = tmp_path / "limits.csv"
    file.write_text(HEAD + "m,E,P,,x,,\n")
    refused = run("import", str(file))
    assert refused.exit_code == 2
    assert "limits.csv: line 2: upper: 'x' is no number" in refused.output
