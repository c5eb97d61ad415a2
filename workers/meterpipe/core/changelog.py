"""The aggregator's state as records of a compacted topic, and back.

A snapshot is the whole state of a partition, cut into records `snap/<chunk>`. After it, each commit adds what it took
in as records `delta/<n>`, n beginning at 0 again with each snapshot, so that compaction bounds the topic. Every record
carries the snapshot's epoch: records of an older epoch are left-overs and ignored. Restoring is loading the snapshot
and taking in the deltas again; their results have been put out by the transactions that wrote them.
"""

import struct
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np

from meterpipe.core.aggregates import Aggregates
from meterpipe.core.balance import Balance
from meterpipe.core.columns import Columns
from meterpipe.core.readings import NO_SAMPLES, Key, Samples

CHUNK_BYTES = 800_000
"""Of a snapshot in one record; brokers take 1 MB by default."""
DELTA_ROWS, DELTA_KEY_BYTES = 20_000, 300_000
"""Samples in one delta record, 23 bytes each, and bytes of new keys."""

Record = tuple[str, bytes]
Column = tuple[str, bytes]
"""numpy type string and the bytes"""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """How far a partition had come at a commit."""

    topic_id: str  # a recreated topic has another
    next_offset: int
    watermark: int
    balance: Balance


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """What one commit took in, or a part of it: the mark is the commit's in each."""

    epoch: int
    mark: Mark
    keys: list[Key]
    samples: list[Column]


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """The whole state of a partition."""

    epoch: int
    mark: Mark
    sizes_ms: list[int]
    drop_duplicates: bool
    keys: list[Key]
    samples: list[Column]
    rows: list[list[Column]]  # the other fields as in windows.Open
    kept: list[list[Column]]
    begins: list[int]
    floor: int


class CorruptChangelogError(Exception):
    """The changelog of a partition does not hold one whole state. It has no way on but a rebuild from the readings."""


def pack(columns: Columns) -> list[Column]:
    """The columns' bytes, in the order of the fields."""
    values = [getattr(columns, name) for name in columns.__dataclass_fields__]
    return [(column.dtype.str, np.ascontiguousarray(column).tobytes()) for column in values]


def unpack_samples(columns: list[Column]) -> Samples:
    """What `pack` made of samples."""
    return Samples(*arrays(columns))


def unpack_aggregates(columns: list[Column]) -> Aggregates:
    """What `pack` made of aggregates."""
    return Aggregates(*arrays(columns))


def arrays(columns: list[Column]) -> list[Any]:
    """The columns' values, read-only."""
    return [np.frombuffer(data, np.dtype(kind)) for kind, data in columns]


def encode_deltas(epoch: int, first: int, mark: Mark, keys: list[Key], samples: Samples) -> list[Record]:
    """Records of one commit, numbered from `first`; at least one, as the mark moves even when no sample came."""
    pieces = [samples.take(slice(cut, cut + DELTA_ROWS)) for cut in range(0, max(1, len(samples)), DELTA_ROWS)]
    parts = zip_longest(key_chunks(keys), pieces, fillvalue=None)
    encode = msgspec.msgpack.Encoder().encode
    return [
        (f"delta/{first + n}", encode(Delta(epoch, mark, some or [], pack(NO_SAMPLES if piece is None else piece))))
        for n, (some, piece) in enumerate(parts)
    ]


def key_chunks(keys: list[Key]) -> list[list[Key]]:
    """`keys` in lists of about DELTA_KEY_BYTES."""
    chunks: list[list[Key]] = []
    room = 0
    for key in keys:
        size = 16 + len("".join(key).encode())
        if size > room:
            chunks.append([])
            room = DELTA_KEY_BYTES
        chunks[-1].append(key)
        room -= size
    return chunks


_PIECE = struct.Struct(">qii")  # epoch, piece, pieces


class Numbered(Protocol):
    """A snapshot, or what was added to it: both carry the snapshot's epoch."""

    @property
    def epoch(self) -> int:
        """Of the snapshot."""


S = TypeVar("S", bound=Numbered)
D = TypeVar("D", bound=Numbered)


def encode_snapshot(snapshot: Numbered) -> list[Record]:
    """Records of a snapshot."""
    data = msgspec.msgpack.encode(snapshot)
    pieces = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
    return [(f"snap/{n}", _PIECE.pack(snapshot.epoch, n, len(pieces)) + piece) for n, piece in enumerate(pieces)]


def decode(records: Iterable[tuple[str, bytes | None]]) -> tuple[Snapshot, list[Delta]] | None:
    """The newest snapshot and its deltas in order, or None if there is no state.

    `records`: (key, value) in log order; of equal keys the last counts, as compaction has it.

    Raises CorruptChangelogError.
    """
    return decode_as(records, Snapshot, Delta)


def next_offset(records: Iterable[tuple[str, bytes | None]]) -> int | None:
    """Where the input goes on by these records; None without state. Raises CorruptChangelogError."""
    found = decode(records)
    return None if found is None else (found[1][-1] if found[1] else found[0]).mark.next_offset


def decode_as(
    records: Iterable[tuple[str, bytes | None]], snapshot_type: type[S], delta_type: type[D]
) -> tuple[S, list[D]] | None:
    """As `decode`, of another worker's state."""
    try:
        return _decode_as(records, snapshot_type, delta_type)
    except (msgspec.DecodeError, UnicodeDecodeError, struct.error) as problem:
        raise CorruptChangelogError(f"a record cannot be read: {problem}") from problem


def _decode_as(
    records: Iterable[tuple[str, bytes | None]], snapshot_type: type[S], delta_type: type[D]
) -> tuple[S, list[D]] | None:
    latest = {key: value for key, value in records if value is not None}
    pieces = {key: value for key, value in latest.items() if key.startswith("snap/")}
    if not pieces:
        if latest:
            raise CorruptChangelogError("deltas without a snapshot")
        return None
    epoch = max(_PIECE.unpack_from(value)[0] for value in pieces.values())
    data, expected = [], None
    for n in range(len(pieces)):
        value = pieces.get(f"snap/{n}")
        if value is None or _PIECE.unpack_from(value)[0] != epoch:
            break
        expected = _PIECE.unpack_from(value)[2]
        data.append(value[_PIECE.size :])
        if len(data) == expected:
            break
    if len(data) != expected:
        raise CorruptChangelogError(f"snapshot {epoch} has {len(data)} of {expected} pieces")
    snapshot = msgspec.msgpack.decode(b"".join(data), type=snapshot_type)
    return snapshot, _deltas(latest, epoch, delta_type)


def _deltas(latest: dict[str, bytes], epoch: int, delta_type: type[D]) -> list[D]:
    decoder = msgspec.msgpack.Decoder(delta_type)
    deltas: list[D] = []
    while (value := latest.get(f"delta/{len(deltas)}")) is not None:
        delta = decoder.decode(value)
        if delta.epoch != epoch:
            break
        deltas.append(delta)
    return deltas
