"""Window sizes, grace and duplicates may change while windows are open; the state comes from the changelog then."""

from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.changelog import DELTA_ROWS
from meterpipe.core.codecs import Decoder
from meterpipe.core.control import encode_control
from meterpipe.core.partition import Partition
from meterpipe.core.windows import NEVER

from tests.unit.core.test_windows import END, FAR, messages_of, policy, recompute, results_of, values

SIZES = (60, 120, 180, 240, 360, 720)


class Run:
    """A partition whose process is replaced by one with another policy now and then."""

    def __init__(self, **changes):
        self.changelog, self.got, self.offset = {}, {}, 0
        self.restart(**changes)

    def restart(self, **changes):
        self.partition = Partition(policy(**changes), Decoder(), 300_000)
        self.partition.restore(self.changelog.items())
        assert not self.changelog or self.partition.next_offset == self.offset
        return self

    def take(self, messages):
        self.offset += len(messages)
        self.partition.take(messages, FAR, self.offset)
        return self

    def commit(self, snapshot=False):
        results_of(self.partition, self.partition.close(), self.got)
        self.changelog |= dict(self.partition.records(snapshot))
        return self

    def read(self, *readings):
        return self.take(messages_of([(m, ts, v, 0, 0) for m, ts, v in readings])).commit()

    def end(self):
        return self.take([END]).commit().got


def starts(got, size):
    return sorted(start for s, _, start in got if s == size)


def test_a_new_size_starts_at_its_next_boundary():
    run = Run(sizes=(60,), grace=0).read(("a", 10, 1.0), ("a", 70, 1.0))
    got = run.restart(sizes=(60, 120), grace=0).read(("a", 130, 2.0), ("a", 250, 4.0)).end()
    assert starts(got, 120) == [120, 240]
    assert starts(got, 60) == [0, 60, 120, 240]


def test_a_kept_size_keeps_what_its_open_window_holds():
    run = Run(sizes=(60, 720), grace=0).read(("a", 10, 1.0), ("a", 70, 2.0), ("a", 130, 4.0))
    got = run.restart(sizes=(60, 120, 720), grace=0).read(("a", 190, 8.0), ("a", 250, 16.0)).end()
    assert got[720, "a", 0] == (5, 1.0, 16.0, 31.0, 1.0, 16.0)


def test_a_removed_size_comes_out_once_more_with_what_its_closed_windows_gave_even_if_nothing_arrives():
    run = Run(sizes=(60, 720), grace=0).read(("a", 10, 1.0), ("a", 70, 2.0), ("a", 130, 4.0))
    run.restart(sizes=(60,), grace=0)
    assert run.partition.changed
    run.commit()
    assert run.got[720, "a", 0] == (2, 1.0, 2.0, 3.0, 1.0, 2.0)
    run.restart(sizes=(60,), grace=0).read(("a", 190, 8.0))
    assert not run.partition.changed
    assert starts(run.end(), 720) == [0]


def test_a_crash_before_the_first_commit_after_a_change_changes_nothing():
    run = Run(sizes=(60, 720), grace=0).read(("a", 10, 1.0), ("a", 70, 2.0))
    uncommitted = run.restart(sizes=(60, 120), grace=0).take(messages_of([("a", 130, 4.0, 0, 0)])).partition.close()
    assert [size for size, _ in uncommitted.results] == [720, 60]
    run.offset -= 1
    got = run.restart(sizes=(60, 120), grace=0).read(("a", 130, 4.0)).end()
    assert got[720, "a", 0][0] == 1
    assert starts(got, 120) == [120]


def test_when_the_smallest_size_grows_windows_hold_what_had_closed_before_and_nothing_counts_twice():
    run = Run(sizes=(60, 240), grace=0).read(("a", 10, 1.0), ("a", 70, 2.0), ("a", 130, 4.0))
    run.restart(sizes=(240,), grace=0).read(("a", 70, 2.0))  # sent again: its window had closed
    assert run.partition.balance.late == 1
    assert run.read(("a", 190, 8.0)).end()[240, "a", 0] == (4, 1.0, 8.0, 15.0, 1.0, 8.0)


def test_when_the_smallest_size_shrinks_its_windows_begin_with_the_readings_that_are_still_there():
    run = Run(sizes=(240,), grace=0).read(("a", 10, 1.0), ("a", 250, 2.0), ("a", 310, 4.0))
    got = run.restart(sizes=(60, 240), grace=0).read(("a", 490, 8.0)).end()
    assert starts(got, 60) == [240, 300, 480]
    assert got[240, "a", 240] == (2, 2.0, 4.0, 6.0, 2.0, 4.0)


