"""The validation in columns equals the rules told a reading at a time, however the log is cut."""

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.validation.helpers import MINUTE, START, Reading, expected, run, spec_of

SPEC = {
    "remember": 600,
    "plausibility": {
        "limits": [{"attribute": "ACTIVE_POWER", "max": 50}, {"attribute": "E", "max": 40, "per": "hour"}]
    },
    "intervalSize": {"seconds": [0, 60]},
    "spike": {"factor": 3, "floor": 2},
    "flatline": {"readings": 3},
    "missing": {"interval": 60},
    "registers": [{"wrapsAt": 100, "maxPerHour": 600, "exchangeAfter": 3}],
}
meters = st.sampled_from("ab")
attributes = st.sampled_from(["ACTIVE_POWER", "SUMMATION", "SUMMATION", "E", "REACTIVE_POWER"])
readings = st.builds(
    Reading,
    meter=meters,
    metric=st.just("ELECTRICITY"),
    attribute=attributes,
    ts=st.integers(0, 30).map(lambda minute: START + minute * MINUTE),
    value=st.one_of(st.integers(-2, 100).map(float), st.sampled_from([0.0, 5.0, 5.0, 6.0, 92.0, 99.5])),
    interval_s=st.sampled_from([0, 60, 900]),
    quality=st.sampled_from([0, 0, 4, 16]),
    revision=st.sampled_from([0, 0, 0, 1]),
    appended=st.just(START + 20 * MINUTE),
)
actions = st.fixed_dictionaries(
    {
        "negative": st.sampled_from(["off", "flag", "quarantine"]).map(lambda a: {"action": a}),
        "clockSkew": st.sampled_from(["off", "flag", "quarantine"]).map(lambda a: {"action": a, "seconds": 120}),
        "duplicate": st.sampled_from(["off", "quarantine"]).map(lambda a: {"action": a}),
        "conflict": st.sampled_from(["off", "quarantine"]).map(lambda a: {"action": a}),
        "remember": st.sampled_from([0, 300, 86_400]),
    }
)


def by_channel(rows):
    found = defaultdict(list)
    for row in rows:
        found[row[:3]].append(row)
    return dict(found)


@settings(max_examples=400, deadline=None)
@given(st.lists(readings, max_size=80), st.lists(st.integers(0, 80), max_size=4), actions)
def test_random_logs_come_out_as_the_oracle_says(log, cuts, changes):
    check(spec_of(**(SPEC | changes)), log, [min(cut, len(log)) for cut in cuts])


steps = st.tuples(st.integers(1, 3), st.sampled_from([0.0, 0.0, 1.0, 2.0, 5.0, 9.0, -90.0, 40.0, -3.0]), meters)


@settings(max_examples=600, deadline=None)
@given(st.lists(steps, max_size=80), st.lists(st.integers(0, 80), max_size=4), st.integers(2, 4))
def test_registers_that_wrap_glitch_and_are_exchanged_come_out_as_the_oracle_says(walk, cuts, exchange_after):
    clock, level, log = 0, {"a": 50.0, "b": 95.0}, []
    for minutes, change, meter in walk:
        clock += minutes
        if change < -5 or change > 20:  # a glitch: the level stays
            value = max(0.0, level[meter] + change)
        else:
            level[meter] = (level[meter] + change) % 100 if change >= 0 else 0.0
            value = level[meter]
        log.append(Reading(meter, "ELECTRICITY", "SUMMATION", START + clock * MINUTE, value))
    spec = SPEC | {"registers": [{"wrapsAt": 100, "maxPerHour": 600, "exchangeAfter": exchange_after}]}
    check(spec_of(**spec), log, [min(cut, len(log)) for cut in cuts])


def check(spec, log, cuts):
    passed, refused, stage = run(spec, log, cuts)
    wanted, unwanted, oracle = expected(spec, log)
    assert by_channel(passed) == by_channel(wanted)
    assert sorted(refused) == sorted(unwanted)
    assert stage.tally.held == oracle.waiting
