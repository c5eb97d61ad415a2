import json
import os

from meterpipe.local import process
from meterpipe.local.paths import DataDir
from meterpipe.local.process import Running


def test_a_pid_that_now_belongs_to_another_process_is_not_ours(tmp_path):
    data = DataDir(tmp_path).create()
    process.note(data, "mine", os.getpid())
    found = process.find(data, "mine")
    assert found is not None
    assert found.alive()
    data.pid("mine").write_text(json.dumps({"pid": found.pid, "started": found.started - 1}))
    assert process.find(data, "mine") is None
    assert not data.pid("mine").exists()


def test_a_pid_file_cut_off_by_a_crash_is_no_process(tmp_path):
    data = DataDir(tmp_path).create()
    data.pid("mine").write_text('{"pid": 1')
    assert process.find(data, "mine") is None


def test_a_process_that_is_gone_needs_no_stopping():
    assert Running(2**22 + 1, 0).stop(patience=0)
