"""Files to pipelines: every problem is told with line, field, value, reason and way out."""

import json

import pytest
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.load import load_model, load_pipelines, pipeline_of
from meterpipe.spec.models import MeterPipeline, Output
from meterpipe.spec.problems import Problem, SpecError

HEAD = "apiVersion: meterpipe.io/v1alpha1\nkind: MeterPipeline\nmetadata: {name: demo}\n"

MINIMAL = '{"apiVersion": "meterpipe.io/v1alpha1", "kind": "MeterPipeline", "metadata": {"name": "a"}}'


def problems(text: str) -> list[Problem]:
    with pytest.raises(SpecError) as caught:
        load_pipelines(text, "p.yaml")
    return list(caught.value.problems)


def problem(text: str) -> Problem:
    (only,) = problems(text)
    return only


def test_the_shortest_pipeline_is_all_defaults():
    (pipeline,) = load_pipelines(HEAD)
    assert pipeline.metadata.namespace == "local"
    assert pipeline.spec.aggregator.windows == (60, 600, 3600, 86400)


def test_json_is_read_too():
    (pipeline,) = load_pipelines(json.dumps({**json.loads(MINIMAL), "spec": {"aggregator": {"output": "json"}}}))
    assert pipeline.spec.aggregator.output is Output.JSON


def test_a_pipeline_survives_being_written_and_read_again():
    (pipeline,) = load_pipelines(HEAD + "spec: {cassandra: {ttl: {60: 5}, k8ssandra: {cluster: c}}, paused: true}")
    assert load_pipelines(pipeline.model_dump_json(by_alias=True)) == [pipeline]


def test_every_problem_is_told_in_the_order_of_the_file():
    text = HEAD + (
        "spec:\n"
        "  agregator: {}\n"
        "  aggregator:\n"
        "    windows: [60, 600, 7000]\n"
        "    duplicates: drp\n"
        "    grace: -5\n"
        "  lake: []\n"
    )
    assert [(found.line, found.path) for found in problems(text)] == [
        (5, "spec.agregator"),
        (7, "spec.aggregator.windows[2]"),
        (8, "spec.aggregator.duplicates"),
        (9, "spec.aggregator.grace"),
        (10, "spec.lake"),
    ]


def test_a_problem_reads_as_one_line():
    assert str(problem(HEAD + "spec:\n  aggregator:\n    windows: [60, 7000]")) == (
        "p.yaml:6: spec.aggregator.windows[1]: must divide a day (86400 s), got 7000"
    )


@pytest.mark.parametrize(
    ("spec", "path", "way_out"),
    [
        ("{agregator: {}}", "spec.agregator", "did you mean aggregator?"),
        ("{kafka: {bootstrap_servers: a}}", "spec.kafka.bootstrap_servers", "did you mean bootstrapServers?"),
        ("{aggregator: {Grace: 3}}", "spec.aggregator.Grace", "did you mean grace?"),
        ("{partitions: 3}", "spec.partitions", "that field is spec.kafka.topics.readings.partitions"),
        ("{lake: {flush: {xyzzy: 3}}}", "spec.lake.flush.xyzzy", "fields here: seconds, rows"),
    ],
)
def test_an_unknown_field_is_told_the_right_one(spec, path, way_out):
    found = problem(f"{HEAD}spec: {spec}")
    assert (found.path, found.reason, found.way_out) == (path, "unknown field", way_out)


@pytest.mark.parametrize(
    ("spec", "reason", "way_out"),
    [
        ("{aggregator: {duplicates: drp}}", """must be one of 'drop', 'count', got "drp\"""", "did you mean drop?"),
        ("{monitoring: {logLevel: debug}}", None, "did you mean DEBUG?"),
        ("{deletionPolicy: Keep}", """must be one of 'Retain', 'Delete', got "Keep\"""", ""),
        ("{aggregator: {grace: '300'}}", """must be a whole number, got "300\"""", "leave the quotes out: 300"),
        ("{aggregator: {grace: 1.5}}", "must be a whole number, got 1.5", ""),
        ("{aggregator: {grace: true}}", "must be a whole number, got true", ""),
        ("{paused: 1}", "must be true or false, got 1", ""),
        ("{paused: 'true'}", """must be true or false, got "true\"""", "leave the quotes out: true"),
        ("{lake: {bucket: 123456}}", "must be text, got 123456", 'put it in quotes: "123456"'),
        ("{lake: {bucket: My_Bucket}}", None, ""),
        ("{lake: 3}", "must be a mapping (name: value), got 3", ""),
        ("{aggregator: {windows: 60}}", "must be a list, got 60", ""),
        ("{aggregator: {windows: []}}", "must have at least 1 entries, got []", ""),
        ("{aggregator: {grace: -1}}", "must be at least 0, got -1", ""),
        ("{aggregator: {grace: 99999999}}", "must be at most 604800, got 99999999", ""),
        ("{aggregator: null}", "must be a mapping (name: value), got null", ""),
        ("{lake: {endpoint: localhost}}", """must begin with http:// or https://, got "localhost\"""", ""),
        ("{kafka: {auth: {}}}", "required, but missing", ""),
    ],
)
def test_a_wrong_value_is_told_what_is_right(spec, reason, way_out):
    found = problem(f"{HEAD}spec: {spec}")
    assert reason is None or found.reason == reason
    assert found.way_out == way_out


