"""The notifier on a real Kafka, a real Cassandra and a real receiver: what is told of alarms, whatever happens."""

import json
import time
from zlib import crc32

import msgspec
import pytest
from meterpipe.adapters.alarm_reader import read_event
from meterpipe.adapters.cassandra import connect
from meterpipe.adapters.open_alarms import OpenAlarmsWriter
from meterpipe.core.alarms.events import AlarmState, encode_alarm
from meterpipe.core.open_alarms import changes
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Silent

from tests.integration.harness import fleet_of, headers_of, progress_of, records_of, wait_until
from tests.integration.notifier_helpers import (
    alarms,
    expected_open,
    key_of,
    keys_by_meter,
    receiver,
    table_of,
    told_config,
    write,
)


@pytest.fixture
def hook():
    with receiver() as made:
        yield made
        assert made.faults == []


def configured(pipeline, tmp_path, hook=None, **webhook):
    notifier = {}
    if hook is not None:
        notifier["webhook"] = {"url": hook.url, "secretName": "hook", "timeout": 2, **webhook}
    config = pipeline({"alarms": {"enabled": True, "notifier": notifier}})
    return told_config(config, tmp_path / "secrets")


def settled(config, fleet, *groups):
    """Whether the groups have committed all there is."""
    with progress_of(config) as progress:
        for group in groups:
            fleet.wait_until(lambda group=group: progress.lag_or_none(group) == 0, f"{group} has committed everything")


def test_the_table_holds_what_the_events_say_and_the_webhook_is_told_all_in_order(pipeline, tmp_path, hook):
    config, events = configured(pipeline, tmp_path, hook), alarms(40, 25)
    write(config, events)
    with fleet_of(config, tmp_path) as fleet, table_of(config) as table:
        worker = fleet.start("notifier")
        settled(config, fleet, "notifier", "webhook")
        wait_until(worker.ready, "ready")
        assert table() == expected_open(events)
        assert len(hook.taken) == len(events)
        assert {meter: hook.events(meter) for meter in keys_by_meter(events)} == keys_by_meter(events)
        assert hook.connections <= 16  # kept alive
        assert hook.most_at_once <= 16
        told = {one["id"]: one["data"] for one in hook.taken}
        assert told == {key_of(event): json.loads(encode_alarm(event)) for event in events}
        assert fleet.discharge(worker) == 0


def test_killed_again_and_again_every_alarm_is_told_in_order_and_repeats_are_known_by_their_key(
    pipeline, tmp_path, hook
):
    config, events = configured(pipeline, tmp_path, hook, maxInFlight=8), alarms(60, 30)
    hook.behaviour = lambda told, attempt: (
        503 if crc32(f"{told['id']} {attempt}".encode()) % 10 == 0 else time.sleep(0.004) or 200
    )
    parts = [events[at : at + 300] for at in range(0, len(events), 300)]
    with fleet_of(config, tmp_path) as fleet, table_of(config) as table:
        workers = [fleet.start("notifier", number) for number in range(2)]
        kills = 0
        for number, part in enumerate(parts):
            write(config, part)
            told = len(hook.taken)
            fleet.wait_until(lambda told=told: len(hook.taken) >= told + 60, "alarms flow")
            workers[number % 2].kill()
            kills += 1
            fleet.tend()
        settled(config, fleet, "notifier", "webhook")
        assert kills == fleet.restarts == len(parts)
        assert sorted(hook.keys()) == sorted(map(key_of, events))
        assert {meter: hook.events(meter) for meter in keys_by_meter(events)} == keys_by_meter(events)
        assert table() == expected_open(events)


def test_while_the_webhook_is_down_the_table_goes_on_and_then_all_is_told(pipeline, tmp_path, hook):
    config, events = configured(pipeline, tmp_path, hook), alarms(30, 20)
    hook.stop()
    with fleet_of(config, tmp_path) as fleet, table_of(config) as table:
        worker = fleet.start("notifier")
        write(config, events)
        settled(config, fleet, "notifier")
        wait_until(worker.ready, "ready though the webhook is down")
        assert table() == expected_open(events)
        assert hook.taken == []
        hook.start()
        settled(config, fleet, "webhook")
        assert {meter: hook.events(meter) for meter in keys_by_meter(events)} == keys_by_meter(events)
        assert len(hook.taken) == len(events)
        assert records_of(config, names_of(config.pipeline).dead_letters) == []


