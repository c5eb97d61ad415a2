"""Batches in and out of Kafka: one contract for messages in columns, however they are taken and sent."""

import gc
import secrets
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewTopic
from meterpipe.adapters.batches import Receiver, Sender, library
from meterpipe.adapters.batches.native_receiver import NativeReceiver
from meterpipe.adapters.batches.native_sender import NativeSender
from meterpipe.adapters.batches.plain import PlainReceiver, PlainSender
from meterpipe.adapters.kafka import new_admin, new_consumer, new_producer
from meterpipe.core.messages import Messages, Payloads
from meterpipe.spec.connections import KafkaConnection

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def topic(kafka: KafkaConnection) -> Iterator[str]:
    admin, name = new_admin(kafka), f"batches-{secrets.token_hex(4)}"
    admin.create_topics([NewTopic(name, 3, 1)])[name].result(20)
    yield name
    admin.delete_topics([name])[name].result(20)


@pytest.fixture(params=[NativeReceiver, PlainReceiver])
def receiver_of(request: pytest.FixtureRequest) -> Callable[[Consumer], Receiver]:
    return request.param


@pytest.fixture(params=[NativeSender, PlainSender])
def sender_of(request: pytest.FixtureRequest) -> Callable[[Producer], Sender]:
    return request.param


class Assigned:
    """A receiver of partitions that were assigned by hand."""

    def __init__(self, kafka: KafkaConnection, make: Callable[[Consumer], Receiver], places: list[TopicPartition]):
        self.consumer = new_consumer(kafka, f"group-{secrets.token_hex(4)}", enable_partition_eof=True)
        self.receiver = make(self.consumer)
        self.receiver.follow(places)
        self.consumer.assign(places)

    def read(self, partitions: int, most: int = 1000) -> tuple[dict[int, list[Messages]], dict[int, int], list[str]]:
        """Until the ends of so many partitions are told: messages, ends and trace contexts."""
        found: dict[int, list[Messages]] = {}
        ends: dict[int, int] = {}
        traces: list[str] = []
        for _ in range(300):
            taken = self.receiver.take(most, 0.1)
            assert len(taken) <= most
            for number, messages in taken.runs:
                found.setdefault(number, []).append(messages)
            ends |= {news.partition: news.offset for news in taken.news if is_end(news.error)}
            traces += taken.traces
            if len(ends) == partitions:
                break
        return found, ends, traces

    def close(self) -> None:
        self.receiver.close()
        self.consumer.close()


def is_end(error: KafkaError) -> bool:
    assert error.code() == KafkaError._PARTITION_EOF, error
    return True


def rows_of(runs: list[Messages]) -> list[tuple[int, bytes | None, bytes | None]]:
    return [
        (offset, value, key)
        for messages in runs
        for offset, value, key in zip(messages.offset.tolist(), messages.values, messages.keys, strict=True)
    ]


def test_columns_hold_what_was_sent_absent_and_empty_values_told_apart(kafka, topic, receiver_of):
    producer = new_producer(kafka)
    sent = {
        0: [(b"one", b"k"), (b"", b""), (None, None), (b"t\nwo\x00", None), (b"x" * 700_000, b"big")],
        2: [("käse".encode(), b"m")] * 3000,
    }
    for number, messages in sent.items():
        for value, key in messages:
            producer.produce(topic, value, key, number, headers={"traceparent": TRACE, "other": b"1"})
    producer.flush(20)
    reader = Assigned(kafka, receiver_of, [TopicPartition(topic, number, 0) for number in range(3)])
    found, ends, traces = reader.read(3)
    reader.close()
    assert {number: rows_of(runs) for number, runs in found.items()} == {
        number: [(offset, *message) for offset, message in enumerate(messages)] for number, messages in sent.items()
    }
    assert ends == {0: 5, 1: 0, 2: 3000}
    assert set(traces) == {TRACE}
    arrived = np.concatenate([messages.arrived for runs in found.values() for messages in runs])
    assert (np.abs(arrived - arrived.max()) < 60_000).all()
    assert arrived.min() > 1_700_000_000_000


def test_taking_goes_on_where_the_assignment_says(kafka, topic, receiver_of):
    producer = new_producer(kafka)
    for number in range(100):
        producer.produce(topic, str(number).encode(), None, 1)
    producer.flush(20)
    reader = Assigned(kafka, receiver_of, [TopicPartition(topic, 1, 90)])
    found, _, _ = reader.read(1, most=4)
    assert [row[0] for row in rows_of(found[1])] == list(range(90, 100))
    for start in (95, 20, 99, 0, 50):  # assigned anew: what lies in the queue from before does not come out
        again = [TopicPartition(topic, 1, start)]
        if start == 20:
            reader.consumer.assign([])
        reader.receiver.follow(again)
        reader.consumer.assign(again)
        found, _, _ = reader.read(1, most=30)
        assert [row[0] for row in rows_of(found[1])] == list(range(start, 100))
    reader.close()


