"""Each rule of the alarms, by example."""

from datetime import UTC, datetime

import pytest
from meterpipe.core.alarms.events import AlarmKind
from meterpipe.core.idle import idle_watermark
from meterpipe.datasets.alarms_oracle import Bound, Reading

from tests.unit.alarms.helpers import (
    FOREVER,
    HOUR,
    MINUTE,
    START,
    events_of,
    expected,
    over,
    partition_of,
    power,
    put,
    run,
    spec_of,
    take,
    told,
)

KEY = ("m", "ELECTRICITY", "ACTIVE_POWER")


def values(*numbers, **more):
    return [power(n * MINUTE, float(value), **more) for n, value in enumerate(numbers)]


def test_a_value_above_its_bound_raises_and_one_back_inside_clears():
    [raised, cleared] = run(spec_of(), values(4, 6, 7, 5, 6), over(5.0, offset=17))[:2]
    assert raised == ("raised", "OVER", *KEY, START + MINUTE, START + MINUTE, 6.0, 5.0, 17, 1)
    assert cleared == ("cleared", "OVER", *KEY, START + 3 * MINUTE, START + MINUTE, 5.0, 5.0, 17, 3)


def test_a_value_below_its_bound_raises_under():
    found = run(spec_of(), values(4, 2, 3.5, 3), {("m", "*", "*"): Bound(lower=3.0)})
    assert told(found) == [("UNDER", "raised", MINUTE), ("UNDER", "cleared", 2 * MINUTE)]


def test_within_the_hysteresis_an_alarm_stays_as_it_is():
    found = run(spec_of(), values(4.5, 6, 4.5, 6, 4.1, 4, 4.5), over(5.0, hysteresis=1.0))
    assert told(found) == [("OVER", "raised", MINUTE), ("OVER", "cleared", 5 * MINUTE)]


def test_a_value_must_stay_outside_for_the_duration_without_a_break():
    found = run(spec_of(), values(6, 6, 4, 6, 6, 6, 6), over(5.0, min_duration=180))
    assert told(found) == [("OVER", "raised", 6 * MINUTE)]


def test_the_duration_is_of_event_time_whatever_the_number_of_readings():
    found = run(spec_of(), [power(0, 6.0), power(HOUR, 6.0)], over(5.0, min_duration=3600))
    assert told(found) == [("OVER", "raised", HOUR)]


def test_readings_out_of_order_raise_and_clear_nothing():
    log = [power(2 * MINUTE, 6.0), power(MINUTE, 1.0), power(2 * MINUTE, 1.0), power(0, 9.0)]
    assert told(run(spec_of(), log, over(5.0))) == [("OVER", "raised", 2 * MINUTE)]


def test_a_threshold_that_is_gone_clears_with_the_next_reading():
    partition = partition_of(spec_of(), over(5.0, offset=1))
    assert told(take(partition, values(6))) == [("OVER", "raised", 0)]
    put(partition, {("*", "*", "*"): None})
    [cleared] = take(partition, [power(MINUTE, 9.0), power(2 * MINUTE, 9.0)])
    assert (cleared.state, cleared.value, cleared.limit, cleared.threshold) == ("cleared", 9.0, None, None)


def test_how_long_a_value_was_outside_counts_from_a_new_threshold_on():
    partition = partition_of(spec_of(), over(5.0, min_duration=120, offset=1))
    assert take(partition, values(6, 6)) == []
    put(partition, over(4.0, min_duration=120, offset=2))
    [raised] = take(partition, [power(n * MINUTE, 6.0) for n in range(2, 6)])
    assert (raised.at, raised.limit, raised.threshold) == (START + 4 * MINUTE, 4.0, 2)


def test_an_open_alarm_is_judged_anew_by_a_changed_threshold():
    partition = partition_of(spec_of(), over(5.0, offset=1))
    take(partition, values(6))
    put(partition, over(5.5, offset=2))
    assert take(partition, [power(MINUTE, 6.0)]) == []
    put(partition, over(7.0, offset=3))
    assert told(take(partition, [power(2 * MINUTE, 6.0)])) == [("OVER", "cleared", 2 * MINUTE)]


def test_equal_values_that_are_not_zero_are_a_flat_line():
    spec = spec_of(flatline={"enabled": True, "readings": 3})
    assert told(run(spec, values(0, 0, 0, 0, 2, 2, 2, 2, 3, 3))) == [
        ("FLATLINE", "raised", 6 * MINUTE),
        ("FLATLINE", "cleared", 8 * MINUTE),
    ]


