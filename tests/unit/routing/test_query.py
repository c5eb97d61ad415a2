"""Questions: lists of expressions, and what cannot be asked."""

import pytest
from meterpipe.core.query import BadExpressionError, Query, split


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("meter, value * 2 AS twice", ["meter", "value * 2 AS twice"]),
        ("concat(meter, ',', metric), ts", ["concat(meter, ',', metric)", "ts"]),
        ("'a, b', \"value\"", ["'a, b'", '"value"']),
    ],
)
def test_a_list_is_cut_at_its_own_commas_only(text, parts):
    assert split(text) == parts


def test_what_is_selected_has_its_names():
    assert Query(select="meter, value * 2 AS twice").columns == ["meter", "twice"]
    assert Query().columns[:4] == ["meter", "metric", "attribute", "ts"]


def test_what_cannot_be_asked_is_said_with_the_expression():
    with pytest.raises(BadExpressionError, match=r"--select 'sum\(value\)': aggregates"):
        Query("value > 1", "meter, sum(value)")
