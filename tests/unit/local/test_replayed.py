from itertools import pairwise

import pytest
from meterpipe.local.errors import LocalError
from meterpipe.local.replayed import DAY_MS, Replayed, left_to_send, load, save
from meterpipe.local.replayer import chunks


def days(since: int, until: int, households: int = 10) -> Replayed:
    return Replayed(households, since * DAY_MS, until * DAY_MS)


def test_a_first_run_sends_everything():
    assert left_to_send(None, days(0, 28)) == days(0, 28)


def test_a_second_run_sends_only_the_days_that_are_missing():
    assert left_to_send(days(0, 28), days(0, 35)) == days(28, 35)


@pytest.mark.parametrize("wanted", [28, 7])
def test_days_that_were_sent_are_not_sent_again(wanted):
    left = left_to_send(days(0, 28), days(0, wanted))
    assert left.since == left.until


def test_more_households_on_closed_days_are_refused_with_the_way_out():
    with pytest.raises(LocalError, match="--households 10"):
        left_to_send(days(0, 28), days(0, 28, households=20))


def test_the_pieces_of_a_replay_are_the_whole_without_overlap():
    pieces = list(chunks(days(3, 20)))
    assert pieces[0].since == 3 * DAY_MS
    assert pieces[-1].until == 20 * DAY_MS
    assert all(a.until == b.since for a, b in pairwise(pieces))


def test_the_note_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "note.json"
    assert load(path) is None
    save(path, days(0, 7))
    assert load(path) == days(0, 7)
