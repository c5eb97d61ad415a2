import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.alarms.thresholds import Threshold
from meterpipe.core.notify.requests import MOST, USUAL, RequestError, key_of, limit_of, threshold_of


def problem(work, *given):
    with pytest.raises(RequestError) as caught:
        work(*given)
    answer = caught.value.answer
    assert answer.content_type == "application/problem+json"
    return answer.status.value, json.loads(answer.body)


def status_of(work, *given):
    """200, or the status of the problem."""
    try:
        work(*given)
    except RequestError as refused:
        return refused.answer.status.value
    return 200


def test_a_path_names_meter_metric_and_attribute_whatever_is_in_them():
    assert key_of(b"/v1/thresholds/house%2F7/ELECTRICITY/*") == ("house/7", "ELECTRICITY", "*")
    assert key_of(b"/v1/thresholds/%E6%97%A5/a.b/%25") == ("日", "a.b", "%")


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        (b"/v1/thresholds/a/b", 404, None),
        (b"/v1/thresholds/a/b/c/d", 404, None),
        (b"/v1/thresholds/a//c", 400, "metric"),
        (b"/v1/thresholds/%ff/b/c", 400, "path"),
    ],
)
def test_a_path_that_names_nobody_is_refused(path, status, field):
    found, document = problem(key_of, path)
    assert (found, document.get("errors", [{}])[0].get("field")) == (status, field)


def test_a_threshold_is_what_the_body_says():
    assert threshold_of(b'{"upper": 9, "minDuration": 60}') == Threshold(upper=9.0, min_duration=60.0)


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"upper": "much"}, "upper", "much"),
        ({"uper": 9}, "uper", 9),
        ({"upper": 9, "hysteresis": -1}, "hysteresis", -1),
        ({"lower": 9, "upper": 8}, "lower", 9),
        ({"upper": 9, "minDuration": 1e9}, "minDuration", 1e9),
        ({}, None, None),
        ([], None, None),
    ],
)
def test_what_is_wrong_with_a_threshold_is_told_by_field_and_value(body, field, value):
    status, document = problem(threshold_of, json.dumps(body).encode())
    (error,) = document["errors"]
    assert (status, error.get("field"), error.get("value")) == (400, field, value)
    assert error["detail"]


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_whatever_a_body_holds_it_is_a_threshold_or_a_problem(body):
    assert status_of(threshold_of, body) in (200, 400)


@given(st.text(alphabet="ab/%*fF0-\u00e9", max_size=20).map(str.encode))
def test_whatever_a_path_holds_it_is_a_name_or_a_problem(rest):
    assert status_of(key_of, b"/v1/thresholds/" + rest) in (200, 400, 404)


def test_a_list_is_bounded():
    assert (limit_of({}), limit_of({"limit": "7"})) == (USUAL, 7)
    for text in ("0", "-1", "x", str(MOST + 1), "", "٣", "9" * 5000):
        status, document = problem(limit_of, {"limit": text})
        assert (status, document["errors"][0]["field"], document["errors"][0]["value"]) == (400, "limit", text)
