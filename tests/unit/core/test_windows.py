"""Windows equal a plain record-at-a-time recomputation, however the same readings are cut, mixed or interrupted."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.aggregates import Aggregates
from meterpipe.core.balance import Balance
from meterpipe.core.changelog import CorruptChangelogError
from meterpipe.core.codecs import Decoder
from meterpipe.core.control import encode_control
from meterpipe.core.partition import Partition
from meterpipe.core.quality import RANKS
from meterpipe.core.readings import READING_SCHEMA
from meterpipe.core.windows import WindowPolicy
from meterpipe.datasets.json_rows import JsonRows
from meterpipe.spec.models import FieldNames

from tests.unit.core.test_codecs import batch_of

SIZES = (60, 120, 600)
GRACE = 120
FAR = np.full(100_000, 2**60)


def policy(drop=True, grace=GRACE, sizes=SIZES):
    return WindowPolicy(tuple(s * 1000 for s in sizes), grace * 1000, drop)


def recompute(readings, drop=True, grace=GRACE, sizes=SIZES):
    """The rules, one reading at a time. `readings`: (meter, ts in s, value, quality, revision) in log order."""
    watermark, in_time, late = -(10**18), [], 0
    for order, (meter, ts, value, quality, revision) in enumerate(readings):
        if (ts // sizes[0] + 1) * sizes[0] <= watermark:
            late += 1
        else:
            in_time.append((meter, ts, order, value, quality, revision))
        watermark = max(watermark, ts - grace)
    by_instant = defaultdict(list)
    for reading in in_time:
        by_instant[reading[:2] if drop else reading[:3]].append(reading)
    counted, duplicates, superseded = [], 0, 0
    for group in by_instant.values():
        winner = min(group, key=lambda r: (-r[5], RANKS[r[4]], r[2]))
        counted.append(winner)
        for loser in group:
            if loser is not winner:
                duplicates += loser[3] == winner[3]
                superseded += loser[3] != winner[3]
    windows = {}
    for size in sizes:
        groups = defaultdict(list)
        for meter, ts, _, value, *_ in sorted(counted, key=lambda r: (r[1], r[2])):
            groups[size, meter, ts // size * size].append(value)
        windows |= {key: (len(v), min(v), max(v), sum(v), v[0], v[-1]) for key, v in groups.items()}
    return windows, Balance(len(readings), len(counted), duplicates, superseded, late)


def messages_of(readings):
    rows = [(m, "E", "P", ts * 1000, v, 0, q, r) for m, ts, v, q, r in readings]
    return JsonRows(FieldNames().model_dump()).encode(batch_of(rows))[0]


def new_partition(**changes):
    return Partition(policy(**changes), Decoder(), 300_000)


def results_of(partition, closed, into):
    keys = list(partition.keys.ids)
    for size, rows in closed.results:
        columns = [getattr(rows, name).tolist() for name in Aggregates.__dataclass_fields__]
        for key, start, *rest in zip(*columns, strict=True):
            name = (size, keys[key][0], start // 1000)
            assert name not in into, f"window {name} came out twice"
            into[name] = tuple(rest)


END = encode_control((1000 + 10**6) * 1000)

meters = st.sampled_from(["a", "b", "ü.'\"🙂"])
values = st.integers(-4096, 4096).map(lambda n: n / 1024)
quality = st.sampled_from([0, 0, 16, 4])
streams = st.lists(st.tuples(meters, st.integers(0, 1200), values, quality, st.sampled_from([0, 0, 0, 1])), max_size=60)
instants = st.lists(st.tuples(meters, st.integers(0, 40).map(lambda n: n * 30), values, quality, st.integers(0, 1)))


@given(streams | instants, st.booleans(), st.data())
def test_windows_and_balance_equal_a_recomputation_however_the_readings_are_batched(readings, drop, data):
    expected, balance = recompute(readings, drop)
    partition, got, messages = new_partition(drop=drop), {}, messages_of(readings)
    at = 0
    while at < len(messages):
        step = data.draw(st.integers(1, len(messages) - at))
        partition.take(messages[at : at + step], FAR, at + step)
        at += step
        if data.draw(st.booleans()):
            results_of(partition, partition.close(), got)
    partition.take([END], FAR, at + 1)
    results_of(partition, partition.close(), got)
    assert got == expected
    assert partition.mark.balance == balance
    assert balance.missing == 0


@given(streams | instants, st.booleans(), st.data())
def test_a_crash_at_any_moment_changes_nothing(readings, drop, data):
    """What is written by a commit is all that a new process knows; it reads on at the mark."""
    expected, balance = recompute(readings, drop)
    messages = [*messages_of(readings), END]
    partition, got, log = new_partition(drop=drop), {}, {}
    while partition.next_offset < len(messages):
        uncommitted = dict(got)
        for _ in range(data.draw(st.integers(1, 3))):
            at = partition.next_offset
            step = data.draw(st.integers(1, 8))
            partition.take(messages[at : at + step], FAR, min(at + step, len(messages)))
        results_of(partition, partition.close(), uncommitted)
        if data.draw(st.sampled_from(["commit", "commit", "crash"])) == "commit":
            got = uncommitted
            records = partition.records(snapshot_due=data.draw(st.booleans()))
            log |= dict(records)
        if data.draw(st.sampled_from(["go on", "restart"])) == "restart" or got is not uncommitted:
            partition = new_partition(drop=drop)
            assert partition.restore(log.items()) == bool(log)
    assert got == expected
    assert partition.mark.balance == balance


@given(streams, st.randoms())
def test_any_order_within_grace_gives_the_same_windows(readings, random):
    unique = list({(m, ts): (m, ts, v, q, r) for m, ts, v, q, r in readings}.values())
    shuffled = random.sample(unique, len(unique))
    enough = 1300
    assert recompute(unique, grace=enough)[0] == run(unique, grace=enough)[0] == run(shuffled, grace=enough)[0]


def run(readings, **changes):
    partition, got = new_partition(**changes), {}
    partition.take(messages_of(readings), FAR, len(readings))
    partition.take([END], FAR, len(readings) + 1)
    results_of(partition, partition.close(), got)
    return got, partition


def test_a_window_closes_when_the_watermark_reaches_its_end_and_not_before():
    partition = new_partition()
    partition.take(messages_of([("a", 0, 1.0, 0, 0), ("a", 179, 1.0, 0, 0)]), FAR, 2)
    assert partition.close().results == []
    partition.take(messages_of([("a", 180, 1.0, 0, 0)]), FAR, 3)
    [(size, rows)] = partition.close().results
    assert (size, rows.start.tolist()) == (60, [0])


def test_a_late_reading_enters_no_window_and_is_given_back():
    partition = new_partition()
    taken = partition.take(messages_of([("a", 180, 1.0, 0, 0), ("b", 59, 7.0, 0, 0), ("a", 60, 2.0, 0, 0)]), FAR, 3)
    assert (taken.late.ts.tolist(), taken.late.message.tolist()) == ([59_000], [1])


def test_1970_is_a_normal_window_at_first_and_late_afterwards():
    got, partition = run([("a", 0, 1.0, 0, 0), ("a", 1_700_000_000, 1.0, 0, 0), ("a", 0, 1.0, 0, 0)])
    assert got[60, "a", 0][0] == 1
    assert partition.balance.late == 1


def test_a_reading_ahead_of_its_record_is_refused_and_does_not_move_the_watermark():
    now = 1_700_000_000
    times = np.full(3, now * 1000)
    partition = new_partition()
    ahead = [("a", now, 1.0, 0, 0), ("a", now + 7200, 1.0, 0, 0), ("a", now + 300, 1.0, 0, 0)]
    taken = partition.take(messages_of(ahead), times, 3)
    assert [(r.message, r.reason.value) for r in taken.rejects] == [(1, "too-far-ahead")]
    assert partition.windows.watermark == (now + 300 - GRACE) * 1000


def test_readings_are_compared_with_the_time_of_their_own_record():
    arrived = np.array([100_000, 900_000])
    taken = new_partition().take(messages_of([("a", 400, 1.0, 0, 0), ("a", 1200, 1.0, 0, 0)]), arrived, 2)
    assert taken.rejects == []


def test_keys_without_an_open_window_are_forgotten():
    partition = new_partition(sizes=(60,))
    partition.take(messages_of([("a", 0, 1.0, 0, 0), ("b", 1000, 2.0, 0, 0)]), FAR, 2)
    partition.close()
    partition.records(snapshot_due=True)
    assert [key[0] for key in partition.keys.ids] == ["b"]
    partition.take(messages_of([("c", 1001, 3.0, 0, 0)]), FAR, 3)
    partition.take([END], FAR, 4)
    got = {}
    results_of(partition, partition.close(), got)
    assert Counter(name for _, name, _ in got) == {"b": 1, "c": 1}


def test_a_changelog_that_lacks_a_piece_is_refused():
    partition = new_partition()
    partition.take(messages_of([("a", 0, 1.0, 0, 0)]), FAR, 1)
    partition.records(snapshot_due=False)
    partition.take(messages_of([("a", 1, 1.0, 0, 0)]), FAR, 2)
    deltas = partition.records(snapshot_due=False)
    with pytest.raises(CorruptChangelogError):
        new_partition().restore(deltas)


def test_large_states_go_through_the_changelog_in_pieces():
    n = 50_000
    readings = [(f"meter-{i:06d}", i % 60, i / 1024, 0, 0) for i in range(n)]
    partition = new_partition()
    partition.take(messages_of(readings), FAR, n)
    records = partition.records(snapshot_due=False)
    assert len(records) > 1
    assert max(len(value) for _, value in records) < 900_000
    restored = new_partition()
    assert restored.restore(records)
    assert restored.mark == partition.mark
    got, expected = {}, {}
    for p, into in ((partition, expected), (restored, got)):
        p.take([END], FAR, n + 1)
        results_of(p, p.close(), into)
    assert got == expected
    assert len(got) == 3 * n


def test_the_schema_of_readings_has_no_nulls():
    assert not any(field.nullable for field in READING_SCHEMA)
