"""Structured logs: one JSON object a line, or plain lines on a terminal. `extra={...}` of a call becomes fields."""

import logging
import os
import sys
from datetime import UTC, datetime
from typing import IO

import msgspec

_COLOURS = {"DEBUG": "\x1b[2m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}
_RESET = "\x1b[0m"
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_encoder = msgspec.json.Encoder(enc_hook=str)


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, the constant fields, the extra ones, exception."""

    def __init__(self, **constant: str) -> None:
        super().__init__()
        self._constant = constant

    def format(self, record: logging.LogRecord) -> str:
        """One line; a field of `extra` never hides one of ours."""
        line = {
            **extras(record),
            "time": timestamp(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._constant,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encoder.encode(line).decode()


class PlainLines(logging.Formatter):
    """A record for human eyes; the extra fields as name=value."""

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the trace below it."""
        level = f"{record.levelname:<7}"
        if self._colour and record.levelname in _COLOURS:
            level = f"{_COLOURS[record.levelname]}{level}{_RESET}"
        fields = "".join(f" {name}={value}" for name, value in extras(record).items())
        line = f"{timestamp(record)[11:23]} {level} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def extras(record: logging.LogRecord) -> dict[str, object]:
    """The fields given by `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _OWN}


def timestamp(record: logging.LogRecord) -> str:
    """RFC 3339, UTC, milliseconds."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def configure(level: str, stream: IO[str] | None = None, **constant: str) -> None:
    """Send all logs to `stream` (standard error): plain on a terminal, else JSON with the `constant` fields.

    Libraries are heard from WARNING on only, unless `level` is DEBUG. Uncaught exceptions are logged too.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    on_terminal = stream.isatty()
    handler.setFormatter(PlainLines(not os.environ.get("NO_COLOR")) if on_terminal else JsonLines(**constant))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel("DEBUG" if level == "DEBUG" else "WARNING")
    logging.getLogger("meterpipe").setLevel(level)
    logging.captureWarnings(True)
    sys.excepthook = lambda kind, problem, trace: logging.getLogger("meterpipe").critical(
        "uncaught %s", kind.__name__, exc_info=(kind, problem, trace)
    )
