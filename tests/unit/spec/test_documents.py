"""YAML to values: lines are known, ambiguous spellings are refused, broken text ends politely."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.spec.documents import Document, documents


def read(text: str) -> Document:
    (document,) = documents(text)
    return document


def flaws(text: str) -> list[tuple[int, tuple[str | int, ...]]]:
    return [(flaw.line, flaw.path) for flaw in read(text).flaws]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abcxyz", min_size=1), JSON_VALUES, min_size=1, max_size=3), st.booleans())
def test_json_reads_as_json_does(value, ascii_only):
    assert read(json.dumps(value, ensure_ascii=ascii_only)).value == json.loads(json.dumps(value))


def test_every_field_and_item_knows_its_line():
    document = read("a: 1\nb:\n  c:\n  - x\n  - y: 2\n")
    lines = {path: document.line_of(path) for path in [("a",), ("b",), ("b", "c"), ("b", "c", 0), ("b", "c", 1, "y")]}
    assert list(lines.values()) == [1, 2, 3, 4, 5]


def test_a_field_that_is_not_there_has_the_line_of_its_parent():
    assert read("a: 1\nb:\n  c: 2\n").line_of(("b", "d", "e")) == 2


@pytest.mark.parametrize(
    "spelling",
    ["yes", "No", "on", "OFF", "y", "N", "010", "-07", "0o17", "0b11", "1_000", "1_0.5", "10:30", "1:20:30"],
)
def test_a_spelling_yaml_versions_disagree_on_is_refused_with_a_way_out(spelling):
    (flaw,) = read(f"a: {spelling}").flaws
    assert (flaw.line, flaw.path) == (1, ("a",))
    assert spelling in flaw.reason
    assert flaw.way_out.startswith("write ")


@pytest.mark.parametrize("spelling", ["yes", "010", "1_000", "10:30"])
@pytest.mark.parametrize("quoted", ['"{}"', "'{}'", "!!str {}"])
def test_in_quotes_it_is_text(spelling, quoted):
    document = read(f"a: {quoted.format(spelling)}")
    assert (document.value, document.flaws) == ({"a": spelling}, [])


@pytest.mark.parametrize(
    ("spelling", "value"),
    [
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("0", 0),
        ("-12", -12),
        ("0x1F", 31),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("host:9092", "host:9092"),
        ("1.2.3", "1.2.3"),
        ("_", "_"),
        ("=", "="),
    ],
)
def test_a_plain_spelling_has_the_value_of_yaml_1_2(spelling, value):
    assert read(f"a: {spelling}").value == {"a": value}


def test_keys_are_text_as_in_json():
    assert read("60: a\n3600: b").value == {"60": "a", "3600": "b"}


@pytest.mark.parametrize("key", ["on", "true", "null", "010", "1.5", "[a]"])
def test_a_key_that_is_no_text_is_refused(key):
    assert flaws(f"? {key}\n: 1")


def test_a_key_given_twice_is_refused_where_it_is_repeated():
    assert flaws("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n") == [(5, ("b", "c"))]


def test_aliases_repeat_and_merges_yield_to_what_is_written():
    assert read("x: &base {p: 1, q: 2}\nz: {<<: *base, q: 3}\nw: *base").value == {
        "x": {"p": 1, "q": 2},
        "z": {"p": 1, "q": 3},
        "w": {"p": 1, "q": 2},
    }


def test_of_merged_mappings_the_earlier_wins():
    assert read("a: &a {p: 1}\nb: &b {p: 2, q: 2}\nc: {<<: [*a, *b]}").value["c"] == {"p": 1, "q": 2}


def test_a_document_that_contains_itself_is_refused():
    assert "too deep" in read("a: &x [*x]").flaws[0].reason


def test_a_bomb_of_aliases_is_refused_quickly():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    assert "too deep or too large" in read(bomb).flaws[0].reason


def test_text_nested_beyond_reason_is_refused():
    assert "nested too deep" in list(documents("[" * 800))[-1].flaws[0].reason


def test_a_tag_that_would_run_code_is_refused():
    assert (
        "not allowed" in read("a: !!python/object/apply:os.system [ls]\nb: !!python/name:os.system x").flaws[0].reason
    )


def test_broken_yaml_names_its_line():
    assert [flaw.line for flaw in list(documents("a: 1\n---\nb: 'x\n"))[-1].flaws] == [4]


def test_a_tab_is_told_to_be_a_space():
    assert read("a:\n\t- b").flaws[0].way_out == "YAML indents with spaces only"


def test_empty_documents_are_passed_over():
    assert [document.value for document in documents("---\n---\na: 1\n---\n# nothing\n---\nb: 2\n")] == [
        {"a": 1},
        {"b": 2},
    ]


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text):
    list(documents(text))


@given(st.text("ab:-[]{}&*!|>'\"\n #?,%@0y", max_size=40))
def test_no_yaml_like_text_breaks_the_reader(text):
    list(documents(text))
