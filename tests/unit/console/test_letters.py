"""Dead letters as they are read back."""

from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.deadletters import Origin, Reason, Reject, headers_of
from meterpipe.core.letters import (
    REPLAYED_HEADER,
    Choice,
    decode_replayed,
    encode_replayed,
    hex_of,
    letter_of,
    text_of,
)

ORIGIN = Origin("readings", 3, 17)
HEADERS = headers_of(Reject(0, Reason.NO_ZONE, "no zone", (0, 1, 4)), ORIGIN)


def letter(headers=HEADERS, place=(1, 2), at=5):
    return letter_of(place, at, b"m", 10, headers)


def test_what_was_written_is_read_back():
    found = letter()
    assert (found.reason, found.detail, found.count, found.rows) == ("no-zone", "no zone", 3, "0-1,4")
    assert found.origin == ORIGIN
    assert found.place == (1, 2)


def test_a_letter_of_an_edge_adapter_has_a_source_and_no_origin():
    found = letter([("reason", b"malformed"), ("topic", b"meters/7"), ("count", b"x")])
    assert (found.source, found.origin, found.count) == ("meters/7", None, 1)


def test_other_records_are_no_letters():
    assert letter([REPLAYED_HEADER]) is None
    assert letter(None) is None


@given(st.sets(st.integers(0, 2**62)))
def test_the_note_of_a_replay_names_its_letters(offsets):
    assert decode_replayed(encode_replayed(offsets), [REPLAYED_HEADER]) == sorted(offsets)


@given(st.binary())
def test_only_our_notes_are_notes(value):
    assert decode_replayed(value, [("reason", b"malformed")]) is None
    decode_replayed(value, [REPLAYED_HEADER])


def test_a_choice_takes_what_meets_all_its_conditions():
    assert letter() in Choice()
    assert letter() in Choice(frozenset({(1, 2)}), frozenset({"no-zone"}), frozenset({"readings"}), 5)
    assert letter() not in Choice(reasons=frozenset({"empty"}))
    assert letter() not in Choice(places=frozenset({(2, 1)}))
    assert letter() not in Choice(since=6)


@given(st.binary(max_size=70))
def test_a_dump_shows_every_byte(payload):
    lines = hex_of(payload).splitlines()
    assert bytes.fromhex("".join(line[10:58] for line in lines)) == payload
    assert len(lines) == -(-len(payload) // 16)


def test_what_a_terminal_cannot_show_is_no_text():
    assert text_of('{"gateway": "Zähler"}\n'.encode()) == '{"gateway": "Zähler"}\n'
    assert text_of(b"\xff\xff\x00") is None
    assert text_of(b"\x1b[31m") is None
