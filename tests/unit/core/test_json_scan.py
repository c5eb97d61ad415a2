"""The quick way to read plain JSON and the careful one: what the quick one takes, both read alike."""

import json
import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from meterpipe.core.codecs import Decoder, admit_in
from meterpipe.core.json_scan import FIELDS, KeyIndex, Scanner, is_built
from meterpipe.core.messages import Payloads
from meterpipe.core.readings import KeyTable
from meterpipe.spec.models import FieldNames, KeyRule
from meterpipe.spec.models import Readings as ReadingsSpec

NAMES = FieldNames().model_dump()
PLAIN = b'{"gateway":"m1","metricType":"E","metricAttribute":"P","timestamp":1700000000000,"value":1.5}'


def careful(spec=None):
    decoder = Decoder(spec)
    decoder._scanner = None
    return decoder


def told(decoder, values, keys=None, admit=None):
    keys = KeyTable() if keys is None else keys
    decoded = decoder.decode(values, keys, *([admit] if admit else []))
    r, names = decoded.readings, list(keys.ids)
    numbers = (r.ts, r.interval_s, r.quality, r.revision, r.message, r.row)
    rows = zip(
        [names[key] for key in r.key],
        [v.hex() for v in r.value.tolist()],
        *map(np.ndarray.tolist, numbers),
        strict=True,
    )
    return list(rows), decoded.rejects, decoded.controls


def is_plain(value):
    return len(Scanner(NAMES).scan(Payloads.of([value]), KeyTable()).message) == 1


def test_the_library_is_there_where_these_tests_run():
    assert is_built()


names = st.sampled_from([NAMES.get(field, field) for field in FIELDS] + ["other", ""])
numbers = st.one_of(
    st.integers(-(10**16), 10**16).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(-(10**9), 10**9, places=6).map(str),
    st.from_regex(r"-?[0-9]{1,3}(\.[0-9]{0,17})?([eE][+-]?[0-9]{0,3})?", fullmatch=True),
)
stamps = st.one_of(
    st.datetimes(timezones=st.timezones() | st.just(None)).map(lambda at: f'"{at.isoformat()}"'),
    st.from_regex(
        r'"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{0,8})?(Z|[+-][0-2][0-9]:[0-6][0-9])"',
        fullmatch=True,
    ),
)
texts = st.text(max_size=6).map(json.dumps) | st.sampled_from(['"m1"', '"E"', '"a\\u0041"', '"é"', '"\x7f"', '"'])
words = st.one_of(numbers, stamps, texts, st.sampled_from(["null", "true", "[1]", "{}", "-", ""]))
spaces = st.sampled_from(["", "", "", " ", "\n", "\t \r"])


@st.composite
def readings(draw):
    """Something like a reading: the right fields with values of any kind, in any order, now and then damaged."""
    members = {
        "gateway": draw(texts),
        "metricType": draw(texts),
        "metricAttribute": draw(texts),
        "timestamp": draw(numbers | stamps),
        "value": draw(numbers),
    }
    members |= draw(st.dictionaries(names, words, max_size=3))
    order = draw(st.permutations(list(members)))
    space = draw(spaces)
    text = "{" + ",".join(f'{space}"{name}"{space}:{space}{members[name]}{space}' for name in order) + "}" + space
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    if data and draw(st.integers(0, 3)) == 0:
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    if draw(st.integers(0, 9)) == 0:
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


@given(st.lists(readings() | st.none() | st.binary(max_size=4), max_size=6), st.sampled_from([None, "Europe/Berlin"]))
@example([PLAIN.replace(b"1700000000000", b'"1969-12-31T23:59:59.9995Z"')], None)
@example([PLAIN.replace(b"1700000000000", b'"0001-01-01T00:00:00+23:59"')], None)
@example([PLAIN.replace(b"1.5", b"-0.0"), PLAIN.replace(b"1.5", b"-0"), PLAIN.replace(b"1.5", b"0.1e-21")], None)
@example([PLAIN + b"," + PLAIN, PLAIN[:-1], PLAIN[:-1] + b',"value":2}'], None)
def test_both_ways_read_the_same(values, timezone):
    spec = ReadingsSpec(timezone=timezone)
    assert told(Decoder(spec), values) == told(careful(spec), values)


