from hypothesis import given
from hypothesis import strategies as st
from meterpipe.local.live import RATE_OVER, Rate, Tally
from meterpipe.local.scrape import parse, total
from meterpipe.worker.telemetry import Metric

TEXT = """# TYPE meterpipe_rows counter
meterpipe_rows_total{table="a"} 3.0
meterpipe_rows_total{table="b"} 4.0
# TYPE meterpipe_rows_written counter
meterpipe_rows_written_total{table="a"} 3.0
meterpipe_rows_written_total{table="b"} 4.0
"""


@given(st.lists(st.lists(st.integers(0, 1000)), min_size=1))
def test_a_tally_adds_up_what_every_life_of_a_process_counted(lives):
    tally, expected = Tally(), 0
    for steps in lives:
        count = 0
        for step in steps:
            count += step
            tally.see(count)
        expected += count
        tally.see(0)  # started again
    assert tally.sum == expected


def test_the_rate_is_that_of_the_last_seconds():
    rate = Rate()
    assert rate.see(0, 0) == 0
    assert rate.see(1, 100) == 100
    for second in range(2, 30):
        found = rate.see(second, 100)
    assert found == 0
    assert rate.see(30, 100 + 10 * RATE_OVER) > 0


def test_a_metric_is_summed_over_workers_and_labels():
    samples = parse(TEXT)
    assert total([samples, samples], Metric.ROWS) == 14
    assert total([samples], Metric.ROWS, table="b") == 4
    assert total([], Metric.ROWS) == 0
