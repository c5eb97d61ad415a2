import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.murmur2 import partition_of
from meterpipe.core.quality import Quality
from meterpipe.datasets.oracle import Balance, Control, Rules, differences, expect, log_of

from tests.unit.datasets.slow_oracle import Row, expect_slowly

KEY = ("m", "ELECTRICITY", "ACTIVE_POWER")
RULES = Rules(windows=(60, 600), grace=30)


def log(rows: list[Row]) -> pa.Table:
    columns = {
        "meter": pa.array([r.key[0] for r in rows], pa.string()),
        "metric": pa.array([r.key[1] for r in rows], pa.string()),
        "attribute": pa.array([r.key[2] for r in rows], pa.string()),
        "ts": pa.array([r.ts for r in rows], pa.int64()),
        "value": pa.array([r.value for r in rows], pa.float64()),
        "quality": pa.array([r.quality for r in rows], pa.uint8()),
        "revision": pa.array([r.revision for r in rows], pa.uint16()),
        "partition": pa.array([r.partition for r in rows], pa.int32()),
        "order": pa.array([r.order for r in rows], pa.int64()),
    }
    if rows and rows[0].appended is not None:
        columns["appended"] = pa.array([r.appended for r in rows], pa.int64())
    return pa.table(columns)


def readings(*at: tuple[int, float]) -> list[Row]:
    return [Row(0, order, KEY, seconds * 1000, value) for order, (seconds, value) in enumerate(at)]


def windows(table: pa.Table) -> dict[tuple, tuple]:
    names = ("count", "min", "max", "sum", "first", "last")
    return {
        ((r["meter"], r["metric"], r["attribute"]), r["window_start"]): tuple(r[n] for n in names)
        for r in table.to_pylist()
    }


def test_a_window_holds_count_min_max_sum_first_and_last_in_order_of_time():
    found = expect(log(readings((30, 5.0), (0, 2.0), (59, 3.0))), RULES)
    assert windows(found.windows[60]) == {(KEY, 0): (3, 2.0, 5.0, 10.0, 2.0, 3.0)}


def test_a_reading_is_late_when_its_smallest_window_ended_at_the_watermark_before_it():
    found = expect(log(readings((90, 1.0), (59, 2.0), (30, 3.0))), RULES)
    assert found.late.tolist() == [1, 2]
    found = expect(log(readings((89, 1.0), (59, 2.0))), RULES)
    assert found.late.tolist() == []


def test_a_reading_does_not_make_itself_late():
    assert expect(log(readings((10_000, 1.0))), RULES).balance.late == 0


def test_partitions_have_clocks_of_their_own():
    rows = [Row(0, 0, KEY, 900_000, 1.0), Row(1, 1, ("n", "E", "P"), 0, 1.0)]
    assert expect(log(rows), RULES).balance.late == 0


def test_the_higher_revision_then_the_better_quality_then_the_first_wins():
    rows = [
        Row(0, 0, KEY, 0, 1.0, quality=Quality.ESTIMATED, revision=1),
        Row(0, 1, KEY, 0, 2.0, quality=0, revision=1),
        Row(0, 2, KEY, 0, 3.0, quality=0, revision=0),
        Row(0, 3, KEY, 0, 4.0, quality=Quality.DAYLIGHT_SAVING, revision=1),
        Row(0, 4, KEY, 0, 2.0, quality=0, revision=0),
    ]
    found = expect(log(rows), RULES)
    assert windows(found.windows[60]) == {(KEY, 0): (1, 2.0, 2.0, 2.0, 2.0, 2.0)}
    assert found.balance == Balance(5, 1, duplicates=1, superseded=3, late=0, dead_letters=0)


def test_counted_duplicates_all_count():
    found = expect(log(readings((0, 1.0), (0, 1.0))), Rules(windows=(60,), drop_duplicates=False))
    assert found.windows[60].column("count").to_pylist() == [2]


def test_a_reading_too_far_ahead_is_dead_and_does_not_move_time():
    rows = [
        Row(0, 0, KEY, 7_200_000, 1.0, appended=0),
        Row(0, 1, KEY, 0, 2.0, appended=0),
        Row(0, 2, KEY, 300_000, 3.0, appended=0),
    ]
    found = expect(log(rows), RULES)
    assert (found.dead.tolist(), found.balance.late) == ([0], 0)


def test_a_control_record_makes_what_follows_late():
    found = expect(log(readings((0, 1.0), (1, 1.0))), RULES, [Control(0, 0, 90_000)])
    assert found.late.tolist() == [1]