def test_what_the_webhook_refuses_is_a_dead_letter_and_the_next_is_told(pipeline, tmp_path, hook):
    config, events = configured(pipeline, tmp_path, hook), alarms(5, 6)
    bad = {key_of(event) for event in events if event.meter == "meter-2"}
    hook.behaviour = lambda told, attempt: 422 if told["id"] in bad else 200
    with fleet_of(config, tmp_path) as fleet:
        fleet.start("notifier")
        write(config, events)
        settled(config, fleet, "notifier", "webhook")
    names = names_of(config.pipeline)
    letters = records_of(config, names.dead_letters)
    origin = {(m.partition(), m.offset()): m.value() for m in records_of(config, names.alarms)}
    assert len(letters) == len(bad)
    for letter in letters:
        headers = headers_of(letter)
        assert (headers["reason"], headers["topic"]) == ("webhook-refused", names.alarms)
        assert headers["detail"] == "attempt 1: 422 Unprocessable Entity: because I say so"
        assert origin[int(headers["partition"]), int(headers["offset"])] == letter.value()
        assert letter.key() == b"meter-2"
    assert {json.loads(m.value())["id"] + "/" + json.loads(m.value())["state"] for m in letters} == bad
    assert sorted(hook.keys()) == sorted({key_of(event) for event in events} - bad)
    assert all(len(hook.attempts[key]) == 1 for key in bad)


def test_redirects_are_not_followed(pipeline, tmp_path, hook):
    config, events = configured(pipeline, tmp_path, hook), alarms(1, 1)
    hook.behaviour = lambda told, attempt: (307, {"Location": hook.url})
    with fleet_of(config, tmp_path) as fleet:
        fleet.start("notifier")
        write(config, events)
        settled(config, fleet, "webhook")
    (letter,) = records_of(config, names_of(config.pipeline).dead_letters)
    assert headers_of(letter)["detail"].startswith("attempt 1: 307")
    assert sum(map(len, hook.attempts.values())) == 1


def test_one_that_is_never_taken_is_given_up_in_time_and_holds_up_its_own_meter_only(pipeline, tmp_path, hook):
    config, events = configured(pipeline, tmp_path, hook, giveUpAfter=1, timeout=120), alarms(8, 4)
    stuck = next(key_of(event) for event in events if event.meter == "meter-3")
    others = {key_of(event) for event in events if event.meter != "meter-3"}

    def behave(told, attempt):
        if told["id"] != stuck:
            return 200
        wait_until(lambda: others <= set(hook.keys()), "the others are told meanwhile")
        return 500

    hook.behaviour = behave
    with fleet_of(config, tmp_path) as fleet:
        fleet.start("notifier")
        write(config, events)
        settled(config, fleet, "webhook")
    (letter,) = records_of(config, names_of(config.pipeline).dead_letters)
    attempts = len(hook.attempts[stuck])
    wanted = f"not taken within 1 s; attempt {attempts}: 500 Internal Server Error: because I say so"
    assert headers_of(letter)["detail"] == wanted
    assert sorted(hook.keys()) == sorted({key_of(event) for event in events} - {stuck})


def test_a_receiver_that_hangs_drops_or_is_busy_is_asked_again(pipeline, tmp_path, hook):
    config, events = configured(pipeline, tmp_path, hook, maxInFlight=4), alarms(6, 2)
    first = {}
    answers = [None, 500, 408, (429, {"Retry-After": "2"}), "hang", 503]

    def behave(told, attempt):
        if attempt > 1:
            return 200
        how = first.setdefault(told["id"], answers[len(first) % len(answers)])
        if how == "hang":
            hook.release.wait(30)
            return None
        return how

    hook.behaviour = behave
    with fleet_of(config, tmp_path) as fleet:
        fleet.start("notifier")
        write(config, events)
        settled(config, fleet, "webhook")
    assert {meter: hook.events(meter) for meter in keys_by_meter(events)} == keys_by_meter(events)
    assert records_of(config, names_of(config.pipeline).dead_letters) == []
    busy = [key for key, how in first.items() if isinstance(how, tuple)]
    assert busy
    assert all(hook.attempts[key][1] - hook.attempts[key][0] >= 2 for key in busy)


