"""The state of one partition of the validation: a stage, how far it has come, and its changelog. Pure.

A snapshot holds all state; each commit after it adds the state of the channels it touched, as it is then, and the
instants it accepted. Restoring is loading, rules are not applied again. Records as in core.changelog.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest

import msgspec
import numpy as np
import numpy.typing as npt

from meterpipe.core.changelog import Column, Record, arrays, decode_as, encode_snapshot, key_chunks, pack
from meterpipe.core.codecs import Admit, Decoder, admit_any
from meterpipe.core.columns import Columns
from meterpipe.core.readings import Key
from meterpipe.core.validation.memory import NO_INSTANTS, Instants
from meterpipe.core.validation.register import Held
from meterpipe.core.validation.series import BEFORE
from meterpipe.core.validation.stage import Judged, Stage, Tally
from meterpipe.spec.validation import Validation

SNAPSHOT_BYTES = 64 * 1024 * 1024
DELTA_CHANNELS, DELTA_INSTANTS, DELTA_HELD = 7_000, 25_000, 10_000
"""Rows of one delta record: about 80, 24 and 40 bytes each, and bytes of new keys beside."""


@dataclass(frozen=True, slots=True)
class ChannelStates(Columns):
    """What is known of some channels."""

    key: npt.NDArray[np.int32]
    newest: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]  # shape (n x BEFORE,)
    count: npt.NDArray[np.uint8]
    flat: npt.NDArray[np.int32]
    base_ts: npt.NDArray[np.int64]
    base: npt.NDArray[np.float64]
    changed: npt.NDArray[np.int64]
    epoch: npt.NDArray[np.int32]
    known: npt.NDArray[np.bool_]


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """How far a partition had come at a commit."""

    topic_id: str
    next_offset: int
    tally: Tally


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """What one commit changed, or a part of it. `held`: of a channel that waits now, or did (then none)."""

    epoch: int
    mark: Mark
    keys: list[Key]
    channels: list[Column]
    instants: list[Column]
    held: dict[int, list[Held]]


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """The whole state."""

    epoch: int
    mark: Mark
    keys: list[Key]
    channels: list[Column]
    instants: list[Column]
    held: dict[int, list[Held]]


class ValidationPartition:
    """The state of one partition between commits."""

    def __init__(
        self, spec: Validation, decoder: Decoder, max_ahead_ms: int, admit: Admit = admit_any, topic_id: str = ""
    ) -> None:
        self.stage = Stage(spec, decoder, max_ahead_ms, admit)
        self.topic_id, self.next_offset, self.changed = topic_id, 0, False
        self._epoch = self._deltas = self._delta_bytes = self._known_keys = 0
        self._waited: set[int] = set()  # channels that waited at the last commit

    @property
    def tally(self) -> Tally:
        """What became of the readings."""
        return self.stage.tally

    @property
    def mark(self) -> Mark:
        """How far the partition has come."""
        return Mark(self.topic_id, self.next_offset, self.tally)

    def take(self, values: Sequence[bytes | None], arrived: npt.NDArray[np.int64], next_offset: int) -> Judged:
        """Take messages in log order; the partition goes on at `next_offset`."""
        judged = self.stage.take(values, arrived)
        self.next_offset = next_offset
        return judged

    def records(self, snapshot_due: bool) -> list[Record]:
        """The changelog of what was taken in since the last call: a delta, or a snapshot if one is due."""
        judge = self.stage.judge
        touched, judge.touched = judge.touched, []
        instants, judge.remembered = Instants.concat([NO_INSTANTS, *judge.remembered]), []
        if snapshot_due or not self._epoch or self._delta_bytes > SNAPSHOT_BYTES:
            return self._snapshot()
        keys = list(islice(judge.keys.ids, self._known_keys, None))
        changed = np.unique(np.concatenate([np.empty(0, np.int32), *touched]))
        held = {key: judge.bases.held.get(key, []) for key in {*self._waited, *judge.bases.held}}
        records = self._encode(keys, changed, instants, held)
        self._settle(len(records))
        self._delta_bytes += sum(len(value) for _, value in records)
        return records

    def _encode(
        self, keys: list[Key], changed: npt.NDArray[np.int32], instants: Instants, held: dict[int, list[Held]]
    ) -> list[Record]:
        """One commit's delta in records; at least one, as the mark moves even when nothing changed."""
        encode, mark = msgspec.msgpack.Encoder().encode, self.mark
        parts = zip_longest(
            key_chunks(keys),
            [changed[at : at + DELTA_CHANNELS] for at in range(0, max(1, len(changed)), DELTA_CHANNELS)],
            [instants.take(slice(at, at + DELTA_INSTANTS)) for at in range(0, len(instants), DELTA_INSTANTS)],
            _pieces(held),
        )
        return [
            (
                f"delta/{self._deltas + n}",
                encode(
                    Delta(
                        self._epoch,
                        mark,
                        some or [],
                        pack(self._channels(np.empty(0, np.int32) if ids is None else ids)),
                        pack(NO_INSTANTS if added is None else added),
                        waiting or {},
                    )
                ),
            )
            for n, (some, ids, added, waiting) in enumerate(parts)
        ]

    def _settle(self, deltas: int) -> None:
        self._deltas += deltas
        self._known_keys = len(self.stage.judge.keys)
        self._waited = set(self.stage.judge.bases.held)

    def _channels(self, ids: npt.NDArray[np.int32]) -> ChannelStates:
        series, bases = self.stage.judge.series, self.stage.judge.bases
        return ChannelStates(
            ids,
            series.newest[ids],
            series.values[ids].ravel(),
            series.count[ids],
            series.flat[ids],
            bases.ts[ids],
            bases.value[ids],
            bases.changed[ids],
            bases.epoch[ids],
            bases.known[ids],
        )

    def _snapshot(self) -> list[Record]:
        judge = self.stage.judge
        judge.grow()
        judge.memory.prune(judge.series.newest, force=True)
        self._epoch += 1
        self._deltas = self._delta_bytes = 0
        self._settle(0)
        return encode_snapshot(
            Snapshot(
                self._epoch,
                self.mark,
                list(judge.keys.ids),
                pack(self._channels(np.arange(len(judge.keys), dtype=np.int32))),
                pack(judge.memory.all()),
                dict(judge.bases.held),
            )
        )

    def restore(self, records: Iterable[tuple[str, bytes | None]]) -> bool:
        """Load the state from its changelog; False if there is none. Raises CorruptChangelogError."""
        found = decode_as(records, Snapshot, Delta)
        if found is None:
            return False
        snapshot, deltas = found
        parts: list[Snapshot | Delta] = [snapshot, *deltas]
        for part in parts:
            for key in part.keys:
                self.stage.judge.keys.add(key)
        self.stage.judge.grow()
        for part in parts:
            self._load(part)
        last = deltas[-1] if deltas else snapshot
        self.topic_id, self.next_offset = last.mark.topic_id, last.mark.next_offset
        self.stage.tally = last.mark.tally
        self._epoch, self._deltas = snapshot.epoch, 0
        self._settle(len(deltas))
        return True

    def _load(self, part: Snapshot | Delta) -> None:
        judge = self.stage.judge
        states = ChannelStates(*arrays(part.channels))
        series, bases, ids = judge.series, judge.bases, states.key
        series.newest[ids], series.count[ids], series.flat[ids] = states.newest, states.count, states.flat
        series.values[ids] = states.values.reshape(-1, BEFORE)
        bases.ts[ids], bases.value[ids], bases.changed[ids] = states.base_ts, states.base, states.changed
        bases.epoch[ids], bases.known[ids] = states.epoch, states.known
        judge.memory.add(Instants(*arrays(part.instants)))
        for number, held in part.held.items():
            if held:
                bases.held[number] = held
            else:
                bases.held.pop(number, None)


def _pieces(held: dict[int, list[Held]]) -> list[dict[int, list[Held]]]:
    """`held` in parts of so many readings."""
    pieces: list[dict[int, list[Held]]] = []
    room = 0
    for key, readings in held.items():
        if room <= 0:
            pieces.append({})
            room = DELTA_HELD
        pieces[-1][key] = readings
        room -= 1 + len(readings)
    return pieces


def next_offset(records: Iterable[tuple[str, bytes | None]]) -> int | None:
    """Where the input goes on by these records; None without state. Raises CorruptChangelogError."""
    found = decode_as(records, Snapshot, Delta)
    return None if found is None else (found[1][-1] if found[1] else found[0]).mark.next_offset
