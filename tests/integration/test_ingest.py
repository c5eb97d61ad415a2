"""The edge on a real Kafka and a real MQTT broker: what it takes in and refuses, what outages and kills do to it."""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from meterpipe.adapters.kafka import new_producer
from meterpipe.adapters.topics import ensure_topics
from meterpipe.datasets.publish import DAY_MS, Publisher
from meterpipe.local.services import down, up
from meterpipe.spec.connections import IngestConnection, WorkerConfig
from meterpipe.spec.names import names_of
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.conftest import new_config
from tests.integration.harness import (
    Fleet,
    balance_of,
    fleet_of,
    headers_of,
    partitions_of,
    records_of,
    settle,
    wait_until,
)
from tests.integration.ingest_helpers import (
    BASE,
    MqttGateway,
    Poster,
    batch,
    broker,
    free_port,
    post,
    publish,
    readings_in,
    until_all_in,
)
from tests.unit.ingest.bodies import arrow_table, as_arrow
from tests.unit.ingest.test_espi import feed, interval

TOKEN, OTHER = "north-token-0123456789", "south-token-0123456789"


def started(fleet: Fleet, number: int = 0):
    worker = fleet.start("ingest", number)
    wait_until(worker.ready, f"the worker is ready: {worker.log.read_text()[-2000:]}")
    return worker


@pytest.fixture
def edge(pipeline, tmp_path: Path) -> Iterator[tuple[WorkerConfig, int]]:
    """A worker that takes readings from anyone, and its port."""
    port = free_port()
    config = pipeline({"ingest": {"replicas": 1, "anonymous": True, "http": {"port": port}}}, schema=False)
    with fleet_of(config, tmp_path) as fleet:
        started(fleet)
        yield config, port
        assert fleet.restarts == 0


def test_every_format_and_encoding_arrives(edge):
    config, port = edge
    bodies = {name: batch(name, 0, 300) for name in ("plain", "gzip", "lines")}
    wanted = set().union(*(readings for _, readings in bodies.values()))
    lines = b"\n".join(json.dumps(one).encode() for one in json.loads(bodies["lines"][0]))
    packed = pa.compress(lines, codec="zstd", asbytes=True)
    table = as_arrow(arrow_table(1000))
    answers = [
        post(port, bodies["plain"][0]),
        post(port, gzip.compress(bodies["gzip"][0]), Content_Encoding="gzip"),
        post(port, packed, Content_Type="application/x-ndjson", Content_Encoding="zstd"),
        post(port, table, Content_Type="application/vnd.apache.arrow.stream"),
        post(port, feed(interval(0, 1)), path="/v1/readings?meter=green", Content_Type="application/atom+xml"),
    ]
    assert [(status, document) for status, document, _ in answers] == [
        (202, {"accepted": count}) for count in (300, 300, 300, 1000, 1)
    ]
    found = readings_in(config)  # at once: acknowledged is durable
    assert wanted <= set(found)
    assert len(found) == 1901
    assert "green" in {meter for meter, _ in found}


def test_the_good_readings_of_a_bad_request_are_in_kafka_when_it_is_answered(edge):
    config, port = edge
    good, wanted = batch("good", 0, 3)
    readings = json.loads(good)
    readings.insert(1, readings[0] | {"value": "much"})
    status, document, headers = post(port, b"[" + b",\n".join(json.dumps(r).encode() for r in readings) + b"]")
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert (document["accepted"], document["refused"]) == (3, 1)
    assert [(e["index"], e["line"], e["field"], e["reason"]) for e in document["errors"]] == [
        (1, 2, "value", "wrong-type")
    ]
    assert sorted(readings_in(config)) == sorted(wanted)


def test_requests_that_cannot_be_taken_say_why(edge):
    _, port = edge
    body, _ = batch("m", 0, 1)
    assert post(port, body, Content_Type="text/csv")[0] == 415
    assert post(port, body, Content_Encoding="br")[0] == 415
    assert post(port, body, Content_Encoding="gzip")[0] == 400
    assert post(port, body, path="/v2/readings")[0] == 404
    assert post(port, gzip.compress(bytes(100_000_000)), Content_Encoding="gzip")[0] == 413
    ahead = json.loads(body)[0] | {"timestamp": int(time.time() * 1000) + 3_600_000}
    assert post(port, json.dumps(ahead).encode())[1]["errors"][0]["reason"] == "too-far-ahead"


def test_a_token_opens_the_door_for_the_meters_of_its_group(pipeline, tmp_path):
    port, files = free_port(), {"north": tmp_path / "north", "south": tmp_path / "south"}
    files["north"].write_text(TOKEN)
    files["south"].write_text(OTHER)
    groups = [{"name": name, "secretName": name, "meterPrefixes": [f"{name}-"]} for name in files]
    config = pipeline({"ingest": {"replicas": 1, "groups": groups, "http": {"port": port}}}, schema=False)
    config = config.model_copy(update={"ingest": IngestConnection(host="127.0.0.1", token_files=files)})
    with fleet_of(config, tmp_path) as fleet:
        started(fleet)
        body, wanted = batch("north-1", 0, 2)
        status, _, headers = post(port, body)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert post(port, body, Authorization=f"Bearer {TOKEN}")[0] == 202
        status, document, _ = post(port, body, Authorization=f"Bearer {OTHER}")
        assert (status, document["accepted"], document["errors"][0]["reason"]) == (400, 0, "not-permitted")
        assert set(readings_in(config)) == wanted


