from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.deadletters import Reason
from meterpipe.core.store_rows import MAX_KEY_BYTES, MAX_REVISION, NotRowsError, admit, buckets, store_rows

from tests.unit.store.results import START, row, table

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
instants = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))


@given(st.lists(instants, min_size=1))
def test_a_bucket_is_the_first_day_of_the_day_month_or_year(moments):
    starts = np.array([(moment - EPOCH) // timedelta(milliseconds=1) for moment in moments])
    zero = EPOCH.toordinal()
    day = [moment.toordinal() - zero for moment in moments]
    month = [moment.replace(day=1).toordinal() - zero for moment in moments]
    year = [moment.replace(day=1, month=1).toordinal() - zero for moment in moments]
    assert buckets(starts, 60).tolist() == buckets(starts, 600).tolist() == day
    assert buckets(starts, 3600).tolist() == month
    assert buckets(starts, 86_400).tolist() == year


def test_a_higher_revision_is_written_later_and_never_as_late_as_the_end_of_the_next_window():
    first, second = (store_rows([table([row()])], 60, revision) for revision in (0, MAX_REVISION))
    following = store_rows([table([row(start=START + 60_000)])], 60)
    assert first.written[0] == (START + 60_000) * 1000
    assert first.written[0] < second.written[0] < following.written[0]


@pytest.mark.parametrize("revision", [-1, MAX_REVISION + 1])
def test_a_revision_that_would_reach_into_other_windows_is_refused(revision):
    with pytest.raises(ValueError, match="revision must be 0 to 999999"):
        store_rows([table([row()])], 60, revision)


def test_rows_no_store_can_hold_are_told_and_the_others_stay():
    rows = [row("good"), row("x" * (MAX_KEY_BYTES + 1)), row("late", start=10**15), row("early", start=-(10**15))]
    kept, unfit = admit(table(rows))
    assert kept.column("meter").to_pylist() == ["good"]
    assert unfit.tolist() == [1, 2, 3]


def test_a_key_as_long_as_allowed_is_kept():
    longest = "x" * (MAX_KEY_BYTES - len("ELECTRICITY") - len("ACTIVE_POWER"))
    kept, unfit = admit(table([row(longest)]))
    assert kept.num_rows == 1
    assert unfit.size == 0


def test_a_missing_column_a_null_and_a_wrong_type_are_named():
    good = table([row()])
    cases = {
        Reason.MISSING_FIELD: good.drop_columns(["min"]),
        Reason.WRONG_TYPE: good.set_column(4, "count", pa.array([None], pa.int64())),
    }
    for reason, bad in cases.items():
        with pytest.raises(NotRowsError) as refused:
            admit(bad)
        assert refused.value.reason is reason
    with pytest.raises(NotRowsError, match="column count is string, wanted int64"):
        admit(good.set_column(4, "count", pa.array(["1"])))


def test_tables_with_dictionaries_of_their_own_are_joined():
    rows = store_rows([table([row("a"), row("b")]), table([row("b"), row("c")])], 60)
    assert rows.texts[0].to_pylist() == ["a", "b", "b", "c"]
    assert len(rows.texts[0].dictionary) == 3
