"""What expressions may do: work on each reading by itself, and nothing else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.spec.expressions import COLUMNS, MAX_DEPTH, MAX_LENGTH, Want, depth_of, expression_problem


@pytest.mark.parametrize(
    "text",
    [
        "value > 3 AND meter = 'a'",
        "value BETWEEN 1 AND 2 OR quality <> 0",
        "meter IN ('a', 'b')",
        "meter LIKE 'a%' AND metric NOT LIKE '%b_'",
        "starts_with(meter, 'n-')",
        "regexp_like(meter, '^[a-c]+$')",
        "extract(hour FROM ts) < 6",
        "ts >= timestamp '2024-01-01 00:00:00'",
        "ts::date = date '2024-01-01'",
        "CASE WHEN value > 3 THEN true ELSE false END",
        "coalesce(nullif(value, 0), 1) > 1",
        "NOT (value IS NULL)",
        "try_cast(substr(meter, 3) AS int) % 2 = 0",
        '"value" > 1 -- a comment',
    ],
)
def test_conditions_on_one_reading_are_taken(text):
    assert expression_problem(text, Want.CONDITION) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sum(value) > 1", "aggregates are not allowed"),
        ("count(*) > 1", "aggregates are not allowed"),
        ("first(value) > 1", "aggregates are not allowed"),
        ("row_number() over () > 1", "is not allowed"),
        ("(SELECT 1) = 1", "a query within an expression is not allowed"),
        ("EXISTS (SELECT 1)", "a query within an expression is not allowed"),
        ("value IN (SELECT 1)", "not allowed"),
        ("unnest(value) = 1", "a list cannot become rows"),
        ("columns('a') = 1", "columns must be named"),
        ("read_csv('/etc/passwd') = 1", "has no function 'read_csv'"),
        ("lenght(meter) = 1", "did you mean length?"),
        ("valeu > 1", "did you mean value?"),
        ("a.b.c > 1", "StructExpr is not allowed"),
        ("now() > ts", "the time at which the worker started"),
        ("current_date > ts::date", "the time at which the worker started"),
        ("localtimestamp > ts", "the time at which the worker started"),
        ('"now"() > ts', "the time at which the worker started"),
        ("now/**/() > ts", "the time at which the worker started"),
        ("replace(meter, 'a', 'b') = 'b'", "not allowed"),
        (" or ".join(["value > 1"] * 60), "too many terms"),
        ("cast(meter AS double) > 1", "use TRY_CAST"),
        ("value", "must be true or false"),
        ("value > 'a'", "cannot be read"),
        ("value > 1, meter", "cannot be read"),
        ("value > 1; DROP TABLE readings", "cannot be read"),
        ("value > (3", "cannot be read"),
        ("*", "cannot be read"),
        ("array[1, 2]", "must be true or false"),
        ("", "cannot be read"),
    ],
)
def test_anything_else_is_refused_with_its_reason(text, problem):
    assert problem in (expression_problem(text, Want.CONDITION) or "")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 500 + "true" + ")" * 500,
        "not " * 400 + "true",
        "case when true then " * 90 + "1",
        "- " * 500 + "value > 1",
    ],
)
def test_deep_nesting_is_refused_before_it_is_parsed(text):
    assert depth_of(text) > MAX_DEPTH
    assert "deep" in (expression_problem(text, Want.CONDITION) or "")


def test_a_text_may_name_the_clock():
    assert expression_problem("meter = 'now' OR meter = 'it''s today'", Want.CONDITION) is None


def test_a_long_chain_of_terms_does_no_harm():
    for text in ("value" + "+1" * 900 + " > 0", " or ".join(["value > 1"] * 150)):
        problem = expression_problem(text, Want.CONDITION)
        assert problem is None or "too many terms" in problem
    assert "characters" in (expression_problem("value" + "+1" * MAX_LENGTH, Want.VALUE) or "")


def test_values_and_keys_are_single_values():
    assert expression_problem("value * 2", Want.VALUE) is None
    assert expression_problem("meter || '/' || metric", Want.VALUE) is None
    assert "must be a single value" in (expression_problem("array[1, 2]", Want.VALUE) or "")


_WORDS = [*COLUMNS, "(", ")", "'", "1", "0.5", "+", "-", "/", "%", "and", "or", "not", "select", "from", "case", "when"]
_WORDS += [
    "then",
    "end",
    "in",
    "like",
    "is",
    "null",
    "cast",
    "as",
    "int",
    "sum",
    "lower",
    ",",
    "[",
    "]",
    "::",
    "\0",
    "é",
]


@given(st.lists(st.sampled_from(_WORDS), max_size=14).map(" ".join))
def test_no_text_does_more_than_give_a_reason(text):
    problem = expression_problem(text, Want.CONDITION)
    assert problem is None or (problem and not re.search("PanicException|Traceback", problem))
