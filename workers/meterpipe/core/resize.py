"""Live state under other window sizes: what a change of `aggregator.windows` does to windows that are open.

A kept size keeps what its open windows hold. A new size begins at its next boundary, as the readings before it are gone
into results. A removed size comes out once more with what its closed smaller windows have given. Grace needs nothing of
this: the watermark never falls, so it grows from the next readings on, and shrinks with the next of them.
"""

from meterpipe.core.aggregates import NONE, Aggregates
from meterpipe.core.reduce import merge_rows
from meterpipe.core.windows import NEVER, Open, WindowPolicy, Windows


def resized(windows: Windows, policy: WindowPolicy) -> Windows:
    """The same open windows under `policy`; `windows` is not to be used any more."""
    before, state = windows.policy, windows.state()
    complete = max(state.floor, windows.boundary(0)) if windows.watermark != NEVER else NEVER
    totals = _totals(before, state)
    level_of = {size: level for level, size in enumerate(before.sizes_ms)}
    after = Windows(policy, windows.watermark)
    kept = [totals[level_of[size]] if size in level_of else NONE for size in policy.sizes_ms]
    begins = [state.begins[level_of[size]] if size in level_of else _ceil(complete, size) for size in policy.sizes_ms]
    after.load(Open(state.samples, [NONE] * len(kept), kept, begins, complete))
    for size, level in level_of.items():
        rows = totals[level].take(totals[level].start >= state.begins[level])
        if size not in policy.sizes_ms and len(rows):
            after.flushed.append((size // 1000, rows))
    return after


def _ceil(instant: int, size: int) -> int:
    return instant if instant == NEVER else -(-instant // size) * size


def _totals(policy: WindowPolicy, state: Open) -> list[Aggregates]:
    """By level, what all closed windows of the smallest size have given to the open ones of that level."""
    step, flows, totals = policy.sizes_ms[0], [NONE], [state.kept[0]]
    for level in range(1, len(policy.sizes_ms)):
        size = policy.sizes_ms[level]
        flow = Aggregates.concat([NONE, state.rows[level], flows[policy.parent(level)]])
        flows.append(merge_rows(flow, size, step))
        totals.append(merge_rows(Aggregates.concat([NONE, state.kept[level], flows[level]]), size, step))
    return totals
