import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from meterpipe.core.codecs import Decoder
from meterpipe.core.validation.state import ValidationPartition, next_offset

from tests.unit.validation.helpers import expected, message, outcome, register, spec_of
from tests.unit.validation.test_against_oracle import SPEC, by_channel, readings

commits_ = st.tuples(st.integers(1, 10), st.booleans(), st.booleans())
"""Readings, whether a snapshot is due, whether the process is killed."""


def partition_of(spec):
    return ValidationPartition(spec, Decoder(), 2**40, topic_id="t")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(readings, max_size=60), st.lists(st.tuples(st.integers(1, 10), st.booleans(), st.booleans()), max_size=8)
)
def test_a_partition_restored_from_its_changelog_goes_on_as_if_nothing_had_happened(log, commits):
    spec, records, at = spec_of(**SPEC), {}, 0
    partition, passed, refused = partition_of(spec), [], []
    for size, snapshot, crash in [*commits, (len(log), False, True)]:
        batch = log[at : at + size]
        at += len(batch)
        appended = np.array([reading.appended for reading in batch], np.int64)
        judged = partition.take([message(r) for r in batch], appended, at)
        some, others = outcome(partition.stage, judged)
        passed += some
        refused += others
        records |= dict(partition.records(snapshot))
        if crash:
            restored = partition_of(spec)
            assert restored.restore(records.items())
            assert (restored.next_offset, restored.tally) == (at, partition.tally)
            assert next_offset(records.items()) == at
            assert list(restored.stage.judge.keys.ids) == list(partition.stage.judge.keys.ids)
            partition = restored
    wanted, unwanted, oracle = expected(spec, log)
    assert by_channel(passed) == by_channel(wanted)
    assert sorted(refused) == sorted(unwanted)
    assert partition.tally.missing == 0
    assert partition.tally.held == oracle.waiting


def test_a_partition_without_state_starts_afresh():
    assert partition_of(spec_of()).restore([]) is False


def test_deltas_hold_what_changed_only():
    partition = partition_of(spec_of())
    log = [message(register(0, 1.0, meter=f"m{i}")) for i in range(1000)]
    partition.take(log, np.full(len(log), 2**62), 1000)
    [(name, whole), *_] = partition.records(False)
    assert name == "snap/0"
    partition.take([message(register(60_000, 2.0, meter="m7"))], np.full(1, 2**62), 1001)
    [(name, delta)] = partition.records(False)
    assert name == "delta/0"
    assert len(delta) < len(whole) / 50
