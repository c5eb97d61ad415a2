"""One partition of the aggregator: messages in, results and changelog out. Pure; the transaction is elsewhere."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import msgspec
import numpy as np
import numpy.typing as npt

from meterpipe.core import changelog
from meterpipe.core.balance import Balance
from meterpipe.core.changelog import Mark, Record, Snapshot
from meterpipe.core.codecs import Admit, Decoder, admit_any
from meterpipe.core.deadletters import Reason, Reject
from meterpipe.core.readings import EMPTY, NO_SAMPLES, KeyTable, Readings, Samples
from meterpipe.core.windows import Closed, WindowPolicy, Windows

SNAPSHOT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Taken:
    """What of a batch did not go into windows. `late` readings name their messages and rows."""

    late: Readings = EMPTY
    rejects: list[Reject] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RecordTimes:
    """When Kafka got the messages of a batch, UTC ms.

    `floor` is a lower bound of all of them (the first one's time, where the broker stamps records and so times ascend);
    `exact` costs a look at each message and is asked only when the bound does not settle the matter.
    """

    exact: Callable[[], npt.NDArray[np.int64]]
    floor: int | None = None


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
        self._decoder, self._admit, self._max_ahead_ms = decoder, admit, max_ahead_ms
        self._epoch = self._deltas = self._delta_bytes = self._known_keys = 0
        self._new: list[Samples] = []

    def take(self, values: Sequence[bytes | None], times: RecordTimes, next_offset: int) -> Taken:
        """Take messages in log order; the partition goes on at `next_offset`."""
        decoded = self._decoder.decode(values, self.keys, self._admit)
        readings, ahead = screen_ahead(decoded.readings, times, self._max_ahead_ms)
        rejects = decoded.rejects + ahead
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
        if snapshot_due or not self._epoch or self._delta_bytes > SNAPSHOT_BYTES:
            return self._snapshot()
        keys = list(islice(self.keys.ids, self._known_keys, None))
        records = changelog.encode_deltas(self._epoch, self._deltas, self.mark, keys, new)
        self._known_keys = len(self.keys)
        self._deltas += len(records)
        self._delta_bytes += sum(len(value) for _, value in records)
        return records

    def _snapshot(self) -> list[Record]:
        self._evict()
        samples, rows = self.windows.state()
        self._epoch += 1
        self._deltas = self._delta_bytes = 0
        self._known_keys = len(self.keys)
        return changelog.encode_snapshot(
            Snapshot(
                epoch=self._epoch,
                mark=self.mark,
                sizes_ms=list(self.windows.policy.sizes_ms),
                keys=list(self.keys.ids),
                samples=changelog.pack(samples),
                rows=[changelog.pack(level) for level in rows],
            )
        )

    def _evict(self) -> None:
        """Forget keys without an open window: ids are dealt anew."""
        samples, rows = self.windows.state()
        used = np.zeros(len(self.keys), bool)
        for column in (samples.key, *(level.key for level in rows)):
            used[column] = True
        if used.all():
            return
        ids = np.cumsum(used, dtype=np.int32) - np.int32(1)
        self.keys = KeyTable(key for key, keep in zip(self.keys.ids, used.tolist(), strict=True) if keep)
        self.windows.load(
            replace(samples, key=ids[samples.key]), [replace(level, key=ids[level.key]) for level in rows]
        )

    def restore(self, records: Iterable[tuple[str, bytes | None]]) -> bool:
        """Load the state from its changelog; False if there is none. Raises CorruptChangelogError."""
        found = changelog.decode(records)
        if found is None:
            return False
        snapshot, deltas = found
        self.keys = KeyTable(snapshot.keys)
        self.windows.watermark = snapshot.mark.watermark
        self.windows.load(
            changelog.unpack_samples(snapshot.samples), [changelog.unpack_aggregates(level) for level in snapshot.rows]
        )
        mark = snapshot.mark
        for delta in deltas:
            for key in delta.keys:
                self.keys.add(key)
            self.windows.hold(changelog.unpack_samples(delta.samples))
            mark = delta.mark
            self.windows.advance(mark.watermark)
            self.windows.close()  # its results were put out by the transaction that wrote the delta
        self.topic_id, self.next_offset = mark.topic_id, mark.next_offset
        self.balance = msgspec.structs.replace(mark.balance, open=0)  # what is open is told by the windows
        self._epoch, self._deltas, self._known_keys = snapshot.epoch, len(deltas), len(self.keys)
        self._new = []
        return True


def screen_ahead(readings: Readings, times: RecordTimes, max_ahead_ms: int) -> tuple[Readings, list[Reject]]:
    """Sort out readings from the future, later than their record by more than `max_ahead_ms`.

    They must never move the watermark: one meter with a wrong clock would close everybody's windows.
    """
    if not len(readings) or (times.floor is not None and int(readings.ts.max()) <= times.floor + max_ahead_ms):
        return readings, []
    got = times.exact()[readings.message]
    ahead = readings.ts > got + max_ahead_ms
    if not ahead.any():
        return readings, []
    rejects = []
    for message in np.unique(readings.message[ahead]).tolist():
        mine = readings.message == message
        rows, worst = readings.row[ahead & mine], int(readings.ts[ahead & mine].max())
        received = int(got[mine][0])
        detail = f"timestamp {worst} is {(worst - received) / 1000:.0f} s ahead of its record ({received})"
        rejects.append(
            Reject(message, Reason.TOO_FAR_AHEAD, detail, tuple(rows.tolist()) if int(mine.sum()) > 1 else ())
        )
    return readings.take(~ahead), rejects