def test_only_the_kinds_asked_for_are_posted_and_no_event_is_left_uncommitted(pipeline, tmp_path, hook):
    config, events = configured(pipeline, tmp_path, hook, kinds=["SILENCE"]), alarms(10, 10)
    with fleet_of(config, tmp_path) as fleet:
        fleet.start("notifier")
        write(config, events)
        settled(config, fleet, "webhook")
    assert sorted(hook.keys()) == sorted(key_of(event) for event in events if event.kind == "SILENCE")


def test_what_is_no_event_is_one_dead_letter_and_harms_no_other(pipeline, tmp_path, hook):
    config, events = configured(pipeline, tmp_path, hook), alarms(3, 3)
    poison = [b"{", b'{"id":"x"}', b"\xff\xff", encode_alarm(events[0]).replace(b'"raised"', b'"forgotten"')]
    with fleet_of(config, tmp_path) as fleet, table_of(config) as table:
        fleet.start("notifier")
        write(config, poison, b"meter-0")
        write(config, events)
        settled(config, fleet, "notifier", "webhook")
        assert table() == expected_open(events)
    letters = records_of(config, names_of(config.pipeline).dead_letters)
    assert sorted(letter.value() for letter in letters) == sorted(poison)
    assert {headers_of(letter)["reason"] for letter in letters} == {"malformed"}
    assert len(hook.taken) == len(events)


def test_an_alarm_that_cassandra_cannot_hold_is_a_dead_letter_and_told_all_the_same(pipeline, tmp_path, hook):
    config, events = configured(pipeline, tmp_path, hook), alarms(3, 3)
    nameless = [msgspec.structs.replace(events[0], meter=meter) for meter in ("", "x" * 70_000)]
    with fleet_of(config, tmp_path) as fleet, table_of(config) as table:
        fleet.start("notifier")
        write(config, [*nameless, *events])
        settled(config, fleet, "notifier", "webhook")
        assert table() == expected_open(events)
    letters = records_of(config, names_of(config.pipeline).dead_letters)
    assert sorted(letter.value() for letter in letters) == sorted(map(encode_alarm, nameless))
    assert {headers_of(letter)["reason"] for letter in letters} == {"out-of-range"}
    assert len(hook.taken) == len(events) + 2


def test_an_alarm_delivered_again_after_it_was_cleared_stays_cleared(pipeline, tmp_path):
    config, events = configured(pipeline, tmp_path), alarms(20, 10)
    write(config, events)
    with fleet_of(config, tmp_path) as fleet, table_of(config) as table:
        fleet.start("notifier")
        settled(config, fleet, "notifier")
        before = table()
        assert before == expected_open(events)
    _write_again(config, lambda event: event.state is AlarmState.RAISED)
    with table_of(config) as table:
        assert table() == before
    _write_again(config, lambda event: event.state is AlarmState.CLEARED)
    with table_of(config) as table:
        assert table() == before


def _write_again(config, chosen):
    """What a worker does that was slow: it writes some of the events, long after others have written all of them."""
    session = connect(config.cassandra, 60.0)
    names = names_of(config.pipeline)
    try:
        writer = OpenAlarmsWriter(session, names.keyspace, Silent())
        for message in records_of(config, names.alarms):
            event = read_event(message.value())
            if chosen(event):
                writer.submit(changes([(message.offset(), event)]), lambda: None)
        while writer.held:
            writer.pump(0.1)
    finally:
        session.cluster.shutdown()


def test_without_cassandra_the_webhook_is_told_and_its_group_is_the_only_one(pipeline, tmp_path, hook):
    config = configured(pipeline, tmp_path, hook)
    notifier = config.pipeline.spec.alarms.notifier.model_copy(update={"open_alarms": False})
    alarm_spec = config.pipeline.spec.alarms.model_copy(update={"notifier": notifier})
    spec = config.pipeline.spec.model_copy(update={"alarms": alarm_spec})
    config = config.model_copy(
        update={"cassandra": None, "pipeline": config.pipeline.model_copy(update={"spec": spec})}
    )
    events = alarms(5, 5)
    with fleet_of(config, tmp_path) as fleet:
        worker = fleet.start("notifier")
        write(config, events)
        settled(config, fleet, "webhook")
        wait_until(worker.ready, "ready")
    assert sorted(hook.keys()) == sorted(map(key_of, events))