def test_a_consumer_that_is_dropped_with_messages_unread_is_gone_at_once(kafka, topic, receiver_of):
    producer = new_producer(kafka)
    for number in range(1000):
        producer.produce(topic, b"x" * 100, None, number % 3)
    producer.flush(20)
    reader = Assigned(kafka, receiver_of, [TopicPartition(topic, number, 0) for number in range(3)])
    while not len(reader.receiver.take(10, 0.1)):
        pass
    began = time.monotonic()
    del reader
    gc.collect()
    assert time.monotonic() - began < 20  # it would wait for its messages for ever


def test_members_of_a_group_hand_over_to_each_other(kafka, topic, receiver_of):
    producer, group = new_producer(kafka), f"group-{secrets.token_hex(4)}"
    seen: list[tuple[int, int]] = []
    members = []

    def join() -> tuple[Consumer, Receiver]:
        consumer = new_consumer(kafka, group)
        receiver = receiver_of(consumer)

        def assigned(consumer: Consumer, places: list[TopicPartition]) -> None:
            receiver.follow(places)
            consumer.assign(places)

        def revoked(consumer: Consumer, places: list[TopicPartition]) -> None:
            consumer.commit(offsets=next_of(places), asynchronous=False)

        def next_of(places: list[TopicPartition]) -> list[TopicPartition]:
            done = {place.partition: 0 for place in places}
            for number, offset in seen:
                if number in done:
                    done[number] = max(done[number], offset + 1)
            return [TopicPartition(topic, number, offset) for number, offset in done.items()]

        consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked)
        members.append((consumer, receiver))
        return members[-1]

    def turn() -> None:
        for _, receiver in members:
            for number, messages in receiver.take(50, 0.05).runs:
                seen.extend((number, offset) for offset in messages.offset.tolist())

    wanted = set()
    join()
    for number in range(600):
        producer.produce(topic, b"x", None, number % 3)
        wanted.add((number % 3, number // 3))
        if number % 100 == 99:
            producer.flush(20)
            turn()
        if number == 200:
            join()
        if number == 400:
            consumer, receiver = members.pop(0)
            receiver.close()
            consumer.close()
    for _ in range(400):
        turn()
        if len(seen) >= len(wanted):
            break
    for consumer, receiver in members:
        receiver.close()
        consumer.close()
    assert sorted(seen) == sorted(wanted)  # none missed, none twice


def test_what_is_sent_arrives_in_order_and_whole(kafka, topic, sender_of):
    producer = new_producer(kafka)
    sender = sender_of(producer)
    values = [b"%d" % number for number in range(20_000)] + [None, b"", b"y" * 300_000]
    keys = [b"k%d" % (number % 7) for number in range(20_000)] + [None, b"", b"z"]
    sender.send(topic, 2, Payloads.of(values), Payloads.of(keys))
    sender.send(topic, 2, Payloads.of([]), Payloads.of([]))
    sender.close()
    assert producer.flush(20) == 0
    reader = Assigned(kafka, PlainReceiver, [TopicPartition(topic, 2, 0)])
    found, _, _ = reader.read(1)
    reader.close()
    assert [row[1:] for row in rows_of(found[2])] == list(zip(values, keys, strict=True))


def test_a_sender_waits_while_the_queue_is_full(kafka, topic, sender_of):
    producer = new_producer(kafka, queue_buffering_max_messages=100)
    sender = sender_of(producer)
    values = [b"%d" % number for number in range(1000)]
    sender.send(topic, 0, Payloads.of(values), Payloads.of([b"k"] * 1000))
    sender.close()
    assert producer.flush(20) == 0
    reader = Assigned(kafka, PlainReceiver, [TopicPartition(topic, 0, 0)])
    found, _, _ = reader.read(1)
    reader.close()
    assert [row[1] for row in rows_of(found[0])] == values


def test_a_message_that_no_broker_takes_is_an_error(kafka, topic, sender_of):
    producer = new_producer(kafka, message_max_bytes=2000)
    sender = sender_of(producer)
    with pytest.raises(KafkaException, match=r"does not take|too large"):
        sender.send(topic, 0, Payloads.of([b"small", b"x" * 5000]), Payloads.of([b"k", b"k"]))
    sender.close()
    producer.flush(20)


def test_a_partition_that_there_is_not_is_an_error_at_once(kafka, topic):
    producer = new_producer(kafka)
    sender = NativeSender(producer)
    with pytest.raises(KafkaException, match="no partition 3"):
        sender.send(topic, 3, Payloads.of([b"x"]), Payloads.of([b"k"]))
    sender.close()


def test_the_libraries_are_there_where_these_tests_run():
    assert library.unusable() is None
