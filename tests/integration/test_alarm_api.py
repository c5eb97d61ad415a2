"""The API of thresholds and open alarms on a real Kafka and a real Cassandra."""

import json
import urllib.error
import urllib.request
from contextlib import contextmanager
from urllib.parse import quote

import pytest
import schemathesis
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from meterpipe.adapters.thresholds import read_thresholds
from meterpipe.adapters.topics import ensure_topics
from meterpipe.cli.main import cli
from meterpipe.core.alarms.thresholds import Threshold
from meterpipe.local.services import down
from meterpipe.spec.connections import NotifierConnection
from meterpipe.spec.names import names_of
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.conftest import new_config
from tests.integration.harness import fleet_of, progress_of, records_of, wait_until
from tests.integration.ingest_helpers import free_port
from tests.integration.notifier_helpers import alarms, expected_open, write

TOKEN = "a-clerk's-token-0123456789"


def ask(port, path, method="GET", body=None, **headers):
    """Status, document, headers."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode(),
        {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, text, found = answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        status, text, found = error.code, error.read(), error.headers
        assert found["content-type"] == "application/problem+json"
    return status, json.loads(text) if text else None, found


def spec(port, **api):
    return {"alarms": {"enabled": True, "notifier": {"api": {"enabled": True, "port": port, **api}}}}


@contextmanager
def desk(config, tmp_path):
    config = config.model_copy(update={"notifier": config.notifier or NotifierConnection(host="127.0.0.1")})
    with fleet_of(config, tmp_path) as fleet:
        worker = fleet.start("notifier")
        wait_until(worker.ready, "ready")
        yield fleet
        assert fleet.restarts == 0


@pytest.fixture
def api(pipeline, tmp_path):
    port = free_port()
    config = pipeline(spec(port, anonymous=True))
    with desk(config, tmp_path):
        yield config, port


def test_what_is_put_is_on_the_topic_when_answered_and_is_what_one_gets(api):
    config, port = api
    names = [("house/7", "ELECTRICITY", "ACTIVE_POWER"), ("*", "WATER", "*"), ("日", "a.b", "%2F")]
    for number, name in enumerate(names):
        path = "/v1/thresholds/" + "/".join(quote(part, safe="*") for part in name)
        meter, metric, attribute = name
        whom = {"meter": meter, "metric": metric, "attribute": attribute}
        assert ask(port, path)[0] == 404
        status, document, _ = ask(port, path, "PUT", {"upper": number + 0.5, "minDuration": 60})
        assert (status, document) == (200, {**whom, "upper": number + 0.5, "minDuration": 60.0})
        found, place = read_thresholds(config)[name]  # at once: acknowledged is durable
        assert found == Threshold(upper=number + 0.5, min_duration=60.0)
        status, document, _ = ask(port, path)
        record = {"partition": place.partition, "offset": place.offset}
        assert (status, document["record"], document["upper"]) == (200, record, number + 0.5)
    status, document, _ = ask(port, "/v1/thresholds")
    assert [(t["meter"], t["metric"], t["attribute"]) for t in document["items"]] == sorted(names)
    assert ask(port, "/v1/thresholds?limit=1")[1]["more"] is True
    assert [t["metric"] for t in ask(port, "/v1/thresholds?meter=" + quote("日"))[1]["items"]] == ["a.b"]
    assert ask(port, "/v1/thresholds/*/WATER/*", "DELETE")[:2] == (204, None)
    assert ask(port, "/v1/thresholds/*/WATER/*", "DELETE")[0] == 204
    assert ask(port, "/v1/thresholds/*/WATER/*")[0] == 404
    assert set(read_thresholds(config)) == {names[0], names[2]}


def test_what_is_wrong_is_told_by_field_and_value_and_nothing_is_written(api):
    config, port = api
    status, document, _ = ask(port, "/v1/thresholds/m/E/P", "PUT", {"upper": 1, "lower": 2})
    assert (status, document["errors"]) == (400, [{"detail": "2 is above upper (1)", "field": "lower", "value": 2}])
    assert ask(port, "/v1/thresholds/m/E/P", "PUT", b"{")[0] == 400
    assert ask(port, "/v1/thresholds/m/E/P", "PUT", b" " * 70_000)[0] == 413
    assert ask(port, "/v1/thresholds/m/E/P", "PUT", {"upper": 1}, Content_Type="text/csv")[0] == 415
    assert ask(port, "/v1/thresholds?limit=0")[1]["errors"][0]["field"] == "limit"
    assert ask(port, "/v1/nothing")[0] == 404
    assert ask(port, "/v1/alarms", "POST", {})[0] == 405
    assert records_of(config, names_of(config.pipeline).thresholds) == []


def test_open_alarms_are_given_by_meter_or_all_by_http_and_on_the_command_line(api, tmp_path):
    config, port = api
    events = alarms(10, 7)
    write(config, events)
    with progress_of(config) as progress:
        wait_until(lambda: progress.lag("notifier") == 0, "the table is up to date")
    wanted = expected_open(events)

    def shown(path):
        return {
            (a["meter"], a["metric"], a["attribute"], a["kind"]): (
                a["id"], a["raisedAt"], a["value"], a["limit"], a["threshold"], a["reading"]
            )
            for a in ask(port, path)[1]["items"]
        }  # fmt: skip

    assert shown("/v1/alarms") == wanted
    file = tmp_path / "notifier-0.json"
    printed = CliRunner().invoke(cli, ["alarm", "open", "--json", "--config", str(file)])
    assert printed.exit_code == 0, printed.output
    assert {json.loads(line)["id"] for line in printed.stdout.splitlines()} == {row[0] for row in wanted.values()}
    one = CliRunner().invoke(cli, ["alarm", "open", "meter-3", "--config", str(file)])
    assert one.stdout.count("meter-3") == sum(key[0] == "meter-3" for key in wanted)
    assert shown("/v1/alarms?meter=meter-3") == {key: row for key, row in wanted.items() if key[0] == "meter-3"}
    assert ask(port, "/v1/alarms?limit=1")[1]["more"] is True
    assert ask(port, "/v1/alarms?meter=nobody")[1] == {"items": [], "more": False}


def test_without_a_token_nobody_gets_in(pipeline, tmp_path):
    port, file = free_port(), tmp_path / "tokens"
    file.write_text(TOKEN)
    config = pipeline(spec(port, secretName="clerks"))
    config = config.model_copy(update={"notifier": NotifierConnection(host="127.0.0.1", api_tokens_file=file)})
    with desk(config, tmp_path):
        for path in ("/v1/thresholds", "/v1/alarms", "/v1/thresholds/m/E/P"):
            status, _, headers = ask(port, path)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert ask(port, path, Authorization="Bearer no-such-token-0123456789")[0] == 401
        assert ask(port, "/v1/thresholds/m/E/P", "PUT", {"upper": 1})[0] == 401
        assert records_of(config, names_of(config.pipeline).thresholds) == []
        assert ask(port, "/v1/thresholds/m/E/P", "PUT", {"upper": 1}, Authorization=f"Bearer {TOKEN}")[0] == 200
        assert ask(port, "/openapi.json")[0] == 200


def test_while_kafka_is_away_nothing_is_said_to_be_done(services, own_services, tmp_path):
    data, own = own_services("kafka")
    port = free_port()
    config = new_config(services, spec(port, anonymous=True))
    notifier = config.pipeline.spec.alarms.notifier.model_copy(update={"open_alarms": False})
    whole = config.pipeline.spec.model_copy(
        update={"alarms": config.pipeline.spec.alarms.model_copy(update={"notifier": notifier})}
    )
    config = config.model_copy(
        update={"kafka": own.kafka, "pipeline": config.pipeline.model_copy(update={"spec": whole})}
    )
    ensure_topics(config)
    with desk(config, tmp_path):
        assert ask(port, "/v1/thresholds/m/E/P", "PUT", {"upper": 1})[0] == 200
        assert ask(port, "/v1/alarms")[0] == 404
        down(data, ["kafka"])
        status, document, headers = ask(port, "/v1/thresholds/m/E/P", "PUT", {"upper": 2})
        assert (status, headers["retry-after"]) == (503, "2")
        assert "send the request again" in document["detail"]


def test_the_server_does_what_its_openapi_document_says(api):
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{api[1]}/openapi.json")
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {one.path for one in operations} >= {"/v1/alarms", "/v1/thresholds"}
    for operation in operations:
        for mode in GenerationMode if operation.method.lower() == "put" else [GenerationMode.POSITIVE]:

            @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            @given(operation.as_strategy(generation_mode=mode))
            def conforms(case):
                case.call_and_validate(checks=checks)

            conforms()
