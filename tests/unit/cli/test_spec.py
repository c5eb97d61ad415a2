"""validate, explain and crd as a user sees them."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from meterpipe.cli.errors import BadInput
from meterpipe.cli.main import cli
from meterpipe.cli.spec import read_pipeline, read_worker_config, reference_page
from meterpipe.worker.telemetry import Metric

GOOD = "apiVersion: meterpipe.io/v1alpha1\nkind: MeterPipeline\nmetadata: {name: demo}\n"
BAD = GOOD + "spec:\n  aggregator:\n    window: [60]\n    grace: -1\n"


def run(*args: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], input=stdin)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    return file


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    return file


def test_a_valid_file_is_told_so(good: Path):
    result = run("validate", "-f", good)
    assert (result.exit_code, result.output) == (0, "MeterPipeline local/demo is valid\n")


def test_a_wrong_file_is_told_every_problem_on_standard_error(bad: Path):
    result = run("validate", "-f", bad)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "Error: 2 problems\n"
        f"{bad}:6: spec.aggregator.window: unknown field (did you mean windows?)\n"
        f"{bad}:7: spec.aggregator.grace: must be at least 0, got -1\n"
        "  -> meterpipe explain FIELD tells what a field takes\n"
    )


def test_problems_come_as_json_for_tools(bad: Path):
    result = run("validate", "-f", bad, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["valid"]) == (2, False)
    assert told["problems"][1] == {
        "file": str(bad),
        "line": 7,
        "path": "spec.aggregator.grace",
        "reason": "must be at least 0, got -1",
        "value": -1,
        "way_out": "",
    }


def test_valid_files_come_as_json_for_tools(good: Path):
    told = json.loads(run("validate", "-f", good, "--json").stdout)
    assert told == {"valid": True, "problems": [], "pipelines": [{"namespace": "local", "name": "demo"}]}


def test_several_files_are_checked_together(good: Path, bad: Path):
    assert str(bad) in run("validate", "-f", good, "-f", bad).stderr


def test_the_files_of_a_folder_are_checked(good: Path, bad: Path):
    (good.parent / "notes.txt").write_text("not yaml: [")
    result = run("validate", "-f", good.parent)
    assert "2 problems" in result.stderr


def test_a_folder_without_files_is_refused(tmp_path: Path):
    result = run("validate", "-f", tmp_path)
    assert result.exit_code == 2
    assert "no .yaml, .yml, .json files" in result.stderr


def test_standard_input_is_read():
    assert run("validate", "-f", "-", stdin=GOOD).exit_code == 0
    assert "<stdin>:6: spec.aggregator.window" in run("validate", "-f", "-", stdin=BAD).stderr


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    result = run("validate", "-f", tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert "none.yaml: No such file or directory" in result.stderr


def test_a_file_that_is_no_utf_8_is_named(tmp_path: Path):
    (tmp_path / "latin.yaml").write_bytes(GOOD.encode() + b"# \xe9")
    result = run("validate", "-f", tmp_path / "latin.yaml")
    assert result.exit_code == 2
    assert f"is not UTF-8 (byte {len(GOOD) + 2})" in result.stderr


def test_a_byte_order_mark_is_no_problem(tmp_path: Path):
    (tmp_path / "bom.yaml").write_text("\ufeff" + GOOD, "utf-8")
    assert run("validate", "-f", tmp_path / "bom.yaml").exit_code == 0


def test_a_file_is_needed():
    assert run("validate").exit_code == 2


def test_where_one_pipeline_is_wanted_two_are_refused(tmp_path: Path):
    file = tmp_path / "two.yaml"
    file.write_text(GOOD + "---\n" + GOOD.replace("demo", "other"))
    with pytest.raises(BadInput, match=r"2 pipelines \(demo, other\)"):
        read_pipeline(file)


def test_a_wrong_worker_config_is_bad_input(tmp_path: Path):
    file = tmp_path / "worker.json"
    file.write_text('{"kafka": {}}')
    with pytest.raises(BadInput, match=r"(?s)kafka\.bootstrapServers: required.*|pipeline: required"):
        read_worker_config(file)


def test_a_field_is_explained():
    result = run("explain", "spec.aggregator.windows")
    assert result.exit_code == 0
    assert "<[]integer>" in result.output


def test_an_unknown_field_is_told_the_nearest():
    result = run("explain", "spec.agregator")
    assert result.exit_code == 2
    assert result.stderr == "Error: there is no field 'spec.agregator'\n  -> did you mean spec.aggregator?\n"


def test_the_definition_is_printed_as_yaml():
    assert yaml.safe_load(run("crd").output)["kind"] == "CustomResourceDefinition"


def test_the_reference_page_is_up_to_date():
    committed = (Path(__file__).parents[3] / "docs/reference.md").read_text()
    assert committed == reference_page(), "run: meterpipe explain --markdown > docs/reference.md"


def test_the_reference_page_lists_every_metric():
    page = reference_page()
    assert all(f"`{metric}`" in page for metric in Metric)
