"""Log lines: JSON for machines, plain for people."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest
from meterpipe.adapters.logging import configure

log = logging.getLogger("meterpipe.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_put_back() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("meterpipe")
    before = (root.handlers[:], root.level, own.level, sys.excepthook)
    yield
    root.handlers[:], sys.excepthook = before[0], before[3]
    root.setLevel(before[1])
    own.setLevel(before[2])
    logging.captureWarnings(False)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_line_of_json_with_its_fields():
    stream = io.StringIO()
    configure("INFO", stream, worker="sink", pipeline="local/demo")
    log.info("wrote %d rows", 3, extra={"table": "t", "seconds": 0.5, "tags": {"a": 1}})
    (line,) = lines(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line.pop("time")))
    assert line == {
        "level": "INFO",
        "logger": "meterpipe.test",
        "message": "wrote 3 rows",
        "worker": "sink",
        "pipeline": "local/demo",
        "table": "t",
        "seconds": 0.5,
        "tags": {"a": 1},
    }


def test_a_trace_stays_on_the_line():
    stream = io.StringIO()
    configure("INFO", stream)
    try:
        raise KeyError("x")
    except KeyError:
        log.exception("failed\nbadly")
    (line,) = lines(stream)
    assert "KeyError" in str(line["exception"])
    assert line["message"] == "failed\nbadly"


def test_what_json_cannot_say_is_said_as_text():
    stream = io.StringIO()
    configure("INFO", stream)
    log.info("odd", extra={"nan": float("nan"), "error": ValueError("x"), "kind": int})
    (line,) = lines(stream)
    assert (line["nan"], line["error"], line["kind"]) == (None, "x", "<class 'int'>")


def test_on_a_terminal_lines_are_for_people(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    configure("INFO", stream, worker="sink")
    log.warning("lag grows", extra={"records": 5})
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} WARNING lag grows records=5\n", stream.getvalue())


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    configure("INFO", stream)
    log.warning("lag grows")
    assert "\x1b[33mWARNING\x1b[0m" in stream.getvalue()


def test_the_level_is_that_of_the_pipeline_and_libraries_are_quieter():
    stream = io.StringIO()
    configure("INFO", stream)
    log.debug("no")
    log.info("yes")
    logging.getLogger("urllib3").info("no")
    logging.getLogger("urllib3").warning("yes")
    assert [line["message"] for line in lines(stream)] == ["yes", "yes"]


def test_an_uncaught_exception_is_a_line_too():
    stream = io.StringIO()
    configure("INFO", stream)
    try:
        raise KeyError("x")
    except KeyError as problem:
        sys.excepthook(KeyError, problem, problem.__traceback__)
    (line,) = lines(stream)
    assert (line["level"], line["message"]) == ("CRITICAL", "uncaught KeyError")
