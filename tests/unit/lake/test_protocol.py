"""The exactly-once protocol of the lake, decided on values."""

from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.lake_protocol import Condition, Gap, Span, Start, Verdict, app_id, judge, resume

offsets = st.integers(0, 50)


def test_a_recreated_topic_is_another_application():
    assert app_id("c", "t1", 0) != app_id("c", "t2", 0)
    assert app_id("c", "t1", 0) == "c/t1/0"


def test_a_span_is_written_when_the_lake_stands_at_its_begin():
    assert judge(Span(5, 9), 5) is Verdict.WRITE
    assert judge(Span(None, 9), None) is Verdict.WRITE


def test_a_span_that_had_arrived_after_all_is_not_written_again():
    assert judge(Span(5, 9), 9) is Verdict.WRITTEN
    assert judge(Span(None, 9), 9) is Verdict.WRITTEN


def test_a_span_of_a_partition_that_somebody_else_archives_is_dropped():
    assert judge(Span(5, 9), 7) is Verdict.MOVED
    assert judge(Span(5, 9), 12) is Verdict.MOVED
    assert judge(Span(None, 9), 3) is Verdict.MOVED
    assert judge(Span(5, 9), None) is Verdict.MOVED


def test_a_partition_never_archived_starts_where_the_log_begins():
    assert resume(None, 40, 90) == Start(40, None)


def test_reading_goes_on_where_the_lake_ends():
    assert resume(60, 40, 90) == Start(60, 60)
    assert resume(90, 40, 90) == Start(90, 90)


def test_messages_that_expired_before_they_were_archived_are_named():
    gap = resume(10, 40, 90)
    assert gap == Gap(Condition.OFFSETS_EXPIRED, 10, 40)
    assert "OffsetsExpired" in str(gap)
    assert "30 offsets were deleted" in str(gap)


def test_a_log_that_ends_before_the_lake_is_named():
    gap = resume(95, 40, 90)
    assert gap == Gap(Condition.OFFSETS_AHEAD, 95, 90)
    assert gap.lost == 5
    assert "OffsetsAhead" in str(gap)


@given(st.one_of(st.none(), offsets), offsets, offsets)
def test_reading_never_starts_outside_the_log(version, low, length):
    found = resume(version, low, low + length)
    if isinstance(found, Start):
        assert low <= found.offset <= low + length
        assert version in (None, found.offset)
    else:
        assert version is not None
        assert not low <= version <= low + length


class Table:
    """A table of one application whose commits succeed only on the version their writer last saw, as Delta's do."""

    def __init__(self):
        self.commits = 0
        self.version = None
        self.rows = []

    def commit(self, seen, span, rows):
        if seen != self.commits:
            return False
        self.commits, self.version = self.commits + 1, span.next
        self.rows += rows
        return True


@given(st.data())
def test_every_message_is_in_the_table_once_whoever_writes_pauses_or_loses_an_answer(data):
    """Two writers that both believe they own the partition, interleaved step by step; answers may get lost."""
    log = list(range(data.draw(st.integers(1, 20))))
    table = Table()

    def writer():
        while table.version != len(log):
            first = table.version
            start = first or 0
            span = Span(first, data.draw(st.integers(start + 1, len(log))))
            yield
            while True:
                seen, version = table.commits, table.version
                verdict = judge(span, version)
                yield  # paused here for as long as it takes
                if verdict is not Verdict.WRITE:
                    break
                done = table.commit(seen, span, log[start : span.next])
                if done and not data.draw(st.booleans(), label="the answer is lost"):
                    break

    running = [writer(), writer()]
    while running:
        one = data.draw(st.sampled_from(running))
        if next(one, "done") == "done":
            running.remove(one)
    assert table.rows == log