def test_a_value_far_above_the_three_before_it_is_a_spike():
    spec = spec_of(spike={"enabled": True, "factor": 3, "floor": 2})
    assert told(run(spec, values(0.1, 0.1, 9, 0.1, 0.1, 0.1, 1.9, 0.2, 30, 90))) == [
        ("SPIKE", "raised", 8 * MINUTE),
        ("SPIKE", "cleared", 9 * MINUTE),
    ]


def test_what_flows_back_is_a_negative_value_or_a_register_that_falls():
    spec = spec_of(reverseFlow={"enabled": True, "attributes": ["ACTIVE_POWER"], "registers": ["SUMMATION"]})
    assert told(run(spec, values(1, -1, -2, 0))) == [
        ("REVERSE_FLOW", "raised", MINUTE),
        ("REVERSE_FLOW", "cleared", 3 * MINUTE),
    ]
    assert told(run(spec, values(5, 6, 4, 4, attribute="SUMMATION"))) == [
        ("REVERSE_FLOW", "raised", 2 * MINUTE),
        ("REVERSE_FLOW", "cleared", 3 * MINUTE),
    ]
    assert run(spec, values(5, -6, 4, attribute="REACTIVE_POWER")) == []


def test_a_rule_watches_only_the_metrics_and_attributes_it_names():
    spec = spec_of(thresholds={"metrics": ["WATER"]}, flatline={"enabled": True, "readings": 2, "attributes": ["X"]})
    log = values(6, 6, metric="GAS") + values(6, 6, metric="WATER") + values(6, 6, metric="GAS", attribute="X")
    assert {(e.kind, e.metric, e.attribute) for e in run(spec, log, over(5.0))} == {
        ("OVER", "WATER", "ACTIVE_POWER"),
        ("FLATLINE", "GAS", "X"),
    }


def test_what_a_rule_left_open_is_cleared_when_it_is_switched_off():
    before = partition_of(spec_of(flatline={"enabled": True, "readings": 2}))
    assert told(take(before, values(6, 6))) == [("FLATLINE", "raised", MINUTE)]
    after = partition_of(spec_of())
    assert after.restore(before.records(True))
    assert told(take(after, [power(2 * MINUTE, 6.0), power(3 * MINUTE, 6.0)])) == [("FLATLINE", "cleared", 2 * MINUTE)]


def water(at, value):
    ts = int(at.replace(tzinfo=UTC).timestamp() * 1000)
    return Reading("w", "WATER", "FLOW", ts, value)


def night(day, value, hours=range(6)):
    return [water(datetime(2024, 1, day, hour, 30), value) for hour in hours]


LEAK = {"nightLeak": {"enabled": True, "minReadings": 3}}


def days(events):
    return [(event.state, datetime.fromtimestamp(event.at / 1000, UTC).strftime("%d %H:%M")) for event in events]


def test_a_night_without_a_pause_is_a_leak_and_two_with_one_clear_it():
    nights = [night(1, 1.0), night(2, 0.5), night(3, 0.0), night(4, 1.0), night(5, 0.0), night(6, 0.0), night(7, 1.0)]
    log = [reading for some in nights for reading in some]
    assert days(run(spec_of(**LEAK), log)) == [("raised", "01 06:00"), ("cleared", "06 06:00")]


def test_one_pause_in_the_night_is_enough_and_days_do_not_matter():
    log = [*night(1, 1.0), water(datetime(2024, 1, 1, 12), 0.0), *night(2, 1.0), *night(3, 1.0)]
    log[2] = log[2]._replace(value=0.0)
    assert days(run(spec_of(**LEAK), log)) == [("raised", "02 06:00")]


def test_a_night_with_few_readings_is_as_if_it_had_not_been():
    log = [*night(1, 1.0, range(2)), *night(2, 1.0), *night(3, 0.0), *night(4, 1.0, range(2)), *night(5, 0.0)]
    log.append(water(datetime(2024, 1, 5, 6), 1.0))
    assert days(run(spec_of(**LEAK), log)) == [("raised", "02 06:00"), ("cleared", "05 06:00")]


def test_a_night_is_over_when_event_time_has_passed_it_even_if_the_channel_says_nothing():
    partition = partition_of(spec_of(**LEAK), grace_s=600)
    take(partition, night(1, 1.0))
    six = START + 6 * HOUR
    assert take(partition, [power(6 * HOUR, 0.0)]) == []
    assert days(take(partition, [six + 10 * MINUTE])) == [("raised", "01 06:00")]


