from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st
from meterpipe.core.notify.ledger import Ledger
from meterpipe.core.notify.outbox import Outbox

PLACE = ("alarms", 0)


@given(st.data(), st.integers(1, 8), st.lists(st.sampled_from("abcde"), max_size=40))
def test_each_key_is_sent_in_order_one_at_a_time_and_all_of_it_whatever_fails(data, most, keys):
    outbox: Outbox[tuple[str, int]] = Outbox()
    sent, now = defaultdict(list), 0.0
    for number, key in enumerate(keys):
        outbox.put(key, (key, number))
    flying: list[tuple[str, int]] = []
    while outbox.held:
        now += 1.0
        taken = outbox.take(now, most)
        flying += taken
        assert len(flying) == outbox.flying <= most
        assert len({key for key, _ in flying}) == len(flying)
        assert flying
        key, number = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
        if data.draw(st.integers(0, 3)) == 0:
            outbox.again(key, now + data.draw(st.sampled_from([0.0, 0.5, 1.0])))
        else:
            sent[key].append(number)
            outbox.done(key)
    assert sent == {key: [n for n, k in enumerate(keys) if k == key] for key in set(keys)}


def test_one_that_waits_holds_up_its_own_key_only():
    outbox: Outbox[str] = Outbox()
    for key, item in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        outbox.put(key, item)
    assert outbox.take(0.0, 9) == ["a1", "b1"]
    outbox.again("a", 10.0)
    outbox.done("b")
    assert outbox.take(5.0, 9) == []
    assert outbox.take(10.0, 9) == ["a1"]
    outbox.done("a")
    assert outbox.take(10.0, 9) == ["a2"]


@given(st.integers(0, 30).flatmap(lambda n: st.permutations(range(n))), st.integers(1, 5))
def test_an_offset_is_committed_when_it_and_all_before_it_are_settled(order, step):
    ledger = Ledger()
    offsets = [7 + step * n for n in range(len(order))]
    for offset in offsets:
        ledger.took(PLACE, offset)
    settled = set()
    for n in order:
        ledger.settled(PLACE, offsets[n])
        settled.add(n)
        first_open = next((i for i in range(len(order)) if i not in settled), len(order))
        due = ledger.due()
        if due:
            assert due == {PLACE: offsets[first_open - 1] + 1}
        assert ledger.due() == {}
    assert not order or due == {PLACE: offsets[-1] + 1} or 0 not in order[-1:]


def test_marks_of_transactions_at_the_end_are_passed_once_all_before_them_is_settled():
    ledger = Ledger()
    ledger.took(PLACE, 3)
    ledger.passed(PLACE, 6)
    assert ledger.due() == {}
    ledger.settled(PLACE, 3)
    assert ledger.due() == {PLACE: 6}
    ledger.passed(PLACE, 6)
    assert ledger.due() == {}
