"""SQL expressions of routes: whatever text comes, it is allowed, or it is said what is wrong with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.spec.expressions import COLUMNS, KNOWN, MAX_LENGTH, Want, empty_frame, expression_problem, parse

from tests.fuzz.harness import fuzzed, near

TEXTS = [
    "value > 10 AND metric = 'ELECTRICITY'",
    "CASE WHEN quality = 0 THEN value * 1000 ELSE NULL END",
    "concat(meter, '/', lower(attribute))",
    "ts >= timestamp '2024-01-01 00:00:00' AND NOT (revision BETWEEN 1 AND 3)",
    "TRY_CAST(meter AS BIGINT) % 7 IN (1, 2, 3)",
    "date_part('hour', ts) + extract(minute FROM ts) / 60.0",
    "SUM(value) OVER (PARTITION BY meter)",
    "(SELECT 1) = value",
    "meter LIKE 'a%' OR meter ~ '^(a+)+$' OR STARTS_WITH(meter, 'x')",
]
WORDS = [
    *COLUMNS,
    *sorted(KNOWN),
    *"( ) , + - * / % = <> < > || :: . [ ] ; -- /* */ ' \" $ 0 1 1e400 9999999999999999999999 -1 NULL TRUE".split(),  # noqa: SIM905
    *"AND OR NOT IN IS LIKE ILIKE BETWEEN CASE WHEN THEN ELSE END CAST AS INT DOUBLE VARCHAR DATE INTERVAL".split(),  # noqa: SIM905
    *"SELECT FROM WHERE UNION EXISTS OVER DISTINCT ARRAY UNNEST read_csv('x') regexp_like 'x' 'é\0'".split(),  # noqa: SIM905
    "'1 day'",
]
WANTS = st.sampled_from(list(Want))


def judge(text: str, want: Want) -> None:
    problem = expression_problem(text, want)
    assert problem is None or problem
    if problem is None:  # then it does what it says on any frame of these columns
        empty_frame().select(parse(text).alias("result"))


@fuzzed
@given(near([text.encode() for text in TEXTS]), WANTS)
def test_texts_that_are_nearly_expressions_are_judged(text, want):
    judge(text.decode(errors="replace"), want)


@fuzzed
@given(st.lists(st.sampled_from(WORDS), max_size=24).map(" ".join), WANTS)
def test_words_of_sql_in_any_order_are_judged(text, want):
    judge(text, want)


@fuzzed
@given(st.text(max_size=200), WANTS)
def test_any_text_is_judged(text, want):
    judge(text, want)


@pytest.mark.parametrize("text", TEXTS)
def test_the_texts_the_fuzzing_starts_from_are_judged_as_they_are(text):
    judge(text, Want.VALUE)


@pytest.mark.parametrize(
    "piece",
    ["(", "NOT ", "- ", "[", "CASE WHEN ", "abs(", "value + ", "value AND ", "'", '"', "/*", "::int", "1,", "a."],
)
def test_a_text_of_one_thing_again_and_again_is_judged(piece):
    whole = piece * (MAX_LENGTH // len(piece))
    for text in (whole, whole + "value", "value" + whole, whole + "value" + ")" * (MAX_LENGTH - len(whole))):
        judge(text, Want.VALUE)
