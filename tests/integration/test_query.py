"""`meterpipe query` against a real Kafka and a real lake."""

import json

from click.testing import CliRunner
from meterpipe.cli.main import cli

from tests.integration.harness import Source, fleet_of, settle


def rows_of(source):
    for batch in source.batches:
        columns = (batch.column(n).to_pylist() for n in ("meter", "ts", "value"))
        yield from zip(*columns, strict=True)


def test_a_condition_finds_the_same_readings_in_the_stream_and_in_the_lake(pipeline, tmp_path):
    config = pipeline({"lake": {"flush": {"seconds": 1}}}, schema=False)
    file = tmp_path / "config.json"
    file.write_text(config.model_dump_json(by_alias=True))
    source = Source(config, meters=5, hours=3)
    source.send()
    with fleet_of(config, tmp_path / "logs") as fleet:
        worker = fleet.start("archiver")
        settle(fleet, config, "archiver")
        assert fleet.discharge(worker) == 0

    def ask(*words):
        result = CliRunner().invoke(cli, ["query", *words, "--config", str(file)], catch_exceptions=False)
        return result.exit_code, result.output

    condition = "value > 0.3 AND meter = 'meter-000002'"
    hour = 1_704_067_200_000 + 3_600_000
    for where in ((), ("--lake",)):
        code, out = ask(condition, "--select", "ts, value * 2 AS twice", "--since", str(hour), "--json", *where)
        assert code == 0
        found = sorted((row["ts"], row["twice"]) for row in map(json.loads, out.splitlines()))
        wanted = [(ts, v * 2) for meter, ts, v in rows_of(source) if v > 0.3 and meter[-1] == "2" and ts >= hour]
        assert len(found) == len(wanted) > 0
        assert sorted(twice for _, twice in found) == sorted(twice for _, twice in wanted)
    code, out = ask("quality = 0", "--from", "beginning", "--exit", "-n", "3")
    assert code == 0
    assert out.splitlines()[0].split() == ["meter", "metric", "attribute", "ts", "value", "span", "quality", "revision"]
    assert len(out.splitlines()) == 4
    assert ask("valeu > 1", "--exit")[0] == 2
    assert "did you mean value?" in ask("valeu > 1", "--exit")[1]
    assert ask("value > 1", "--select", "sum(value)")[0] == 2
    assert ask("value > 1", "--lake", "--from", "end")[0] == 2
