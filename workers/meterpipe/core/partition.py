"""One partition of the aggregator: messages in, results and changelog out. Pure; the transaction is elsewhere."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from operator import attrgetter

import msgspec
import numpy as np
import numpy.typing as npt

from meterpipe.core import changelog
from meterpipe.core.balance import Balance
from meterpipe.core.changelog import Mark, Record, Snapshot
from meterpipe.core.codecs import Admit, Decoder, admit_any
from meterpipe.core.deadletters import Reason, Reject
from meterpipe.core.readings import EMPTY, NO_SAMPLES, KeyTable, Readings, Samples
from meterpipe.core.resize import resized
from meterpipe.core.windows import Closed, Open, WindowPolicy, Windows

SNAPSHOT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Taken:
    """What of a batch did not go into windows. `late` readings name their messages and rows."""

    late: Readings = EMPTY
    rejects: list[Reject] = field(default_factory=list)


class Partition:
    """The state of one partition between commits."""

    def __init__(
        self, policy: WindowPolicy, decoder: Decoder, max_ahead_ms: int, admit: Admit = admit_any, topic_id: str = ""
    ) -> None:
        self.keys = KeyTable()
        self.windows = Windows(policy)
        self.balance = Balance()
        self.next_offset = 0
        self.topic_id = topic_id
        self.changed = False  # by a restore, and not in the changelog yet
        self._decoder, self._admit, self._max_ahead_ms = decoder, admit, max_ahead_ms
        self._epoch = self._deltas = self._delta_bytes = self._known_keys = 0
        self._new: list[Samples] = []

    def take(self, values: Sequence[bytes | None], arrived: npt.NDArray[np.int64], next_offset: int) -> Taken:
        """Take messages in log order, which Kafka got at `arrived`; the partition goes on at `next_offset`."""
        decoded = self._decoder.decode(values, self.keys, self._admit)
        readings, ahead = screen_ahead(decoded.readings, arrived, self._max_ahead_ms)
        rejects = sorted(decoded.rejects + ahead, key=attrgetter("message")) if ahead else decoded.rejects
        late = self._add(readings, decoded.controls)
        dead = sum(reject.count for reject in rejects)
        self.balance += Balance(raw=len(readings) + dead, late=len(late), dead_letters=dead)
        self.next_offset = next_offset
        return Taken(late, rejects)

    def _add(self, readings: Readings, controls: list[tuple[int, int]]) -> Readings:
        """Add readings, minding control records between them; gives back the late ones."""
        late, start = [EMPTY], 0
        for message, event_time in controls:
            cut = int(np.searchsorted(readings.message, message))
            late.append(self._add_run(readings.take(slice(start, cut))))
            self.windows.advance(event_time - self.windows.policy.grace_ms)
            start = cut
        late.append(self._add_run(readings.take(slice(start, None)) if start else readings))
        return Readings.concat(late)

    def _add_run(self, readings: Readings) -> Readings:
        samples = Samples(readings.key, readings.ts, readings.value, readings.quality, readings.revision)
        late = self.windows.add(samples)
        if late is None:
            self._new.append(samples)
            return EMPTY
        self._new.append(samples.take(~late))
        return readings.take(late)

    def close(self) -> Closed:
        """Results of the windows that the watermark has passed."""
        closed = self.windows.close()
        settled = closed.counted + closed.duplicates + closed.superseded
        if settled:
            self.balance += Balance(windows=closed.counted, duplicates=closed.duplicates, superseded=closed.superseded)
        return closed

    @property
    def mark(self) -> Mark:
        """How far the partition has come."""
        balance = msgspec.structs.replace(self.balance, open=self.windows.open_readings)
        return Mark(self.topic_id, self.next_offset, self.windows.watermark, balance)

    def records(self, snapshot_due: bool) -> list[Record]:
        """The changelog of what was taken in since the last call: a delta, or a snapshot if one is due."""
        new, self._new = Samples.concat([NO_SAMPLES, *self._new]), []
        if snapshot_due or self.changed or not self._epoch or self._delta_bytes > SNAPSHOT_BYTES:
            return self._snapshot()
        keys = list(islice(self.keys.ids, self._known_keys, None))
        records = changelog.encode_deltas(self._epoch, self._deltas, self.mark, keys, new)
        self._known_keys = len(self.keys)
        self._deltas += len(records)
        self._delta_bytes += sum(len(value) for _, value in records)
        return records

    def _snapshot(self) -> list[Record]:
        state, policy = self._evict(), self.windows.policy
        self._epoch += 1
        self._deltas = self._delta_bytes = 0
        self.changed = False
        self._known_keys = len(self.keys)
        return changelog.encode_snapshot(
            Snapshot(
                epoch=self._epoch,
                mark=self.mark,
                sizes_ms=list(policy.sizes_ms),
                drop_duplicates=policy.drop_duplicates,
                keys=list(self.keys.ids),
                samples=changelog.pack(state.samples),
                rows=list(map(changelog.pack, state.rows)),
                kept=list(map(changelog.pack, state.kept)),
                begins=state.begins,
                floor=state.floor,
            )
        )

    def _evict(self) -> Open:
        """Forget keys without an open window: ids are dealt anew. Gives back all that is open."""
        state = self.windows.state()
        used = np.zeros(len(self.keys), bool)
        for keys in (state.samples.key, *(rows.key for rows in (*state.rows, *state.kept))):
            used[keys] = True
        if used.all():
            return state
        state = state.rekeyed(np.cumsum(used, dtype=np.int32) - np.int32(1))
        self.keys = KeyTable(key for key, keep in zip(self.keys.ids, used.tolist(), strict=True) if keep)
        self.windows.load(state)
        return state

    def restore(self, records: Iterable[tuple[str, bytes | None]]) -> bool:
        """Load the state from its changelog; False if there is none. Raises CorruptChangelogError.

        The state may come from another policy; it is brought under this one then, and `changed` is set.
        """
        found = changelog.decode(records)
        if found is None:
            return False
        snapshot, deltas = found
        self.keys = KeyTable(snapshot.keys)
        policy = self.windows.policy
        written = replace(policy, sizes_ms=tuple(snapshot.sizes_ms), drop_duplicates=snapshot.drop_duplicates)
        windows = _reopened(snapshot, written)
        mark = snapshot.mark
        for mark, parts in groupby(deltas, key=attrgetter("mark")):
            for delta in parts:
                for key in delta.keys:
                    self.keys.add(key)
                windows.hold(changelog.unpack_samples(delta.samples))
            windows.advance(mark.watermark)
            windows.close()  # its results were put out by the transaction that wrote the delta
        self.changed = written != policy
        self.windows = resized(windows, policy) if self.changed else windows
        self.topic_id, self.next_offset = mark.topic_id, mark.next_offset
        self.balance = msgspec.structs.replace(mark.balance, open=0)  # what is open is told by the windows
        self._epoch, self._deltas, self._known_keys = snapshot.epoch, len(deltas), len(self.keys)
        self._new = []
        return True


def _reopened(snapshot: Snapshot, policy: WindowPolicy) -> Windows:
    windows = Windows(policy, snapshot.mark.watermark)
    windows.load(
        Open(
            changelog.unpack_samples(snapshot.samples),
            list(map(changelog.unpack_aggregates, snapshot.rows)),
            list(map(changelog.unpack_aggregates, snapshot.kept)),
            snapshot.begins,
            snapshot.floor,
        )
    )
    return windows


def screen_ahead(
    readings: Readings, arrived: npt.NDArray[np.int64], max_ahead_ms: int
) -> tuple[Readings, list[Reject]]:
    """Sort out readings from the future, later than their record by more than `max_ahead_ms`.

    They must never move the watermark: one meter with a wrong clock would close everybody's windows.
    """
    if not len(readings) or int(readings.ts.max()) <= int(arrived.min()) + max_ahead_ms:
        return readings, []
    got = arrived[readings.message]
    ahead = readings.ts > got + max_ahead_ms
    if not ahead.any():
        return readings, []
    rejects = []
    for message in np.unique(readings.message[ahead]).tolist():
        mine = readings.message == message
        rows, worst = readings.row[ahead & mine], int(readings.ts[ahead & mine].max())
        received = int(got[mine][0])
        detail = f"timestamp {worst} is {(worst - received) / 1000:.0f} s ahead of its record ({received})"
        rejects.append(Reject(message, Reason.TOO_FAR_AHEAD, detail, tuple(rows.tolist())))
    return readings.take(~ahead), rejects
