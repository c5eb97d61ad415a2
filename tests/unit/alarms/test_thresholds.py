"""Thresholds: as records, in their partitions, and which one counts for a channel."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.alarms.events import Alarm, AlarmKind, AlarmState, Place, alarm_id, decode_alarm, encode_alarm
from meterpipe.core.alarms.thresholds import (
    ANY,
    BadThresholdError,
    Limits,
    Threshold,
    ThresholdTable,
    decode_threshold,
    decode_threshold_key,
    encode_threshold,
    encode_threshold_key,
    partitions_of,
)
from meterpipe.core.murmur2 import partition_of
from meterpipe.core.readings import KeyTable
from meterpipe.spec.models import KeyRule

words = st.text(min_size=1, max_size=8)
bounds = st.none() | st.floats(-1e6, 1e6)


@given(st.tuples(words, words, words))
def test_ids_of_any_characters_make_a_key_and_come_back(key):
    try:
        "".join(key).encode()
    except UnicodeEncodeError:
        with pytest.raises(BadThresholdError):
            encode_threshold_key(key)
    else:
        assert decode_threshold_key(encode_threshold_key(key)) == key


def test_a_record_says_only_what_is_given():
    assert encode_threshold_key(("m/1", "ELECTRICITY", ANY)) == b'["m/1","ELECTRICITY","*"]'
    assert encode_threshold(Threshold(upper=5.0, min_duration=60)) == b'{"upper":5.0,"minDuration":60}'
    assert decode_threshold(b'{"upper":5,"minDuration":60}') == Threshold(upper=5.0, min_duration=60.0)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"{}", "neither lower nor upper"),
        (b'{"upper":1,"lower":2}', "lower: 2 is above upper"),
        (b'{"upper":1,"hysteresis":-1}', "hysteresis: -1"),
        (b'{"upper":1,"minDuration":1e9}', "minDuration"),
        (b'{"upper":"1"}', "upper"),
        (b'{"upper":1,"more":2}', "more"),
        (b"{", "truncated"),
    ],
)
def test_a_threshold_without_sense_is_refused_with_the_reason(value, why):
    with pytest.raises(BadThresholdError, match=why):
        decode_threshold(value)


def test_a_key_without_sense_is_refused_with_the_reason():
    for key in (None, b"m/x/y", b'["a","b"]', b'["a","","c"]'):
        with pytest.raises(BadThresholdError):
            decode_threshold_key(key)


@pytest.mark.parametrize("rule", KeyRule)
def test_a_threshold_lies_where_its_readings_can_be(rule):
    for key in product(("m", ANY), ("E", ANY), ("P", ANY)):
        found = set(partitions_of(key, rule, 8))
        homes = {
            KeyRule.METER: None if key[0] == ANY else partition_of(b"m", 8),
            KeyRule.CHANNEL: None if ANY in key else partition_of(b"m/E/P", 8),
            KeyRule.TRUSTED: None,
        }
        assert found == (set(range(8)) if homes[rule] is None else {homes[rule]})


patterns = st.tuples(st.sampled_from(["a", "b", ANY]), st.sampled_from(["E", "W", ANY]), st.sampled_from(["P", ANY]))
changes = st.lists(st.tuples(patterns, st.none() | st.integers(0, 9)), max_size=30)
CHANNELS = list(product("abc", "EW", "PV"))


def counting(table, key):
    """By trying all that fit."""
    fitting = [p for p in table if all(x in (ANY, y) for x, y in zip(p, key, strict=True))]
    return max(fitting, key=lambda p: [x != ANY for x in p], default=None)


@given(changes, st.integers(0, 30))
def test_the_most_specific_threshold_counts_whether_the_channel_or_the_threshold_came_first(log, at):
    limits, keys, table = Limits(ThresholdTable()), KeyTable(), {}
    for number, (key, upper) in enumerate(log):
        if number == at:
            for channel in CHANNELS:
                keys.add(channel)
            limits.learn(keys.ids)
        limits.put([(key, None if upper is None else Threshold(upper=upper), number)], keys.ids)
        if upper is None:
            table.pop(key, None)
        else:
            table[key] = upper, number
    for channel in CHANNELS:
        keys.add(channel)
    limits.learn(keys.ids)
    wanted = [table.get(counting(table, channel), (np.inf, -1)) for channel in CHANNELS]
    assert list(zip(limits.upper, limits.offset, strict=True)) == wanted
    assert len(limits.table) == len(table)
    assert set(limits.table) == set(table)


def test_what_a_threshold_does_not_say_is_taken_from_the_pipeline():
    limits, keys = Limits(ThresholdTable(hysteresis=0.5, min_duration=60)), KeyTable([("a", "E", "P"), ("b", "E", "P")])
    limits.table.put(("a", "E", "P"), Threshold(lower=1.0), 3)
    limits.table.put(("b", ANY, ANY), Threshold(upper=2.0, hysteresis=0, min_duration=1.5), 4)
    limits.learn(keys.ids)
    assert limits.lower.tolist() == [1.0, -np.inf]
    assert limits.upper.tolist() == [np.inf, 2.0]
    assert limits.hysteresis.tolist() == [0.5, 0.0]
    assert limits.hold_ms.tolist() == [60_000, 1500]
    assert limits.offset.tolist() == [3, 4]


def test_an_alarm_is_told_by_the_words_of_the_contract():
    raised = "2024-01-01T00:00:00.000Z"
    name = alarm_id("m", "E", "P", AlarmKind.OVER, raised)
    alarm = Alarm(name, AlarmState.RAISED, AlarmKind.OVER, "m", "E", "P", raised, raised, 6.0, 5.0, Place(1, 2))
    assert encode_alarm(alarm) == (
        b'{"id":"%s","state":"raised","kind":"OVER","meter":"m","metric":"E","attribute":"P","at":"%s","raisedAt":"%s",'
        b'"value":6.0,"limit":5.0,"threshold":{"partition":1,"offset":2},"reading":null}'
        % (name.encode(), raised.encode(), raised.encode())
    )
    assert decode_alarm(encode_alarm(alarm)) == alarm
    assert name == alarm_id("m", "E", "P", AlarmKind.OVER, raised)
    assert name != alarm_id("m", "E", "P", AlarmKind.UNDER, raised)
    assert len(name) == 32