def test_too_much_that_is_unconfirmed_is_answered_with_when_to_come_again(services, own_services, tmp_path):
    data, own = own_services("kafka")
    port = free_port()
    ingest = {"replicas": 1, "anonymous": True, "http": {"port": port}, "maxPending": 1000, "ackTimeout": 5}
    config = new_config(services, {"ingest": ingest}).model_copy(update={"kafka": own.kafka})
    ensure_topics(config)
    with fleet_of(config, tmp_path) as fleet:
        worker = started(fleet)
        assert post(port, batch("first", 0, 10)[0])[0] == 202
        down(data, ["kafka"])
        answers = {}

        def first() -> None:
            answers["first"] = post(port, batch("m", 0, 1000)[0])

        waiting = threading.Thread(target=first)
        waiting.start()
        wait_until(lambda: post(port, b"[]")[0] == 429, "the gate is full")
        status, _, headers = post(port, batch("n", 0, 1)[0])
        assert (status, int(headers["retry-after"]) >= 1) == (429, True)
        waiting.join()
        status, _, headers = answers["first"]
        assert (status, int(headers["retry-after"]) >= 1) == (503, True)
        up(data, tethered=True, only=["kafka"])
        wait_until(lambda: post(port, batch("m", 0, 1000)[0])[0] == 202, "Kafka confirms again", pause=1)
        assert worker.alive()
        assert set(readings_in(config)) >= batch("m", 0, 1000)[1] | batch("first", 0, 10)[1]


def test_messages_of_a_topic_become_readings_and_bad_ones_dead_letters(pipeline, tmp_path):
    port, mqtt = free_port(), free_port()
    ingest = {"replicas": 1, "anonymous": True, "http": {"port": port}, "mqtt": {"host": "127.0.0.1", "port": mqtt}}
    config = pipeline({"ingest": ingest}, schema=False)
    with broker(tmp_path, mqtt), fleet_of(config, tmp_path) as fleet:
        started(fleet)
        stop = threading.Event()
        gateway = MqttGateway(mqtt, "pump", stop)
        gateway.start()
        time.sleep(2)
        stop.set()
        gateway.join()
        publish(mqtt, "meters/m/WATER/SUMMATION", b"no json")
        assert len(gateway.acknowledged) >= 20
        found = until_all_in(config, gateway.acknowledged, fleet.tend)
        assert sorted(found) == sorted(gateway.acknowledged)
        names = names_of(config.pipeline)
        wait_until(lambda: records_of(config, names.dead_letters), "the dead letter is there")
        (letter,) = records_of(config, names.dead_letters)
        assert letter.value() == b"no json"
        assert headers_of(letter)["topic"] == "meters/m/WATER/SUMMATION"
        assert fleet.restarts == 0


def test_nothing_acknowledged_is_lost_and_nothing_counts_twice_while_kafka_is_away_and_an_adapter_is_killed(
    services, own_services, tmp_path, monkeypatch
):
    data, own = own_services("kafka")
    port, mqtt = free_port(), free_port()
    ingest = {"replicas": 2, "anonymous": True, "http": {"port": port}, "mqtt": {"host": "127.0.0.1", "port": mqtt}}
    config = new_config(services, {"ingest": ingest}).model_copy(update={"kafka": own.kafka})
    ensure_topics(config)
    stop = threading.Event()
    with broker(tmp_path, mqtt), fleet_of(config, tmp_path) as fleet:
        workers = []
        for number in range(2):
            monkeypatch.setenv("METERPIPE_INSTANCE", str(number))
            workers.append(started(fleet, number))
        clients = [Poster(port, f"http-{i}", stop) for i in range(4)] + [
            MqttGateway(mqtt, f"mqtt-{i}", stop) for i in range(2)
        ]
        for client in clients:
            client.start()
        try:
            time.sleep(3)
            down(data, ["kafka"])
            time.sleep(10)
            workers[0].kill()
            time.sleep(10)
            up(data, tethered=True, only=["kafka"])
            monkeypatch.setenv("METERPIPE_INSTANCE", "0")
            workers[0].restart()
            time.sleep(5)
            workers[0].kill()  # and once more while readings flow
            workers[0].restart()
            wait_until(workers[0].ready, "the adapter is back")
            time.sleep(3)
        finally:
            stop.set()
            for client in clients:
                client.join()
        acknowledged = set().union(*(client.acknowledged for client in clients))
        found = until_all_in(config, acknowledged, lambda: None)
        retries = sum(client.retries for client in clients if isinstance(client, Poster))
        print(f"\n{len(acknowledged)} acknowledged, {len(found)} in Kafka, {retries} requests repeated")
        assert set(found) == acknowledged  # every client went on until it had its acknowledgement
        assert len(acknowledged) > 500
        fleet.start("aggregator")
        publisher = Publisher(new_producer(config.kafka), names_of(config.pipeline).readings, partitions_of(config))
        publisher.control(BASE + 2 * DAY_MS)  # closes all windows: only then duplicates are told apart
        publisher.finish()
        settle(fleet, config, "aggregator")
        balance = balance_of(config)
        assert balance.raw == len(found)
        assert balance.windows == len(acknowledged)
        assert balance.duplicates == len(found) - len(acknowledged)


def test_the_server_does_what_its_openapi_document_says(edge):
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{edge[1]}/openapi.json")
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    operations = [found.ok() for found in schema.get_all_operations()]
    assert "/v1/readings" in {operation.path for operation in operations}
    for operation in operations:
        # a page without parameters cannot be asked for wrongly
        for mode in GenerationMode if operation.method.lower() == "post" else [GenerationMode.POSITIVE]:

            @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            @given(operation.as_strategy(generation_mode=mode))
            def conforms(case):
                case.call_and_validate(checks=checks)

            conforms()
