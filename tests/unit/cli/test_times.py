"""Times are understood alike by all commands."""

from datetime import UTC, datetime

import pytest
from meterpipe.cli.times import parse_time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20240131", datetime(2024, 1, 31)),
        ("2024-01-31", datetime(2024, 1, 31)),
        ("2024-01-31T12:00:00Z", datetime(2024, 1, 31, 12, tzinfo=UTC)),
        ("1706702400000", datetime(2024, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_eight_digits_are_a_date_and_more_are_milliseconds(text, expected):
    assert parse_time(text) == expected


@pytest.mark.parametrize("text", ["yesterday", "1" * 30, "2024-13-01", ""])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_time(text)
