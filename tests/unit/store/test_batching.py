from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.batching import OWN_BATCH_ROWS, Limits, arrange, by_partition, cut
from meterpipe.core.store_rows import buckets, store_rows

from tests.unit.store.results import rows, table

limits = st.builds(Limits, own=st.integers(1, 30), shared=st.integers(1, 30), partitions=st.integers(1, 10))


def many(meters, windows):
    return [
        (f"m{m}", "WATER", "VOLUME", w * 60_000, 1, 0.0, 0.0, 0.0, 0.0, 0.0)
        for w in range(windows)
        for m in range(meters)
    ]


def partition(values):
    return (*values[:3], buckets(np.array([values[3]]), 60)[0])


results = st.lists(rows, min_size=1, max_size=60) | st.builds(many, st.integers(1, 8), st.integers(1, 40))


@given(results, limits, st.integers(1, 3))
def test_each_row_is_in_one_batch_that_keeps_the_limits_and_stays_with_one_owner(values, limits, owners):
    grouping = by_partition(store_rows([table(values)], 60))
    keys = [partition(values[place]) for place in grouping.heads]
    assert len(set(keys)) == len(keys)
    owner_of = {key: len(repr(key)) % owners for key in keys}
    arranged, group, sequence = arrange(grouping, np.array([owner_of[key] for key in keys]))
    assert [keys[i] for i in sequence] == [partition(values[place]) for place in arranged.heads]
    batches = cut(arranged.bounds, group, limits)
    assert [start for start, _ in batches] == [0, *(end for _, end in batches[:-1])]
    assert batches[-1][1] == len(values)
    assert sorted(arranged.order) == list(range(len(values)))
    sizes = {key: sum(partition(v) == key for v in values) for key in keys}
    for start, end in batches:
        inside = {partition(values[place]) for place in arranged.order[start:end]}
        assert len({owner_of[key] for key in inside}) == 1
        if any(sizes[key] >= OWN_BATCH_ROWS for key in inside):
            assert len(inside) == 1
            assert end - start <= limits.own
        else:
            assert len(inside) <= limits.partitions
            assert end - start <= limits.shared


def test_the_rows_of_a_large_partition_are_shared_out_evenly():
    arranged, group, _ = arrange(by_partition(store_rows([table(many(1, 130))], 60)), np.zeros(1, np.int64))
    assert [end - start for start, end in cut(arranged.bounds, group, Limits(own=100))] == [65, 65]


def test_rows_of_a_partition_keep_their_order():
    grouping = by_partition(store_rows([table(many(3, 20))], 60))
    for start, end in pairwise(grouping.bounds):
        assert sorted(grouping.order[start:end]) == list(grouping.order[start:end])


def test_no_rows_make_no_batches():
    assert cut(np.array([0]), np.array([], np.int64), Limits()) == []


def test_limits_follow_the_servers_warnings_except_for_batches_of_one_partition():
    assert Limits(own=100, shared=50, partitions=50).within(5 * 1024, 10) == Limits(own=100, shared=17, partitions=10)
    assert Limits(own=100, shared=50, partitions=50).within(64 * 1024, 256) == Limits(own=100, shared=50, partitions=50)
    assert Limits().within(0, 0) == Limits(Limits().own, 1, 1)