def test_a_long_value_is_cut():
    assert len(problem(f"{HEAD}spec: {{lake: {{region: {'x' * 5000}}}}}").reason) < 150


def test_a_missing_field_is_told_at_the_line_of_its_parent():
    found = problem("apiVersion: meterpipe.io/v1alpha1\nkind: MeterPipeline\nmetadata:\n  namespace: x\n")
    assert (found.line, found.path, found.reason) == (3, "metadata.name", "required, but missing")


def test_an_ambiguous_spelling_is_told_once():
    assert problem(HEAD + "spec: {paused: yes}").way_out == 'write true, or "yes" for the text'


def test_broken_yaml_is_told_with_its_line():
    found = problem(HEAD + "spec: {paused: true\n")
    assert found.line == 5
    assert found.reason.startswith("no valid YAML")


def test_documents_of_other_kinds_are_passed_over():
    other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {y: no}\n---\n"
    assert len(load_pipelines(other + HEAD + "---\n" + other + HEAD.replace("demo", "two"))) == 2


@pytest.mark.parametrize("wrong", ["apiVersion: meterpipe.io/v1\n", "apiVersion: meterpip.io/v1alpha1\n"])
def test_a_nearly_right_api_version_is_not_passed_over(wrong):
    assert problem(HEAD.replace("apiVersion: meterpipe.io/v1alpha1\n", wrong)).path == "apiVersion"


def test_a_file_without_a_pipeline_is_refused():
    assert "no MeterPipeline" in problem("apiVersion: v1\nkind: Secret\n").reason
    assert "no MeterPipeline" in problem("").reason


def test_a_document_that_is_no_mapping_is_refused():
    assert "must be a mapping" in problem("just text").reason


def test_two_pipelines_of_one_name_are_refused():
    found = problem(HEAD + "---\n" + HEAD)
    assert (found.line, found.path) == (7, "metadata.name")
    assert "line 1" in found.reason


def test_what_the_api_server_adds_is_passed_over():
    resource = {
        "apiVersion": "meterpipe.io/v1alpha1",
        "kind": "MeterPipeline",
        "metadata": {"name": "a", "namespace": "b", "uid": "u", "generation": 3, "managedFields": [{}]},
        "spec": {"paused": True},
        "status": {"conditions": []},
    }
    assert pipeline_of(resource).metadata.namespace == "b"
    assert load_pipelines(json.dumps(resource)) == [pipeline_of(resource)]


def test_a_wrong_resource_of_the_api_server_is_told_without_file_and_line():
    with pytest.raises(SpecError, match=r"^spec\.paused: must be true or false"):
        pipeline_of({**json.loads(MINIMAL), "spec": {"paused": 3}})


def test_a_worker_config_is_read_as_written():
    config = WorkerConfig(pipeline=MeterPipeline.model_validate_json(MINIMAL), kafka={"bootstrap_servers": "h:1"})
    assert load_model(config.model_dump_json(by_alias=True), WorkerConfig) == config


def test_a_worker_config_is_told_its_problems_too():
    with pytest.raises(SpecError) as caught:
        load_model(f'{{"pipeline": {MINIMAL},\n"kafka": {{"bootstrapServer": "h:1"}}}}', WorkerConfig, "w.json")
    assert [(found.line, found.path) for found in caught.value.problems] == [
        (2, "kafka.bootstrapServers"),
        (2, "kafka.bootstrapServer"),
    ]


@pytest.mark.parametrize("text", ["", "---\na: 1\n---\nb: 2\n"])
def test_a_file_for_one_model_holds_one_document(text):
    with pytest.raises(SpecError, match="the file"):
        load_model(text, WorkerConfig)
