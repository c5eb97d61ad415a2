"""The XML of a Green Button file, read as a stream of events: no tree, no DTD, no entities, bounded."""

from dataclasses import dataclass, field
from typing import NamedTuple
from xml.parsers import expat

from meterpipe.core.ingest.rows import MAX_READINGS

MAX_DEPTH = 32
MAX_ENTRIES = 20_000
MAX_TEXT = 4096
_KINDS = ("UsagePoint", "MeterReading", "ReadingType", "IntervalBlock")
_FIELDS = {
    ("UsagePoint", "ServiceCategory", "kind"): "kind",
    ("ReadingType", "uom"): "uom",
    ("ReadingType", "powerOfTenMultiplier"): "powerOfTenMultiplier",
    ("ReadingType", "accumulationBehaviour"): "accumulationBehaviour",
    ("ReadingType", "flowDirection"): "flowDirection",
}
_READING_FIELDS = {
    ("timePeriod", "start"): "start",
    ("timePeriod", "duration"): "duration",
    ("value",): "value",
    ("ReadingQuality", "quality"): "quality",
}


class EspiError(ValueError):
    """The file cannot be read, and where."""

    def __init__(self, text: str, line: int | None = None) -> None:
        super().__init__(text)
        self.line = line


@dataclass(slots=True)
class Entry:
    """One resource: what it is, its links, and the fields of it that matter."""

    kind: str = ""
    href: str = ""
    related: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


class IntervalReading(NamedTuple):
    """The texts of one reading, empty where absent."""

    number: int
    line: int
    start: str
    duration: str
    value: str
    quality: str


@dataclass(slots=True)
class Block:
    """An IntervalBlock; `href` is its entry's."""

    line: int
    href: str = ""
    readings: list[IntervalReading] = field(default_factory=list)


@dataclass(slots=True)
class Feed:
    """All of a file: resources by address, blocks in order."""

    entries: dict[str, Entry] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)


class FeedReader:
    """Reads one file."""

    def __init__(self) -> None:
        self._feed = Feed()
        self._path: list[str] = []
        self._entry: Entry | None = None
        self._blocks: list[Block] = []  # of the entry
        self._inside: dict[str, str] | None = None  # fields of the IntervalReading
        self._began = 0
        self._text: list[str] = []
        self._size = self._count = self._entries = 0
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._doctype

    def read(self, body: bytes) -> Feed:
        """The feed. Raises EspiError."""
        try:
            self._parser.Parse(body, True)
        except expat.ExpatError as error:
            raise EspiError(f"not well-formed XML: {expat.errors.messages[error.code]}", error.lineno) from error
        except (LookupError, ValueError) as error:
            if isinstance(error, EspiError):
                raise
            raise EspiError(f"the encoding of the file is not known: {error}") from error
        return self._feed

    def _fail(self, text: str) -> EspiError:
        return EspiError(text, self._parser.CurrentLineNumber)

    def _doctype(self, *_: object) -> None:
        raise self._fail("a document type declaration is not taken")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        self._path.append(local)
        if len(self._path) > MAX_DEPTH:
            raise self._fail(f"elements lie deeper than {MAX_DEPTH}")
        self._text, self._size = [], 0
        if local == "entry":
            self._entries += 1
            if self._entries > MAX_ENTRIES:
                raise self._fail(f"more than {MAX_ENTRIES} entries; send several files")
            self._entry, self._blocks = Entry(), []
        elif self._entry is None:
            return
        elif local == "link":
            self._link(attributes.get("rel", ""), attributes.get("href", ""))
        elif local == "IntervalBlock":
            self._entry.kind = local
            self._blocks.append(Block(self._parser.CurrentLineNumber))
        elif local == "IntervalReading" and self._blocks:
            self._inside, self._began = {}, self._parser.CurrentLineNumber
        elif local in _KINDS and not self._entry.kind:
            self._entry.kind = local

    def _link(self, relation: str, address: str) -> None:
        assert self._entry is not None
        if relation == "self":
            self._entry.href = address
        elif relation == "related":
            self._entry.related.append(address)

    def _characters(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_TEXT:
            raise self._fail(f"a text is longer than {MAX_TEXT} characters")
        self._text.append(text)

    def _end(self, _name: str) -> None:
        local = self._path.pop()
        text = "".join(self._text).strip()
        self._text, self._size = [], 0
        if self._entry is None:
            return
        if local == "entry":
            self._close_entry(self._entry)
        elif self._inside is not None:
            self._in_reading(local, text)
        elif text:
            for parents, name in _FIELDS.items():
                if local == parents[-1] and tuple(self._path[1 - len(parents) :]) == parents[:-1]:
                    self._entry.fields[name] = text

    def _in_reading(self, local: str, text: str) -> None:
        """The end of an IntervalReading or of something in it."""
        assert self._inside is not None
        if local == "IntervalReading":
            found, self._inside = self._inside, None
            texts = (found.get(name, "") for name in ("start", "duration", "value", "quality"))
            self._blocks[-1].readings.append(IntervalReading(self._count, self._began, *texts))
            self._count += 1
            if self._count > MAX_READINGS:
                raise self._fail(f"more than {MAX_READINGS} readings; send several files")
            return
        below = self._path[self._path.index("IntervalReading") + 1 :]
        name = _READING_FIELDS.get((*below, local))
        if name is not None:
            self._inside[name] = text

    def _close_entry(self, entry: Entry) -> None:
        if entry.href:
            self._feed.entries[entry.href] = entry
        for block in self._blocks:
            block.href = entry.href
        self._feed.blocks += self._blocks
        self._entry = None
