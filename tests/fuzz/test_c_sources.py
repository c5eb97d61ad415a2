"""The C sources keep to their buffers, whatever they are given."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.harness import EXAMPLES

CORE = Path(__file__).resolve().parents[2] / "workers/meterpipe/core"
FLAGS = ["-std=c11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover", "-shared", "-fPIC"]

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc and its sanitizers")


def run_sanitized(folder, examples, change=lambda text: text):
    """Compile the sources, `change`d, with sanitizers; give them damaged input in a process of their own."""
    for name in ("json_scan", "weave"):
        source = folder / f"{name}.c"
        source.write_text(change((CORE / source.name).read_text()))
        subprocess.run(["gcc", *FLAGS, "-o", folder / f"lib{name}.so", source], check=True)
    found = subprocess.run(["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
    if not Path(found.stdout.strip()).is_absolute():
        pytest.skip("this gcc comes without its sanitizers")
    environment = os.environ | {"LD_PRELOAD": found.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, Path(__file__).with_name("sanitized.py"), folder, str(examples)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


def test_damaged_readings_make_no_step_outside(tmp_path):
    done = run_sanitized(tmp_path, 40 * EXAMPLES)
    assert done.stdout == "no error\n", done.stderr[-4000:]


@pytest.mark.parametrize(
    ("right", "wrong"), [("out + at, p", "out + at + 1, p"), ("c->at < c->end && *c->at != '\"'", "*c->at != '\"'")]
)
def test_a_step_outside_would_be_seen(tmp_path, right, wrong):
    done = run_sanitized(tmp_path, 500, lambda text: text.replace(right, wrong))
    assert "buffer-overflow" in done.stderr