def test_an_empty_log_has_no_windows():
    found = expect(log([]), RULES)
    assert found.balance == Balance(0, 0, 0, 0, 0, 0)
    assert [len(t) for t in found.windows.values()] == [0, 0]


ROWS = st.builds(
    Row,
    partition=st.integers(0, 1),
    order=st.just(0),
    key=st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["E", "W"]), st.just("P")),
    ts=st.integers(-200_000, 900_000) | st.sampled_from([0, 60_000, 120_000]),
    value=st.integers(-50, 50).map(float),
    quality=st.sampled_from([0, 1, 4, 8, 16]),
    revision=st.integers(0, 2),
    appended=st.integers(0, 900_000),
)
CONTROLS = st.lists(st.builds(Control, st.integers(0, 2), st.integers(-1, 40), st.integers(0, 900_000)), max_size=3)


@given(st.lists(ROWS, max_size=40), CONTROLS, st.booleans(), st.booleans(), st.integers(0, 400), st.randoms())
def test_the_fast_oracle_is_the_slow_one(rows, controls, drop, judge_ahead, grace, random):
    # one meter is in one partition
    rows = [
        Row(int(r.key[0] == "a"), n, r.key, r.ts, r.value, r.quality, r.revision, r.appended if judge_ahead else None)
        for n, r in enumerate(rows)
    ]
    rules = Rules((60, 120, 600), grace, drop)
    slow_windows, slow_balance = expect_slowly(rows, rules, controls)
    shuffled = list(rows)
    random.shuffle(shuffled)
    found = expect(log(shuffled), rules, controls)
    assert found.balance == slow_balance
    assert {size: windows(table) for size, table in found.windows.items()} == slow_windows
    balance = found.balance
    assert balance.raw == (
        balance.windows + balance.duplicates + balance.superseded + balance.late + balance.dead_letters
    )


EXPECTED = expect(log(readings((0, 1.0), (60, 0.1), (61, 0.2))), RULES).windows[60]


def changed(**columns: list) -> pa.Table:
    table = EXPECTED
    for name, values in columns.items():
        place = table.schema.names.index(name)
        table = table.set_column(place, name, pa.array(values, table.schema.field(name).type))
    return table


def test_equal_tables_in_any_order_do_not_differ():
    assert differences(EXPECTED, EXPECTED.take(pa.array([1, 0]))) == []


@pytest.mark.parametrize(
    ("actual", "line"),
    [
        (EXPECTED.slice(0, 1), "missing: m/ELECTRICITY/ACTIVE_POWER at 60000"),
        (pa.concat_tables([EXPECTED, EXPECTED.slice(0, 1)]), "more than once: m/ELECTRICITY/ACTIVE_POWER at 0"),
        (changed(window_start=[0, 120_000]), "not expected: m/ELECTRICITY/ACTIVE_POWER at 120000"),
        (changed(count=[1, 3]), "count: m/ELECTRICITY/ACTIVE_POWER at 60000: expected 2, found 3"),
        (changed(last=[1.5, 0.2]), "last: m/ELECTRICITY/ACTIVE_POWER at 0: expected 1.0, found 1.5"),
        (changed(min=[float("nan"), 0.1]), "min: m/ELECTRICITY/ACTIVE_POWER at 0: expected 1.0, found nan"),
        (changed(sum=[1.0, 0.31]), "sum: m/ELECTRICITY/ACTIVE_POWER at 60000"),
    ],
)
def test_each_kind_of_difference_names_its_window(actual, line):
    assert any(found.startswith(line) for found in differences(EXPECTED, actual))


def test_a_sum_may_differ_by_rounding_only_unless_it_must_be_exact():
    rounded = changed(sum=[1.0, float(np.nextafter(EXPECTED.column("sum")[1].as_py(), 1))])
    assert differences(EXPECTED, rounded) == []
    assert differences(EXPECTED, rounded, exact_sums=True) != []


def test_no_result_at_all_is_a_difference():
    assert len(differences(EXPECTED, EXPECTED.slice(0, 0))) == 2


def test_the_log_of_a_replay_puts_each_meter_where_java_would():
    columns = {
        "meter": ["x", "y", "x"], "metric": ["E"] * 3, "attribute": ["P"] * 3, "ts": [1, 2, 3], "value": [1.0] * 3,
        "interval_s": [0] * 3, "quality": [0] * 3, "revision": [0] * 3,
    }  # fmt: skip
    found = log_of([pa.record_batch(columns)], 7)
    assert found.column("partition").to_pylist() == [partition_of(m.encode(), 7) for m in ("x", "y", "x")]
    assert found.column("order").to_pylist() == [0, 1, 2]
