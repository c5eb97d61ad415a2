"""The rules in columns equal the rules told a reading at a time, however the log is cut and whoever is killed."""

from hypothesis import given, settings
from hypothesis import strategies as st
from meterpipe.core.alarms.state import next_offset
from meterpipe.datasets.alarms_oracle import Bound, Reading

from tests.unit.alarms.helpers import HOUR, MINUTE, START, by_alarm, expected, partition_of, run, spec_of, take

EVERYTHING = {
    "flatline": {"enabled": True, "readings": 3},
    "spike": {"enabled": True, "factor": 3, "floor": 2},
    "reverseFlow": {"enabled": True, "attributes": ["ACTIVE_POWER"], "registers": ["SUMMATION"]},
    "nightLeak": {"enabled": True, "timezone": "Europe/Paris", "minReadings": 2, "limit": 0.5},
    "silence": {"enabled": True, "intervals": 2},
}
meters = st.sampled_from("ab")
channels = st.sampled_from([("ELECTRICITY", "ACTIVE_POWER"), ("ELECTRICITY", "SUMMATION"), ("WATER", "FLOW")])
values = st.one_of(st.sampled_from([0.0, 1.0, 1.0, 5.0, 6.0, 7.0]), st.integers(-2, 60).map(float))
readings = st.builds(
    lambda meter, channel, ts, value, interval: Reading(meter, *channel, START + ts, value, interval),
    meters,
    channels,
    st.one_of(st.integers(0, 40).map(lambda n: n * MINUTE), st.integers(0, 120).map(lambda n: n * HOUR)),
    values,
    st.sampled_from([0, 60, 3600]),
)
items = st.one_of(readings, readings, readings, readings, st.integers(0, 130).map(lambda n: START + n * HOUR))
bounds = st.builds(
    lambda low, high, slack, hold, offset: Bound(low, high, slack, hold, offset),
    st.none() | st.integers(-1, 3).map(float),
    st.integers(4, 20).map(float),
    st.sampled_from([0.0, 1.0, 3.0]),
    st.sampled_from([0.0, 60.0, 600.0, 7200.0]),
    st.integers(0, 99),
)
patterns = st.tuples(st.sampled_from(["a", "*"]), st.sampled_from(["WATER", "*"]), st.sampled_from(["SUMMATION", "*"]))
tables = st.dictionaries(patterns, bounds, max_size=4)
rules = st.sets(st.sampled_from(sorted(EVERYTHING))).map(lambda names: {name: EVERYTHING[name] for name in names})
graces = st.sampled_from([0, 120, 7200])


@settings(max_examples=500, deadline=None)
@given(st.lists(items, max_size=70), st.lists(st.integers(0, 70), max_size=5), tables, rules, graces)
def test_random_logs_raise_and_clear_what_the_oracle_says(log, cuts, table, switched_on, grace):
    spec = spec_of(**switched_on)
    found = run(spec, log, table, [min(cut, len(log)) for cut in cuts], grace)
    assert by_alarm(found) == by_alarm(expected(spec, log, table, grace))


steps = st.tuples(st.sampled_from([1, 1, 1, 2, 9]), st.sampled_from([0.0, 1.0, 1.0, 1.0, 5.0, 5.0, 7.0, -2.0, 60.0]))
walks = st.lists(st.tuples(meters, channels, steps), max_size=90)


def walked(walk):
    """Readings that go on from one another, each channel at its pace: runs of all kinds come about."""
    now, log = {}, []
    for meter, channel, (step, value) in walk:
        now[meter, channel] = ts = now.get((meter, channel), START) + step * 20 * MINUTE
        log.append(Reading(meter, *channel, ts, value, 1200))
    return log


@settings(max_examples=400, deadline=None)
@given(walks, st.lists(st.integers(0, 90), max_size=6), tables, graces)
def test_readings_in_order_raise_and_clear_what_the_oracle_says(walk, cuts, table, grace):
    spec, log = spec_of(**EVERYTHING), walked(walk)
    found = run(spec, log, table, [min(cut, len(log)) for cut in cuts], grace)
    assert by_alarm(found) == by_alarm(expected(spec, log, table, grace))


@settings(max_examples=300, deadline=None)
@given(walks, st.lists(st.tuples(st.integers(1, 20), st.booleans(), st.booleans()), max_size=8), tables)
def test_a_partition_restored_from_its_changelog_goes_on_as_if_nothing_had_happened(walk, commits, table):
    """Of each commit: readings, whether a snapshot is due, whether the process is killed after it."""
    spec, log, records, at = spec_of(**EVERYTHING), walked(walk), {}, 0
    partition, found = partition_of(spec, table, 600), []
    for size, snapshot, crash in [*commits, (len(log), False, True)]:
        found += take(partition, log[at : at + size])
        at += len(log[at : at + size])
        records |= dict(partition.records(snapshot))
        if crash:
            restored = partition_of(spec, table, 600)
            assert restored.restore(records.items())
            assert restored.mark == partition.mark
            assert next_offset(records.items()) == at
            partition = restored
    assert by_alarm(found) == by_alarm(expected(spec, log, table, 600))
