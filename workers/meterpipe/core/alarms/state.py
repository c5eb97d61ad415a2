"""The state of one partition of the alarms: a stage, how far it has come, and its changelog. Pure.

A snapshot holds all state; each commit after it adds the state of the channels it touched, as it is then. Restoring is
loading, rules are not applied again. Records as in core.changelog. Thresholds are no part of it: their topic is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, zip_longest

import msgspec
import numpy as np
import numpy.typing as npt

from meterpipe.core.alarms.events import Alarm, AlarmState, Place, alarm_id
from meterpipe.core.alarms.memory import KINDS, Changes, ChannelStates, Ints
from meterpipe.core.alarms.stage import Stage, Taken
from meterpipe.core.alarms.thresholds import NO_THRESHOLD
from meterpipe.core.changelog import Column, Record, arrays, decode_as, encode_snapshot, key_chunks, pack
from meterpipe.core.readings import Key

SNAPSHOT_BYTES = 64 * 1024 * 1024
DELTA_CHANNELS = 3_500
"""Of one delta record: about 150 bytes each, and bytes of new keys beside."""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """How far a partition had come at a commit. `reached`: in event time, UTC ms."""

    topic_id: str
    next_offset: int
    reached: int


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """What one commit changed, or a part of it. As a snapshot: the whole state."""

    epoch: int
    mark: Mark
    keys: list[Key]
    channels: list[Column]


class AlarmPartition:
    """The state of one partition between commits."""

    def __init__(self, stage: Stage, topic_id: str = "") -> None:
        self.stage = stage
        self.topic_id, self.next_offset, self.changed = topic_id, 0, False
        self._epoch = self._deltas = self._delta_bytes = self._known_keys = 0

    @property
    def mark(self) -> Mark:
        """How far the partition has come."""
        return Mark(self.topic_id, self.next_offset, self.stage.reached)

    def take(self, values: Sequence[bytes | None], arrived: npt.NDArray[np.int64], next_offset: int) -> Taken:
        """Take messages in log order; the partition goes on at `next_offset`."""
        taken = self.stage.take(values, arrived)
        self.next_offset = next_offset
        return taken

    def records(self, snapshot_due: bool) -> list[Record]:
        """The changelog of what was taken in since the last call: a delta, or a snapshot if one is due."""
        stage = self.stage
        stage.grow()
        touched, stage.touched = np.unique(np.concatenate([np.empty(0, np.int32), *stage.touched])), []
        if snapshot_due or not self._epoch or self._delta_bytes > SNAPSHOT_BYTES:
            return self._snapshot()
        keys = list(islice(stage.keys.ids, self._known_keys, None))
        cuts = range(0, max(1, len(touched)), DELTA_CHANNELS)  # at least one: the mark moves even when nothing changed
        parts = zip_longest(key_chunks(keys), (stage.memory.of(touched[at : at + DELTA_CHANNELS]) for at in cuts))
        nothing = stage.memory.of(touched[:0])
        encode, mark = msgspec.msgpack.Encoder().encode, self.mark
        records = [
            (f"delta/{n}", encode(Delta(self._epoch, mark, some or [], pack(states or nothing))))
            for n, (some, states) in enumerate(parts, self._deltas)
        ]
        self._deltas += len(records)
        self._delta_bytes += sum(len(value) for _, value in records)
        self._known_keys = len(stage.keys)
        return records

    def _snapshot(self) -> list[Record]:
        stage = self.stage
        self._epoch += 1
        self._deltas = self._delta_bytes = 0
        self._known_keys = len(stage.keys)
        states = stage.memory.of(np.arange(len(stage.keys), dtype=np.int32))
        return encode_snapshot(Delta(self._epoch, self.mark, list(stage.keys.ids), pack(states)))

    def restore(self, records: Iterable[tuple[str, bytes | None]]) -> bool:
        """Load the state from its changelog; False if there is none. Raises CorruptChangelogError."""
        found = decode_as(records, Delta, Delta)
        if found is None:
            return False
        parts, stage = [found[0], *found[1]], self.stage
        for part in parts:
            for key in part.keys:
                stage.keys.add(key)
        stage.grow()
        for part in parts:
            stage.memory.load(ChannelStates(*arrays(part.channels)))
        last = parts[-1]
        self.topic_id, self.next_offset, stage.reached = last.mark.topic_id, last.mark.next_offset, last.mark.reached
        self._epoch, self._deltas, self._known_keys = last.epoch, len(found[1]), len(stage.keys)
        return True

    def events(self, changes: Changes, partition: int, offset_of: Callable[[int], int]) -> Iterator[Alarm]:
        """The changes as they are told. `offset_of`: the offset of a message of the batch, by its index."""
        if not len(changes):
            return
        names = self._names(changes)
        columns = (changes.kind, changes.raised, changes.value, changes.limit, changes.threshold, changes.message)
        times = zip(_texts(changes.at), _texts(changes.raised_at), strict=True)
        rows = zip(names, times, *(column.tolist() for column in columns), strict=True)
        for (meter, metric, attribute), (at, raised_at), number, raised, value, limit, threshold, message in rows:
            kind = KINDS[number]
            yield Alarm(
                alarm_id(meter, metric, attribute, kind, raised_at),
                AlarmState.RAISED if raised else AlarmState.CLEARED,
                kind,
                meter,
                metric,
                attribute,
                at,
                raised_at,
                value if value == value else None,  # not NaN
                limit if abs(limit) < np.inf else None,
                Place(partition, threshold) if threshold != NO_THRESHOLD else None,
                Place(partition, offset_of(message)) if message >= 0 else None,
            )

    def _names(self, changes: Changes) -> Iterator[Key]:
        words = [strings.take(changes.key).to_pylist() for strings in self.stage.keys.columns]
        return zip(*words, strict=True)


def _texts(ms: Ints) -> list[str]:
    """RFC 3339, UTC, milliseconds."""
    return [text + "Z" for text in np.datetime_as_string(ms.astype("datetime64[ms]")).tolist()]


def next_offset(records: Iterable[tuple[str, bytes | None]]) -> int | None:
    """Where the input goes on by these records; None without state. Raises CorruptChangelogError."""
    found = decode_as(records, Delta, Delta)
    return None if found is None else (found[1][-1] if found[1] else found[0]).mark.next_offset
