"""What the archiver holds, and the spans of messages it stands for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.lake_buffer import Buffer
from meterpipe.core.lake_protocol import Span
from meterpipe.core.readings import EMPTY, Readings


def readings(*messages):
    """One reading a given message; its value is the index of the message."""
    n = len(messages)
    return Readings(
        key=np.zeros(n, np.int32),
        ts=np.arange(n, dtype=np.int64),
        value=np.array(messages, float),
        interval_s=np.zeros(n, np.int32),
        quality=np.zeros(n, np.uint8),
        revision=np.zeros(n, np.uint16),
        message=np.array(messages, np.int32),
        row=np.zeros(n, np.int32),
    )


def add(buffer, messages, holding=None):
    """`messages`: (partition, offset) each; `holding`: indices of those that hold a reading, by default all."""
    partition = np.array([p for p, _ in messages], np.int32)
    offset = np.array([o for _, o in messages], np.int64)
    wanted = buffer.wanted(partition, offset)
    if wanted is not None:
        partition, offset = partition[wanted], offset[wanted]
    chosen = range(len(partition)) if holding is None else holding
    buffer.add(partition, offset, offset * 1000, readings(*chosen) if len(chosen) else EMPTY)


def held(batch):
    return list(zip(batch.arrivals.partition.tolist(), batch.arrivals.offset.tolist(), strict=True))


def following(**starts):
    buffer = Buffer()
    for name, (version, offset) in starts.items():
        buffer.follow(int(name[1:]), version, offset)
    return buffer


def test_a_cut_takes_everything_and_the_next_one_goes_on_behind_it():
    buffer = following(p0=(None, 0), p1=(7, 7))
    add(buffer, [(0, 0), (1, 7), (0, 1)])
    first = buffer.cut()
    assert first.spans == {0: Span(None, 2), 1: Span(7, 8)}
    assert held(first) == [(0, 0), (1, 7), (0, 1)]
    assert first.arrivals.arrived.tolist() == [0, 7000, 1000]
    assert buffer.rows == 0
    add(buffer, [(0, 2)])
    assert buffer.cut().spans == {0: Span(2, 3)}


def test_messages_without_readings_move_the_span_all_the_same():
    buffer = following(p0=(3, 3))
    add(buffer, [(0, 3), (0, 4), (0, 9)], holding=[1])
    batch = buffer.cut()
    assert batch.spans == {0: Span(3, 10)}
    assert held(batch) == [(0, 4)]


def test_a_partition_nothing_came_from_is_in_no_span():
    buffer = following(p0=(None, 5))
    assert not buffer.moved
    assert buffer.cut().spans == {}


def test_messages_of_partitions_not_followed_or_seen_before_are_left_out():
    buffer = following(p1=(5, 5))
    add(buffer, [(0, 1), (1, 4), (1, 5), (2, 9)])
    assert held(buffer.cut()) == [(1, 5)]


def test_of_a_stopped_partition_what_is_held_stays_and_nothing_is_added():
    buffer = following(p0=(0, 0))
    add(buffer, [(0, 0)])
    buffer.stop(0)
    add(buffer, [(0, 1)])
    assert buffer.holds(0)
    assert buffer.cut().spans == {0: Span(0, 1)}
    add(buffer, [(0, 2)])
    assert not buffer.moved


def test_forgetting_a_partition_keeps_the_others():
    buffer = following(p0=(0, 0), p1=(0, 0))
    add(buffer, [(0, 0), (1, 0)])
    buffer.forget(0)
    batch = buffer.cut()
    assert batch.spans == {1: Span(0, 1)}
    assert held(batch) == [(1, 0)]


def test_truncating_keeps_what_lies_before_the_given_offsets():
    buffer = following(p0=(0, 0), p1=(0, 0), p2=(0, 0))
    add(buffer, [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1), (2, 0)])
    buffer.truncate({0: 2, 1: 0})
    batch = buffer.cut()
    assert batch.spans == {0: Span(0, 2)}
    assert held(batch) == [(0, 0), (0, 1)]


def test_truncating_never_goes_behind_what_was_cut():
    buffer = following(p0=(0, 0))
    add(buffer, [(0, 0), (0, 1)])
    buffer.cut()
    add(buffer, [(0, 2)])
    buffer.truncate({0: 1})
    assert not buffer.moved
    assert buffer.positions() == {0: 2}


def test_messages_out_of_order_are_refused():
    buffer = following(p0=(0, 0))
    with pytest.raises(ValueError, match="not in log order"):
        add(buffer, [(0, 0), (0, 2), (0, 1)])


def test_a_batch_without_a_partition_keeps_the_rest():
    buffer = following(p0=(0, 0), p1=(None, 0))
    add(buffer, [(0, 0), (1, 0), (1, 1)])
    rest = buffer.cut().without([0])
    assert rest.spans == {1: Span(None, 2)}
    assert held(rest) == [(1, 0), (1, 1)]


def test_many_keys_make_it_full_and_are_let_go_with_the_cut():
    buffer = Buffer(key_limit=2)
    buffer.follow(0, None, 0)
    for i in range(3):
        buffer.keys.add((f"m{i}", "E", "P"))
    add(buffer, [(0, 0)])
    assert buffer.full(rows=1000)
    batch = buffer.cut()
    assert len(batch.keys) == 3
    assert len(buffer.keys) == 0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), max_size=40), st.data())
def test_spans_join_without_gap_and_hold_every_message_once(steps, data):
    buffer = following(p0=(None, 0), p1=(None, 0), p2=(None, 0))
    ends = dict.fromkeys(range(3), 0)
    seen, spans = [], {0: [], 1: [], 2: []}

    def collect():
        batch = buffer.cut()
        seen.extend(held(batch))
        for p, span in batch.spans.items():
            spans[p].append(span)

    for partition, count in steps:
        add(buffer, [(partition, ends[partition] + i) for i in range(count)])
        ends[partition] += count
        if data.draw(st.booleans()):
            collect()
    collect()
    assert sorted(seen) == [(p, o) for p in range(3) for o in range(ends[p])]
    for chain in spans.values():
        assert [s.first for s in chain] == ([None, *[s.next for s in chain]][: len(chain)])