def test_grace_grows_at_once_and_shrinks_with_the_next_reading():
    run = Run(sizes=(60,), grace=60).read(("a", 200, 1.0))
    run.restart(sizes=(60,), grace=180)
    assert run.partition.windows.watermark == 140_000
    run.read(("a", 250, 1.0), ("a", 130, 1.0))
    assert (run.partition.windows.watermark, run.partition.balance.late) == (140_000, 0)
    run.read(("a", 330, 1.0))
    assert run.partition.windows.watermark == 150_000
    run.restart(sizes=(60,), grace=0).read(("a", 331, 1.0))
    assert run.partition.windows.watermark == 331_000


def test_what_was_put_out_before_duplicates_were_dropped_is_what_larger_windows_hold():
    run = Run(sizes=(60, 120), grace=0, drop=False).read(("a", 10, 1.0), ("a", 10, 1.0)).read(("a", 70, 1.0))
    got = run.restart(sizes=(60, 120), grace=0, drop=True).read(("a", 70, 1.0)).end()
    assert (got[60, "a", 0][0], got[60, "a", 60][0], got[120, "a", 0][0]) == (2, 1, 3)


def test_a_commit_of_several_delta_records_is_taken_in_as_one():
    """Readings of one window are spread over the records; closing after each of them would tear it apart."""
    n = 2 * DELTA_ROWS + 10
    readings = [("a", ts % 60, ts / 1024, 0, 0) for ts in range(n)]
    run = Run(sizes=(60, 120), grace=0).read(("a", 0, 0.5))
    run.take(messages_of(readings)).take([encode_control(60_000)]).commit()
    assert sum(key.startswith("delta/") for key in run.changelog) > 2
    got = run.restart(sizes=(60, 120), grace=0).end()
    expected, balance = recompute([("a", 0, 0.5, 0, 0), *readings], grace=0, sizes=(60, 120))
    assert got == expected
    assert run.partition.balance == balance


def test_many_new_keys_in_one_commit_are_spread_over_records_a_broker_takes():
    run = Run(sizes=(60,), grace=0).read(("a", 0, 1.0))
    run.read(*((f"{'ü' * 1000}{i}", 1, 1.0) for i in range(1000)))
    assert max(map(len, run.changelog.values())) < 900_000
    assert len(run.restart(sizes=(60,), grace=0).end()) == 1001


sizes = st.sets(st.sampled_from(SIZES), min_size=1).map(sorted).filter(lambda s: all(x % s[0] == 0 for x in s))
streams = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 1500), values), max_size=40).map(
    lambda readings: sorted(readings, key=lambda r: r[1])
)


@given(streams, st.lists(sizes, min_size=2, max_size=4), st.integers(0, 200), st.booleans(), st.data())
def test_every_window_is_whole_or_does_not_come_out_whatever_sizes_there_were_before(
    readings, plans, grace, drop, data
):
    """But for those of removed sizes, which come out with what they have. Ordered readings: none is late."""
    run, at = Run(sizes=tuple(plans[0]), grace=grace, drop=drop), 0
    since = dict.fromkeys(plans[0], NEVER)  # by size, the instant after which all windows must come out
    removed = set()
    for before, after in zip(plans, [*plans[1:], plans[-1]], strict=True):
        upto = data.draw(st.integers(at, len(readings)))
        while at < upto:
            step = data.draw(st.integers(1, upto - at))
            run.take(messages_of([(m, ts, v, 0, 0) for m, ts, v in readings[at : at + step]]))
            run.commit(snapshot=data.draw(st.booleans()))
            at += step
        watermark = run.partition.windows.watermark
        removed |= set(before) - set(after)
        since = {s: since.get(s, watermark if watermark == NEVER else watermark + s * 1000) for s in after}
        run.restart(sizes=tuple(after), grace=grace, drop=drop)
        if data.draw(st.booleans()):
            run.commit()
    rest = readings[at:]
    got = run.read(*rest).end() if rest else run.end()
    expected, _ = recompute([(m, ts, v, 0, 0) for m, ts, v in readings], drop, grace=10**6, sizes=tuple(plans[-1]))
    for key, row in got.items():
        if key[0] in since and key[0] not in removed:
            assert expected[key] == row
    for key, row in expected.items():
        if key[2] * 1000 >= since[key[0]]:
            assert got[key] == row
