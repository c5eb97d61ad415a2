import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.datasets.sheet import BadFileError, BrokenLineError, read_sheet

GOOD = "a,b\n1,2\n3,4\n"


def write(folder: Path, text: str | bytes, name: str = "house.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def numbers(path: Path, column: str = "b", skip: bool = False) -> list[float]:
    sheet = read_sheet(path, ("a", "b"))
    values = sheet.numbers(column, "a number")
    good, _ = sheet.good(skip)
    return values[good].tolist()


def test_columns_are_found_by_name_whatever_their_order(tmp_path):
    assert numbers(write(tmp_path, "b,other,a\n2,x,1\n")) == [2.0]


def test_a_word_in_place_of_a_number_names_file_line_column_value_and_expectation(tmp_path):
    path = write(tmp_path, "a,b\n" + "1,2\n" * 15 + "1,twelve\n1,2\n")
    with pytest.raises(BrokenLineError) as error:
        numbers(path)
    assert str(error.value) == f"{path}:17: column b: found 'twelve', expected a number"


def test_a_line_with_a_field_too_few_is_named_with_its_text(tmp_path):
    path = write(tmp_path, "a,b\n1,2\n\n1\n1,2\n")
    with pytest.raises(BrokenLineError, match=r"house\.csv:4: found '1', expected 2 fields separated by ','"):
        numbers(path)


def test_the_first_broken_line_is_told_and_how_many_there_are(tmp_path):
    path = write(tmp_path, "a,b\n1,x\n1\n1,y\n1,2\n")
    with pytest.raises(BrokenLineError, match=r":2: column b: found 'x'.*\(3 broken lines in all\)"):
        numbers(path)


def test_broken_lines_can_be_left_out_and_counted(tmp_path):
    sheet = read_sheet(write(tmp_path, "a,b\n1,x\n1\n1,5\n1,2,3\n1,6\n"), ("a", "b"))
    values = sheet.numbers("b", "a number")
    good, broken = sheet.good(skip_broken=True)
    assert (values[good].tolist(), broken) == ([5.0, 6.0], 3)


@pytest.mark.parametrize("word", ["0x10", "1_000", "1,5", "--1", "1e", "\u0661", "infinity", "-inf", "1e999"])
def test_what_is_no_finite_decimal_number_is_broken(tmp_path, word):
    path = write(tmp_path, f"a;b\n1;{word}\n")
    sheet = read_sheet(path, ("a", "b"), delimiter=";")
    sheet.numbers("b", "a number")
    with pytest.raises(BrokenLineError, match="column b"):
        sheet.good(skip_broken=False)


@pytest.mark.parametrize("word", ["?", "", "Null", "NULL", "NA"])
def test_the_ways_to_say_missing_are_no_number_and_no_error(tmp_path, word):
    assert np.isnan(numbers(write(tmp_path, f"a,b\n1,{word}\n"))).tolist() == [True]


def test_windows_line_ends_a_byte_order_mark_blank_lines_and_no_last_newline_are_fine(tmp_path):
    assert numbers(write(tmp_path, b"\xef\xbb\xbfa,b\r\n1,2\r\n\r\n3,4")) == [2.0, 4.0]


def test_a_compressed_file_is_read_as_it_is(tmp_path):
    assert numbers(write(tmp_path, gzip.compress(GOOD.encode()), "house.csv.gz")) == [2.0, 4.0]


def test_bytes_that_are_no_text_are_a_broken_field(tmp_path):
    with pytest.raises(BrokenLineError, match=":3: column b"):
        numbers(write(tmp_path, b"a,b\n1,2\n1,\xff\xfe\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "empty"), ("a,c\n1,2\n", "no column b"), ("\n\n", "a header was expected")],
)
def test_a_file_without_the_header_says_what_it_needs(tmp_path, text, message):
    with pytest.raises(BadFileError, match=message):
        read_sheet(write(tmp_path, text), ("a", "b"))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadFileError, match=r"absent\.csv"):
        read_sheet(tmp_path / "absent.csv", ("a", "b"))


def test_a_file_with_a_header_only_has_no_rows(tmp_path):
    assert numbers(write(tmp_path, "a,b\n")) == []


LINES = st.lists(st.sampled_from(["1,2", "1", "1,2,3", "", "1,x", "7,8"]), max_size=40)


@given(LINES)
def test_line_numbers_are_those_of_an_editor_wherever_the_broken_lines_are(tmp_path_factory, lines):
    path = write(tmp_path_factory.mktemp("sheet"), "a,b\n" + "\n".join(lines))
    sheet = read_sheet(path, ("a", "b"))
    sheet.numbers("b", "a number")
    good, broken = sheet.good(skip_broken=True)
    at = dict(enumerate(lines, start=2))
    assert sheet.line[good].tolist() == [n for n, line in at.items() if line in ("1,2", "7,8")]
    assert broken == sum(line in ("1", "1,2,3", "1,x") for line in lines)
