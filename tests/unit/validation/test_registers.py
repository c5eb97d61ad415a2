import pytest

from tests.unit.validation.helpers import MINUTE, START, power, register, run, spec_of

SPEC = {"registers": [{"wrapsAt": 1000, "maxPerHour": 6000, "exchangeAfter": 3}]}


def series(*values, step=MINUTE):
    """Readings of one register, a minute apart."""
    return [register(i * step, float(value)) for i, value in enumerate(values)]


def judged(log, **changes):
    passed, refused, stage = run(spec_of(**(SPEC | changes)), log)
    counter = [(row.value, row.epoch) for row in passed if row.attribute == "SUMMATION"]
    flowed = [
        (row.value, (row.ts - START) // MINUTE, row.interval_s) for row in passed if row.attribute == "CONSUMPTION"
    ]
    return counter, flowed, [(row.value, row.rule) for row in refused], stage.tally


def test_a_register_becomes_consumption_at_the_instant_the_interval_begins():
    counter, flowed, refused, tally = judged(series(100, 101, 103))
    assert counter == [(100.0, 0), (101.0, 0), (103.0, 0)]
    assert flowed == [(1.0, 0, 60), (2.0, 1, 60)]
    assert (refused, tally.raw, tally.valid, tally.consumption) == ([], 3, 3, 2)


def test_a_register_that_wraps_goes_on():
    counter, flowed, refused, _ = judged(series(980, 999, 15))
    assert counter[-1] == (15.0, 0)
    assert flowed[-1] == (16.0, 1, 60)
    assert refused == []


def test_a_fall_from_the_middle_is_no_wrap():
    _, flowed, _, tally = judged(series(500, 501, 3))
    assert (len(flowed), tally.held) == (1, 1)


@pytest.mark.parametrize("glitch", [[0], [0, 0, 0, 0], [0, 5], [7, 3], [900]])
def test_a_glitch_is_refused_and_nothing_is_lost_or_counted_twice(glitch):
    counter, flowed, refused, tally = judged(series(100, 101, *glitch, 103))
    assert [value for value, _ in counter] == [100.0, 101.0, 103.0]
    assert sum(value for value, _, _ in flowed) == 3.0
    assert flowed[-1][1:] == (1, 60 * (len(glitch) + 1))
    assert refused == [(float(value), "register") for value in glitch]
    assert (tally.held, tally.missing) == (0, 0)


def test_a_new_meter_begins_a_new_epoch_with_its_first_reading():
    counter, flowed, refused, tally = judged(series(500, 501, 2, 3, 4, 6))
    assert counter == [(500.0, 0), (501.0, 0), (2.0, 1), (3.0, 1), (4.0, 1), (6.0, 1)]
    assert [value for value, _, _ in flowed] == [1.0, 1.0, 1.0, 2.0]
    assert (refused, tally.held) == ([], 0)


def test_a_new_meter_may_stand_higher():
    counter, _, refused, _ = judged(series(5, 6, 800, 801, 802))
    assert counter[-1] == (802.0, 1)
    assert refused == []


def test_a_counter_stuck_at_zero_is_no_new_meter():
    counter, _, refused, tally = judged(series(500, *[0] * 40))
    assert counter == [(500.0, 0)]
    assert (len(refused), tally.held) == (28, 12)


def test_the_bound_of_growth_counts_from_the_last_change():
    log = [register(0, 10.0), *[register(i * MINUTE, 11.0) for i in range(1, 6)], register(6 * MINUTE, 500.0)]
    counter, flowed, _, tally = judged(log)
    assert flowed[-1][0] == 489.0  # 5 minutes allow 500
    _, _, _, tally = judged([register(0, 10.0), register(5 * MINUTE, 11.0), register(6 * MINUTE, 500.0)])
    assert (tally.held, counter[-1]) == (1, (500.0, 0))


def test_readings_out_of_order_pass_and_make_no_consumption():
    counter, flowed, _, _ = judged([register(0, 1.0), register(2 * MINUTE, 3.0), register(MINUTE, 2.0)])
    assert counter == [(1.0, 0), (3.0, 0), (2.0, None)]
    assert [value for value, _, _ in flowed] == [2.0]


def test_a_register_of_another_metric_and_no_register_at_all_are_left_alone():
    water = {"registers": [{"metric": "WATER"}]}
    assert judged(series(5, 1), **water)[1:3] == ([], [])
    assert judged(series(5, 1), registers=[])[1:3] == ([], [])


def test_flags_of_a_reading_go_on_to_its_consumption():
    passed, _, _ = run(spec_of(**SPEC, missing={"interval": 60}), [register(0, 1.0), register(5 * MINUTE, 2.0)])
    assert [row.quality for row in passed if row.attribute == "CONSUMPTION"] == [128]


def test_consumption_stands_behind_the_reading_it_comes_of():
    log = [register(0, 1.0), power(0, 1.0), register(MINUTE, 2.0), power(MINUTE, 1.0)]
    passed, _, _ = run(spec_of(**SPEC), log)
    assert [row.attribute for row in passed] == [
        "SUMMATION", "ACTIVE_POWER", "SUMMATION", "CONSUMPTION", "ACTIVE_POWER"
    ]  # fmt: skip
