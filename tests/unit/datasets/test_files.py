import msgspec
import numpy as np
import pyarrow as pa
import pytest
from meterpipe.datasets.files import write_file
from meterpipe.datasets.generator import GeneratorSpec, generate
from meterpipe.datasets.profiles import Profile

TABLES = {profile: np.full((3, 3, 96), 0.1) for profile in Profile}
SPEC = GeneratorSpec(meters=3, days=0.01)


def test_ndjson_holds_a_reading_a_line(tmp_path):
    path = tmp_path / "out.ndjson"
    assert write_file(generate(SPEC, TABLES), path) == 42
    lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    assert len(lines) == 42
    assert lines[0]["gateway"] == "meter-000000"


def test_an_arrow_file_holds_all_columns(tmp_path):
    path = tmp_path / "out.arrow"
    write_file(generate(SPEC, TABLES), path)
    assert pa.ipc.open_file(str(path)).read_all().equals(pa.Table.from_batches(list(generate(SPEC, TABLES))))


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ending must be \.ndjson or \.arrow"):
        write_file(generate(SPEC, TABLES), tmp_path / "out.csv")


def test_a_run_that_fails_leaves_no_file_behind(tmp_path):
    def broken():
        yield next(generate(SPEC, TABLES))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_file(broken(), tmp_path / "out.ndjson")
    assert list(tmp_path.iterdir()) == []