@pytest.mark.parametrize(("month", "day", "begins", "hours"), [(3, 31, 23, 5), (10, 27, 22, 7), (7, 1, 22, 6)])
def test_nights_are_local_and_as_long_as_clocks_make_them(month, day, begins, hours):
    """Readings of 0 just outside of the night do not count, one within does. `begins`: UTC, the day before."""
    spec = spec_of(nightLeak={"enabled": True, "minReadings": 1, "timezone": "Europe/Paris"})
    midnight = int(datetime(2024, month, day, tzinfo=UTC).timestamp() * 1000) - (24 - begins) * HOUR
    end = midnight + hours * HOUR
    inside = [Reading("w", "WATER", "FLOW", ts, 1.0) for ts in range(midnight, end, HOUR)]
    around = [Reading("w", "WATER", "FLOW", midnight - 1, 0.0), *inside, Reading("w", "WATER", "FLOW", end, 0.0)]
    assert [(e.state, e.at) for e in run(spec, around)] == [("raised", end)]
    last = inside[-1]._replace(ts=end - 1, value=0.0)
    assert run(spec, [*around[:-1], last, around[-1]]) == []


SILENT = {"silence": {"enabled": True, "intervals": 2, "interval": 60}}


def test_a_channel_is_silent_when_the_event_time_of_its_partition_has_passed_the_deadline():
    log = [power(0, 1.0), power(4 * MINUTE, 1.0, meter="n"), power(5 * MINUTE, 1.0)]
    found = run(spec_of(**SILENT), log, grace_s=60)
    assert [(e.meter, e.state, e.at - START, e.value) for e in found] == [
        ("m", "raised", 2 * MINUTE, None),
        ("m", "cleared", 5 * MINUTE, 1.0),
    ]
    assert run(spec_of(**SILENT), log, grace_s=180) == []


def test_the_interval_may_be_that_of_the_newest_reading_and_instants_are_not_watched():
    spec = spec_of(silence={"enabled": True, "intervals": 2})
    log = [power(0, 1.0, interval_s=900), power(0, 1.0, meter="instant"), START + HOUR]
    assert [(e.meter, e.at - START) for e in run(spec, log)] == [("m", 30 * MINUTE)]


def test_a_late_reading_clears_a_silence():
    log = [power(0, 1.0), power(9 * MINUTE, 1.0, meter="n"), power(MINUTE, 1.0)]
    found = run(spec_of(**SILENT), log)
    assert told(found) == [
        ("SILENCE", "raised", 2 * MINUTE),
        ("SILENCE", "cleared", MINUTE),
        ("SILENCE", "raised", 3 * MINUTE),
    ]
    assert found == expected(spec_of(**SILENT), log)


def test_while_a_whole_partition_is_idle_the_clock_goes_on_and_channels_fall_silent():
    """The clock is a number here: 10 s after the readings' time, and going."""
    partition, clock = partition_of(spec_of(**SILENT), grace_s=30), START + 10_000
    take(partition, [power(0, 1.0)])
    quiet_since, watermark, raised = clock, partition.stage.watermark, []
    while not raised:
        clock += 5000
        assert clock < START + HOUR
        wanted = idle_watermark(watermark, clock - quiet_since, clock, 30_000)
        raised = events_of(partition, partition.stage.advance(wanted))
    assert told(raised) == [("SILENCE", "raised", 2 * MINUTE)]
    assert START + 2 * MINUTE + 30_000 <= clock < START + 2 * MINUTE + 50_000
    assert events_of(partition, partition.stage.advance(partition.stage.watermark + HOUR)) == []
    restored = partition_of(spec_of(**SILENT), grace_s=30)
    assert restored.restore(partition.records(True))
    assert restored.stage.watermark == partition.stage.watermark
    assert told(take(restored, [power(90 * MINUTE, 1.0)])) == [("SILENCE", "cleared", 90 * MINUTE)]


def test_events_name_the_records_they_go_by():
    partition = partition_of(spec_of(), over(5.0, offset=17))
    row = b'{"gateway":"m","metricType":"E","metricAttribute":"P","timestamp":1,"value":6}'
    taken = partition.take([b"{", row], FOREVER, 2)
    [alarm] = partition.events(taken.changes, 3, lambda index: 100 + index)
    assert (taken.readings, taken.skipped) == (1, 1)
    assert (alarm.kind, alarm.at, alarm.raised_at) == (AlarmKind.OVER, "1970-01-01T00:00:00.001Z", alarm.at)
    assert (alarm.threshold.partition, alarm.threshold.offset) == (3, 17)
    assert (alarm.reading.partition, alarm.reading.offset) == (3, 101)