@pytest.mark.parametrize(
    "value",
    [
        PLAIN,
        b' { "value" : -12.25 ,\n"timestamp":"2024-02-29T23:59:59.123456+01:00","interval":900,"quality":255,'
        b'"revision":65535,"unit":"W","gateway":"","metricType":"E","metricAttribute":"P"}\r\n',
        PLAIN.replace(b"1.5", b"123456789012345"),
        PLAIN.replace(b"1.5", b"1.5e22"),
        PLAIN.replace(b"1700000000000", b'"9999-12-31T23:59:59Z"'),
    ],
)
def test_what_gateways_send_is_plain(value):
    assert is_plain(value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"m1", b"m\\u0031"),
        (b"m1", "käse".encode()),
        (b"1.5", b"1234567890123456"),
        (b"1.5", b"NaN"),
        (b"1.5", b"01"),
        (b"1.5", b"1e23"),
        (b"1700000000000", b"1.7e12"),
        (b"1700000000000", b'"2024-02-30T00:00:00Z"'),
        (b"1700000000000", b'"2023-02-29T00:00:00Z"'),
        (b"1700000000000", b'"2024-01-01T00:00:00"'),
        (b"1700000000000", b'"2024-01-01 00:00:00Z"'),
        (b"1700000000000", b"999999999999999"),
        (b'"value"', b'"colour":1,"value"'),
        (b'"value"', b'"value":1,"value"'),
        (b'"value"', b'"quality":256,"value"'),
        (b'"value"', b'"unit":null,"value"'),
        (b",", b",,"),
        (b"}", b",}"),
        (b"}", b"}}"),
    ],
)
def test_what_is_unusual_is_left_to_the_careful_way(old, new):
    assert not is_plain(PLAIN.replace(old, new, 1))


def test_half_a_reading_is_never_plain_and_nothing_behind_it_is_read():
    whole = Payloads.of([PLAIN])
    for end in range(len(PLAIN)):
        cut = Payloads(whole.data, whole.start, np.array([end], np.int64))  # the rest lies right behind it
        assert not len(Scanner(NAMES).scan(cut, KeyTable()).message)


def test_new_keys_are_admitted_one_by_one_and_refused_ones_get_no_id():
    values = [PLAIN.replace(b"m1", b"m%d" % (n % 40)) for n in range(200)]
    admit = admit_in(1, 3, KeyRule.METER)
    assert told(Decoder(), values, admit=admit) == told(careful(), values, admit=admit)
    keys = KeyTable()
    decoder = Decoder()
    for _ in range(3):
        decoder.decode(values, keys, admit)
    assert len(keys) == len({key for key, _ in admitted(values, admit)})


def admitted(values, admit):
    decoded = [json.loads(value) for value in values]
    keys = [(d["gateway"], d["metricType"], d["metricAttribute"]) for d in decoded]
    return [(key, value) for key, value in zip(keys, values, strict=True) if admit(key) is None]


def test_ids_are_those_of_the_key_table_however_it_grew():
    rng, keys, index = random.Random(1), KeyTable(), KeyIndex()
    scanner = Scanner(NAMES)
    scanner._indices[keys] = index
    for _ in range(60):
        for _ in range(rng.randrange(200)):
            keys.add((f"m{rng.randrange(3000)}", rng.choice(["E", "WATER" * 4, ""]), rng.choice(["P", "ü", "x" * 30])))
        some = rng.sample(list(keys.ids), min(len(keys), 50))
        some = [key for key in some if key[2].isascii()]
        values = [
            b'{"gateway":"%b","metricType":"%b","metricAttribute":"%b","timestamp":1,"value":1}'
            % tuple(name.encode() for name in key)
            for key in some
        ]
        scanned = scanner.scan(Payloads.of(values), keys)
        assert scanned.key.tolist() == [keys.ids[key] for key in some]
        assert scanned.unknown == []


def test_names_are_never_confused_with_the_same_letters_cut_otherwise():
    keys = KeyTable([("ab", "c", "d"), ("a", "bc", "d"), ("a", "b", "cd")])
    value = b'{"gateway":"a","metricType":"bcd","metricAttribute":"","timestamp":1,"value":1}'
    scanned = Scanner(NAMES).scan(Payloads.of([value]), keys)
    assert (scanned.key.tolist(), scanned.unknown) == ([-1], [("a", "bcd", "")])


def test_other_field_names_are_read_too():
    spec = ReadingsSpec(fields=FieldNames(meter="id", timestamp="t", value="v"))
    value = b'{"id":"m","metricType":"E","metricAttribute":"P","t":5,"v":2}'
    rows, rejects, _ = told(Decoder(spec), [value, PLAIN])
    assert rows == [(("m", "E", "P"), (2.0).hex(), 5, 0, 0, 0, 0, 0)]
    assert [reject.message for reject in rejects] == [1]
