from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meterpipe.core.readings import READING_SCHEMA
from meterpipe.datasets.generator import GRAIN, Attribute, Defect, GeneratorSpec, generate
from meterpipe.datasets.oracle import Balance, Rules, expect, log_of
from meterpipe.datasets.profiles import Profile, Tables, load_tables, power_at

TABLES: Tables = {profile: np.linspace(0.05, 0.2, 9 * 96).reshape(3, 3, 96) for profile in Profile}
PLAIN = GeneratorSpec(meters=30, days=0.25)
BAD = replace(
    PLAIN,
    late_rate=0.02,
    out_of_order_rate=0.05,
    duplicate_rate=0.03,
    revised_rate=0.02,
    glitch_rate=0.01,
    gap_rate=0.02,
)


def table(spec: GeneratorSpec) -> pa.Table:
    return pa.Table.from_batches(list(generate(spec, TABLES)))


def counts(spec: GeneratorSpec) -> dict[Defect, int]:
    found = np.bincount(table(spec).column("defect").to_numpy(), minlength=len(Defect))
    return {defect: int(found[defect]) for defect in Defect}


def test_every_meter_has_one_reading_an_interval():
    found = table(PLAIN)
    assert len(found) == 30 * 360
    assert found.group_by(["meter", "ts"]).aggregate([]).num_rows == 30 * 360
    assert set(np.diff(np.unique(found.column("ts").to_numpy())).tolist()) == {60_000}


def test_the_batches_are_readings_with_a_defect_column():
    batch = next(generate(BAD, TABLES))
    assert batch.schema.names == [*READING_SCHEMA.names, "defect"]


@pytest.mark.parametrize("spec", [PLAIN, BAD, replace(BAD, attributes=(Attribute.SUMMATION, Attribute.ACTIVE_POWER))])
def test_the_same_seed_gives_the_same_readings_and_another_seed_others(spec):
    assert table(spec).equals(table(spec))
    assert not table(spec).equals(table(replace(spec, seed=2)))


def test_values_are_multiples_of_the_grain_so_that_sums_are_exact():
    values = table(replace(BAD, attributes=(Attribute.ACTIVE_POWER, Attribute.SUMMATION))).column("value").to_numpy()
    assert (values * GRAIN == np.rint(values * GRAIN)).all()
    assert values[::-1].sum() == values.sum() == np.sort(values).sum()


def test_without_defects_readings_arrive_in_time_order():
    assert (np.diff(table(PLAIN).column("ts").to_numpy()) >= 0).all()


def judged(spec: GeneratorSpec, partitions: int = 2):
    batches = list(generate(spec, TABLES))
    return expect(log_of(batches, partitions), Rules((spec.window_s, 600), spec.grace_s)), pa.Table.from_batches(
        batches
    )


def test_exactly_the_readings_called_late_are_late():
    found, sent = judged(BAD)
    assert found.late.tolist() == np.flatnonzero(sent.column("defect").to_numpy() == Defect.LATE).tolist()
    assert len(found.late)


def test_duplicates_and_revisions_are_what_the_balance_says():
    found, _ = judged(BAD)
    many = counts(BAD)
    raw = sum(many.values())
    late, twice, revised = (many[d] for d in (Defect.LATE, Defect.DUPLICATE, Defect.REVISED))
    assert found.balance == Balance(raw, raw - late - twice - revised, twice, revised, late, 0)
    assert min(late, twice, revised) > 0


def test_readings_out_of_order_are_overtaken_but_not_late():
    found, sent = judged(replace(PLAIN, out_of_order_rate=0.1))
    assert found.balance.late == 0
    assert (np.diff(sent.column("ts").to_numpy()) < 0).any()


def test_the_rates_are_kept_to():
    spec = replace(BAD, meters=200)
    many = counts(spec)
    expected = 200 * 360 * 0.98
    for defect, rate in ((Defect.LATE, 0.02), (Defect.OUT_OF_ORDER, 0.05), (Defect.DUPLICATE, 0.03)):
        assert many[defect] == pytest.approx(expected * rate, rel=0.15)
    originals = sum(many.values()) - many[Defect.DUPLICATE] - many[Defect.REVISED]
    assert originals == pytest.approx(expected, rel=0.01)


REGISTER = replace(PLAIN, meters=3, days=1, attributes=(Attribute.SUMMATION,))


def registers(spec: GeneratorSpec) -> list[np.ndarray]:
    found = table(spec)
    values, meters = found.column("value").to_numpy(), np.array(found.column("meter").to_pylist())
    return [values[meters == name] for name in np.unique(meters)]  # without late ones, in order of time as they come


def test_registers_only_grow_until_they_begin_again_at_nought():
    for values in registers(replace(REGISTER, rollover=2000.0)):
        falls = np.flatnonzero(np.diff(values) < 0)
        assert len(falls)
        assert (values < 2000).all()
        assert (values[falls] > 1900).all()
        assert (values[falls + 1] < 100).all()


def test_a_register_reads_the_same_however_long_the_run_is():
    long = registers(replace(REGISTER, meters=3, days=2))
    assert [v[:1440].tolist() for v in long] == [v.tolist() for v in registers(REGISTER)]


def test_a_glitch_drops_a_register_to_nought_and_it_recovers():
    spec = replace(REGISTER, glitch_rate=0.05, rollover=1e9)
    for values in registers(spec):
        assert (values == 0).any()
        whole = values[values > 0]
        assert (np.diff(whole) >= 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"meters": 0}, "meters"),
        ({"interval_s": 0}, "interval"),
        ({"days": 0}, "days must hold at least one interval"),
        ({"days": float("nan")}, "days"),
        ({"late_rate": 1.5}, "late-rate must be from 0 to 1"),
        ({"late_rate": 0.6, "glitch_rate": 0.6}, "add up"),
        ({"rollover": 0}, "rollover"),
        ({"attributes": ()}, "attributes"),
    ],
)
def test_nonsense_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        replace(PLAIN, **change)


RATES = st.sampled_from([0.0, 0.05, 0.2])


@settings(max_examples=50)
@given(st.integers(1, 20), st.tuples(*[RATES] * 5), st.sampled_from([15, 60, 900]), st.integers(0, 5))
def test_the_ledger_agrees_with_the_rules_whatever_the_rates(meters, rates, interval, seed):
    late, disorder, twice, revised, gap = rates
    spec = GeneratorSpec(
        meters, 0.25, interval, seed, late_rate=late, out_of_order_rate=disorder, duplicate_rate=twice,
        revised_rate=revised, gap_rate=gap, grace_s=600,
    )  # fmt: skip
    found, sent = judged(spec, partitions=1)
    many = np.bincount(sent.column("defect").to_numpy(), minlength=len(Defect))
    assert found.late.tolist() == np.flatnonzero(sent.column("defect").to_numpy() == Defect.LATE).tolist()
    assert (found.balance.duplicates, found.balance.superseded) == (many[Defect.DUPLICATE], many[Defect.REVISED])


def test_the_load_profiles_add_up_to_a_year_s_thousand_kwh():
    tables = load_tables()
    first = 1_704_067_200_000 // 900_000
    for profile in Profile:
        year = sum(power_at(tables, profile, first + q) for q in range(366 * 96)) / 4
        assert year == pytest.approx(1000, rel=0.03)
