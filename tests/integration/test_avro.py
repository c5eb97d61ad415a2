"""Avro through a real registry: the same windows as from any other format, also while the registry is away."""

import json
import time

import pytest
from click.testing import CliRunner
from meterpipe.adapters.kafka import new_producer
from meterpipe.adapters.schema_registry import RegistryError, SchemaRegistry
from meterpipe.cli.main import cli
from meterpipe.core.avro_rows import reading_schema
from meterpipe.datasets.publish import FIELDS, Format, Publisher
from meterpipe.local.paths import DataDir
from meterpipe.local.services import down, up
from meterpipe.spec.names import names_of

from tests.integration.harness import Source, assert_exact, balance_of, fleet_of, partitions_of, settle
from tests.integration.lake_helpers import count_of

AVRO = {"readings": {"formats": ["json", "envelope", "avro"]}}


@pytest.fixture(scope="session")
def registry_dir(tmp_path_factory):
    """The data directory of a real registry, up once for all tests of the session."""
    data = DataDir(tmp_path_factory.mktemp("registry")).create()
    up(data, tethered=True, only=["registry"])
    yield data
    down(data)


@pytest.fixture
def registry(registry_dir):
    """A running registry; a test may have stopped it."""
    found = up(registry_dir, tethered=True, only=["registry"]).registry
    return found.model_copy(update={"cache": None})


def with_registry(config, registry):
    return config.model_copy(update={"registry": registry})


def register(config, registry):
    topic = names_of(config.pipeline).readings
    return SchemaRegistry(registry).register(f"{topic}-value", reading_schema(FIELDS))


def publisher(config, form, schema=None):
    producer = new_producer(config.kafka, delivery_report_only_error=True)
    return Publisher(producer, names_of(config.pipeline).readings, partitions_of(config), form, schema=schema)


def test_json_avro_and_envelopes_mixed_on_a_topic_give_the_right_windows(pipeline, registry, tmp_path):
    config = with_registry(pipeline(AVRO, schema=False), registry)
    source = Source(config, meters=40, hours=2)
    number = register(config, registry)
    outs = [source.publisher, publisher(config, Format.AVRO, number), publisher(config, Format.ENVELOPE)]
    for i, piece in enumerate(source.pieces(0, source.count)):
        for at in range(0, len(piece), 500):
            out = outs[(at // 500 + i) % 3]
            out.send(piece.slice(at, 500))
            out.finish()
    source._sent = source.count
    source.send()
    with fleet_of(config, tmp_path) as fleet:
        fleet.start("aggregator")
        settle(fleet, config, "aggregator")
    assert_exact(config, source.expected())


def test_a_registry_that_goes_away_stops_nobody_who_knows_the_schema(pipeline, registry, registry_dir, tmp_path):
    config = with_registry(pipeline(AVRO, schema=False), registry.model_copy(update={"cache": tmp_path / "schemas"}))
    source = Source(config, meters=30, hours=2)
    source._publisher = publisher(config, Format.AVRO, register(config, registry))
    source.send(0.3)
    with fleet_of(config, tmp_path) as fleet:
        worker = fleet.start("aggregator")
        settle(fleet, config, "aggregator")
        down(registry_dir, ["registry"])
        source.send(0.6)
        settle(fleet, config, "aggregator")
        worker.kill()  # its successor knows the schema from the cache folder
        source.send()
        settle(fleet, config, "aggregator")
    assert_exact(config, source.expected())


def test_readings_of_a_schema_nobody_knows_wait_for_the_registry(pipeline, registry, registry_dir, tmp_path):
    config = with_registry(pipeline(AVRO, schema=False), registry)
    source = Source(config, meters=20, hours=1)
    source._publisher = publisher(config, Format.AVRO, register(config, registry))
    down(registry_dir, ["registry"])
    source.send()
    with fleet_of(config, tmp_path) as fleet:
        worker = fleet.start("aggregator")
        fleet.wait_until(lambda: worker.said("asking again"), "it asks")
        time.sleep(1)
        up(registry_dir, tethered=True, only=["registry"])
        settle(fleet, config, "aggregator")
    assert_exact(config, source.expected())


def test_a_registry_that_is_none_is_told_so(registry):
    with pytest.raises(RegistryError, match="schema registry"):
        SchemaRegistry(registry.model_copy(update={"url": "http://127.0.0.1:9"}), patience=0.1).schema(1)
    with pytest.raises(RegistryError, match="Confluent API"):
        SchemaRegistry(registry.model_copy(update={"url": registry.url + "/x"})).register("a", reading_schema(FIELDS))
    assert SchemaRegistry(registry).schema(123_456) is None


def test_generate_sends_avro_and_the_archiver_reads_it(pipeline, registry, tmp_path):
    config = with_registry(pipeline(AVRO, schema=False), registry)
    file = tmp_path / "config.json"
    file.write_text(config.model_dump_json(by_alias=True, exclude_none=True))
    words = ["generate", "--meters", "20", "--days", "0.05", "--format", "avro", "--json", "--config", str(file)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    sent = json.loads(done.output)["readings"]
    with fleet_of(config, tmp_path) as fleet:
        fleet.start("archiver")
        fleet.start("aggregator")
        settle(fleet, config, "aggregator")
        fleet.wait_until(lambda: count_of(config) >= sent, "the lake has all readings")
    balance = balance_of(config)
    assert (balance.raw, balance.dead_letters, count_of(config)) == (sent, 0, sent)
    plain = config.model_copy(update={"pipeline": pipeline(schema=False, topics=False).pipeline})
    file.write_text(plain.model_dump_json(by_alias=True, exclude_none=True))
    assert CliRunner().invoke(cli, words).exit_code != 0
