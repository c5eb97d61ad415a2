import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meterpipe.core.deadletters import Reason
from meterpipe.core.ingest.topics import MessageDecoder, Template, letter_headers
from meterpipe.spec.ingest import template_problem
from meterpipe.spec.models import Readings

from tests.unit.ingest.bodies import NOW

TEMPLATE = Template("meters/{meter}/{metric}/{attribute}")
TOPIC = "meters/house-7/WATER/SUMMATION"
LATEST = NOW + 300_000
GOOD = b'{"timestamp":%d,"value":1.5}' % NOW


def decode(*messages, template=TEMPLATE):
    rows, refused = MessageDecoder(template, Readings()).decode(messages, LATEST)
    return [(*rows.keys[k], v) for k, v in zip(rows.readings.key, rows.readings.value.tolist(), strict=True)], refused


def test_the_filter_of_a_template_matches_any_word_at_its_placeholders():
    assert TEMPLATE.filter == "meters/+/+/+"


def test_the_topic_says_whose_reading_it_is():
    assert decode((TOPIC, GOOD)) == ([("house-7", "WATER", "SUMMATION", 1.5)], [])


def test_what_the_template_does_not_name_is_in_the_payload():
    payload = b'{"metricType":"GAS","metricAttribute":"SUMMATION",' + GOOD[1:]
    assert decode(("m/x", payload), template=Template("m/{meter}"))[0] == [("x", "GAS", "SUMMATION", 1.5)]


def test_a_payload_may_hold_many_readings():
    rows, refused = decode((TOPIC, b"[" + GOOD + b"," + GOOD + b"]"), (TOPIC, GOOD))
    assert (len(rows), refused) == (3, [])


@pytest.mark.parametrize(
    "payload",
    [
        b'{"gateway":"other",' + GOOD[1:],
        GOOD[:-1] + b',"gateway":"other"}',
        b'{"gateway":"other","x":{"y":1},' + GOOD[1:],
        GOOD[:-1] + b',"gateway":"other","x":{"y":1}',
        GOOD[:-1] + b',"gateway":"other","x":"}',
        GOOD + b'{"gateway":"other"}',
        b"[" + GOOD[:-1] + b',"gateway":"other"}]',
    ],
)
def test_a_payload_cannot_speak_for_another_meter(payload):
    rows, _ = decode((TOPIC, payload))
    assert {row[0] for row in rows} <= {"house-7"}


def test_bad_messages_are_refused_by_themselves():
    rows, refused = decode(
        (TOPIC, GOOD),
        ("meters/a/b", GOOD),
        (TOPIC, b"{}"),
        (TOPIC, b"12"),
        (TOPIC, b'{"timestamp":%d,"value":1}' % (LATEST + 1)),
        ("meters//WATER/X", GOOD),
        (TOPIC, b"[" * 50_000),
        (TOPIC, GOOD),
    )
    assert len(rows) == 2
    assert sorted(one.message for one in refused) == [1, 2, 3, 4, 5, 6]


def test_a_message_with_several_bad_readings_is_one_dead_letter_that_counts_them():
    _, refused = decode((TOPIC, b"[{},{}," + GOOD + b"]"))
    assert [(one.message, one.readings) for one in refused] == [(0, 2)]
    headers = dict(letter_headers(refused[0], TOPIC))
    assert (headers["topic"], headers["count"]) == (TOPIC.encode(), b"2")
    assert headers["reason"].decode() in set(Reason)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([TOPIC, "meters/a/b/c"]), st.binary(max_size=40) | st.just(GOOD)), max_size=6)
)
def test_no_payload_takes_its_neighbours_with_it(messages):
    rows, refused = decode(*messages)
    bad = {one.message for one in refused}
    good = [i for i, (_, payload) in enumerate(messages) if payload == GOOD]
    assert not bad & set(good)
    assert len(rows) >= len(good)


@pytest.mark.parametrize(
    ("template", "wrong"),
    [
        ("meters/{meter}", None),
        ("a/b", "{meter}"),
        ("x{meter}", "level of its own"),
        ("{meter}/+", "'+'"),
        ("{meter}/{meter}", "twice"),
        ("{meter}/{unit}", "no placeholder"),
    ],
)
def test_a_template_is_checked(template, wrong):
    problem = template_problem(template)
    assert problem is None if wrong is None else wrong in (problem or "")
