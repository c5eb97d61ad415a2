"""The oracle once more, a reading at a time with dictionaries: slow, plain, and the judge of the fast one."""

from collections import defaultdict
from dataclasses import dataclass

from meterpipe.core.quality import rank_of
from meterpipe.datasets.oracle import Balance, Control, Rules


@dataclass(frozen=True)
class Row:
    partition: int
    order: int
    key: tuple[str, str, str]
    ts: int
    value: float
    quality: int = 0
    revision: int = 0
    appended: int | None = None


def expect_slowly(log: list[Row], rules: Rules, controls: list[Control] = []) -> tuple[dict[int, dict], Balance]:  # noqa: B006
    """Windows by size: {(key, start): (count, min, max, sum, first, last)}, and the balance."""
    accepted: dict[tuple, list[Row]] = defaultdict(list)
    late = dead = 0
    smallest = rules.windows[0] * 1000
    for partition in {r.partition for r in log}:
        reached = None
        events = [(r.order, 0, r) for r in log if r.partition == partition]
        events += [(c.order, 1, c) for c in controls if c.partition == partition]
        for _, _, event in sorted(events, key=lambda e: e[:2]):
            if isinstance(event, Control):
                reached = event.event_time if reached is None else max(reached, event.event_time)
                continue
            if event.appended is not None and event.ts > event.appended + rules.max_ahead * 1000:
                dead += 1
                continue
            window_end = event.ts // smallest * smallest + smallest
            if reached is not None and window_end <= reached - rules.grace * 1000:
                late += 1
            else:
                accepted[event.key, event.ts].append(event)
            reached = event.ts if reached is None else max(reached, event.ts)
    duplicates = superseded = 0
    counted: list[Row] = []
    for rivals in accepted.values():
        rivals.sort(key=lambda r: (-r.revision, rank_of(r.quality), r.partition, r.order))
        if not rules.drop_duplicates:
            counted += rivals
            continue
        winner, *losers = rivals
        counted.append(winner)
        equal = sum(loser.value == winner.value for loser in losers)
        duplicates += equal
        superseded += len(losers) - equal
    counted.sort(key=lambda r: (r.ts, r.partition, r.order))
    windows: dict[int, dict] = {}
    for size in rules.windows:
        groups: dict[tuple, list[float]] = defaultdict(list)
        for row in counted:
            groups[row.key, row.ts // (size * 1000) * size * 1000].append(row.value)
        windows[size] = {k: (len(v), min(v), max(v), sum(v), v[0], v[-1]) for k, v in groups.items()}
    return windows, Balance(len(log), len(counted), duplicates, superseded, late, dead)
