import numpy as np
import pytest
from meterpipe.core.control import encode_control
from meterpipe.core.deadletters import Reason
from meterpipe.core.envelope_codec import decode_envelope
from meterpipe.core.validation.rules import Rule
from meterpipe.core.validation.stage import encode_passed, refused_to_arrow
from meterpipe.spec.validation import Validation
from pydantic import ValidationError

from tests.unit.validation.helpers import MINUTE, START, message, power, run, spec_of, stage_of

NOT_VALID, BAD_CLOCK, GAP = 4, 2, 128


def verdicts(log, **spec):
    """Quality of what passed, rules of what was refused."""
    passed, refused, _ = run(spec_of(**spec), log)
    return [row.quality for row in passed], [row.rule for row in refused]


def test_a_negative_value_is_refused_unless_its_attribute_allows_it():
    log = [power(0, -1.0), power(0, -1.0)._replace(attribute="REACTIVE_POWER")]
    assert verdicts(log) == ([0], ["negative"])
    assert verdicts(log, negative={"action": "flag"}) == ([NOT_VALID, 0], [])
    assert verdicts(log, negative={"action": "off"}) == ([0, 0], [])


def test_what_is_possible_may_depend_on_the_interval():
    limits = {"limits": [{"attribute": "ACTIVE_POWER", "max": 4, "per": "hour"}]}
    log = [power(i * MINUTE, v, interval_s=s) for i, (v, s) in enumerate([(1.0, 900), (1.5, 900), (9.0, 0)])]
    assert verdicts(log, plausibility=limits) == ([0, 0], ["plausibility"])


def test_the_first_limit_that_fits_counts():
    limits = [{"attribute": "ACTIVE_POWER", "metric": "ELECTRICITY", "max": 5}, {"attribute": "ACTIVE_POWER", "max": 1}]
    assert verdicts([power(0, 4.0)], plausibility={"limits": limits}) == ([0], [])


def test_a_reading_from_the_future_is_flagged():
    assert verdicts([power(61_000, 1.0, appended=START)]) == ([BAD_CLOCK], [])
    assert verdicts([power(60_000, 1.0, appended=START)]) == ([0], [])


def test_another_interval_than_agreed_is_flagged():
    log = [power(0, 1.0, interval_s=900), power(MINUTE, 1.0, interval_s=60)]
    assert verdicts(log, intervalSize={"seconds": [900]}, missing={"action": "off"}) == ([0, NOT_VALID], [])


def test_a_duplicate_and_a_loser_are_refused_and_a_winner_passes():
    log = [power(0, 1.0), power(0, 1.0), power(0, 2.0), power(0, 2.0, revision=1), power(0, 1.0)]
    assert verdicts(log) == ([0, 0], ["duplicate", "conflict", "conflict"])
    assert verdicts(log, duplicate={"action": "off"}, conflict={"action": "off"}) == ([0] * 5, [])


def test_duplicates_are_known_for_as_long_as_the_pipeline_remembers():
    log = [power(0, 1.0), power(10 * MINUTE, 2.0), power(0, 1.0)]
    assert verdicts(log, remember=600)[1] == ["duplicate"]
    assert verdicts(log, remember=599)[1] == []


def test_the_first_reading_after_a_gap_is_flagged():
    log = [power(at * MINUTE, 1.0) for at in (0, 1, 3, 4)]
    assert verdicts(log, missing={"interval": 60}, flatline={"action": "off"})[0] == [0, 0, GAP, 0]
    every = [reading._replace(interval_s=60) for reading in log]
    assert verdicts(every, flatline={"action": "off"})[0] == [0, 0, GAP, 0]


def test_a_value_far_above_the_three_before_it_is_a_spike():
    log = [power(i * MINUTE, value) for i, value in enumerate([1.0, 2.0, 1.0, 21.0, 21.0, 300.0])]
    assert verdicts(log)[0] == [0, 0, 0, NOT_VALID, 0, NOT_VALID]
    assert verdicts(log, spike={"floor": 100})[0] == [0, 0, 0, 0, 0, NOT_VALID]


def test_the_same_value_again_and_again_is_a_flat_line_but_zero_is_none():
    log = [power(i * MINUTE, value) for i, value in enumerate([1.0] * 4 + [0.0] * 5)]
    assert verdicts(log, flatline={"readings": 3})[0] == [0, 0, NOT_VALID, NOT_VALID, 0, 0, 0, 0, 0]


def test_control_records_stay_in_their_place():
    stage = stage_of(spec_of())
    values = [message(power(0, 1.0)), encode_control(START + 1), encode_control(START + 2), message(power(9, 2.0))]
    judged = stage.take(values, np.full(4, 2**62))
    assert [(rows.value.tolist(), event_time) for rows, event_time in judged.passed] == [
        ([1.0], START + 1), ([], START + 2), ([2.0], None)
    ]  # fmt: skip


def test_what_cannot_be_read_is_a_dead_letter_and_counted():
    stage = stage_of(spec_of(), max_ahead=1000)
    values = [b"{", message(power(5000, 1.0)), message(power(0, 1.0))]
    judged = stage.take(values, np.full(3, START))
    assert [reject.reason for reject in judged.rejects] == [Reason.MALFORMED, Reason.TOO_FAR_AHEAD]
    assert (stage.tally.raw, stage.tally.dead_letters, stage.tally.valid, stage.tally.missing) == (3, 2, 1, 0)


def test_envelopes_of_what_passed_can_be_read_as_readings_and_refused_ones_say_why():
    stage = stage_of(spec_of())
    judged = stage.take([message(power(0, 1.0)), message(power(0, -2.0))], np.full(2, 2**62))
    [(rows, _)] = judged.passed
    [envelope] = encode_passed(rows, stage.judge.keys)
    columns, rejects = decode_envelope(envelope, 0)
    assert (columns.keys, columns.value.tolist(), rejects) == ([("m", "ELECTRICITY", "ACTIVE_POWER")], [1.0], [])
    [(rows, rules, reasons)] = judged.refused
    [row] = refused_to_arrow(rows, rules, reasons, stage.judge.keys).to_pylist()
    assert (row["meter"], row["rule"], row["reason"]) == ("m", "negative", "-2.0 is negative")
    assert judged.by_rule == {(Rule.NEGATIVE, "quarantine"): 1}


def test_a_large_envelope_is_cut():
    stage = stage_of(spec_of())
    log = [message(power(i * MINUTE, 1.0, meter=f"{'m' * 90}{i}")) for i in range(30_000)]
    judged = stage.take(log, np.full(len(log), 2**62))
    envelopes = encode_passed(judged.passed[0][0], stage.judge.keys)
    assert max(map(len, envelopes)) <= 900_000
    decoded = [decode_envelope(envelope, 0)[0] for envelope in envelopes]
    assert [key[0] for columns in decoded for key in columns.keys] == [f"{'m' * 90}{i}" for i in range(30_000)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"spike": {"action": "quarantine"}},
        {"registers": [{"attribute": "A", "consumption": "A"}]},
        {"flatline": {"readings": 1}},
        {"plausibility": {"limits": [{"attribute": "A"}]}},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        Validation.model_validate(wrong)
