"""Kafka transactions: all that is produced between two commits becomes visible together with its offsets, or never."""

import faulthandler
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaException, Message, TopicPartition

from meterpipe.adapters.batches import new_sender
from meterpipe.adapters.kafka import new_producer
from meterpipe.core.messages import Payloads
from meterpipe.spec.connections import KafkaConnection
from meterpipe.spec.topics import MAX_MESSAGE

TIMEOUT = 60.0
CALL_SECONDS = 10.0
HUNG_SECONDS = 2 * CALL_SECONDS
"""A transactional call that takes so long, against its own timeout, never ends: librdkafka waits for a coordinator that
it has thrown away (its issues 5456 and 5511). The process is ended then, its stacks in the log: its transaction has
timed out long since, and a successor goes on."""
TRANSACTION_MS = 10_000
"""After this the broker aborts what a killed worker left open; until then its successor waits for the outcome."""
CLIENT_LIMIT = 1_000_000_000
"""Bytes of a message the client itself would refuse: the topics' own limits decide."""

QUEUE_MESSAGES = 800_000

OWNED_BATCH, ANY_BATCH = MAX_MESSAGE - 1024 * 1024, 1_000_000
"""Bytes sent at once to topics that are ours, and to those whose limit may be Kafka's default."""
COLLECT_MS = 5000
"""How long messages may wait to be sent together, which a commit ends. Of a partition whose messages are ready while
others of it are under way, librdkafka's thread asks again and again without a pause: at worst all the time."""

Headers = Sequence[tuple[str, bytes]]
Delivered = Callable[[Any, Message], None]


class BrokenProducerError(Exception):
    """The producer can't go on: it was fenced, or the outcome of its transaction is not known. A new process can."""


class Transactions:
    """A transactional producer. One transaction is open at a time; it begins with the first record."""

    def __init__(self, connection: KafkaConnection, transactional_id: str, batch: int) -> None:
        """`batch`: bytes that every topic it writes to takes at once."""
        self.open = False
        self._producer = new_producer(
            connection,
            transactional_id=transactional_id,
            transaction_timeout_ms=TRANSACTION_MS,
            message_max_bytes=CLIENT_LIMIT,
            linger_ms=COLLECT_MS,
            batch_size=batch,
            batch_num_messages=1_000_000,
            queue_buffering_max_messages=QUEUE_MESSAGES,
            metadata_recovery_strategy="none",  # `rebootstrap` throws the coordinator away, see HUNG_SECONDS
        )
        self._sender = new_sender(self._producer)
        self._producer.init_transactions(TIMEOUT)

    def produce(
        self,
        topic: str,
        partition: int,
        value: bytes | None,
        key: bytes | str | None = None,
        headers: Headers | None = None,
        on_delivery: Delivered | None = None,
    ) -> None:
        """Add a record to the transaction; waits while the client's queue is full."""
        self._begin()
        while True:
            try:
                self._producer.produce(
                    topic, value, key, partition, on_delivery=on_delivery, headers=[*headers] if headers else None
                )
                return
            except BufferError:
                self._producer.flush(0.1)

    def produce_all(self, topic: str, partition: int, values: Payloads, keys: Payloads) -> None:
        """Add many records; waits while the client's queue is full."""
        self._begin()
        self._sender.send(topic, partition, values, keys)

    def _begin(self) -> None:
        if not self.open:
            self._producer.begin_transaction()
            self.open = True

    def deliver(self) -> None:
        """Wait until all records so far are with the broker and their `on_delivery` has been called."""
        self._producer.flush(TIMEOUT)

    def poll(self) -> None:
        """Serve delivery callbacks."""
        self._producer.poll(0)

    def commit(self, offsets: list[TopicPartition], group: Any) -> None:
        """Commit records and `offsets` together.

        `group` is the consumer group's metadata as it was when the partitions were assigned, never fetched anew: the
        broker refuses the commit if they belong to somebody else by now, and that is what keeps a sleeper from
        committing once it wakes. Raises KafkaException; then the transaction has to be aborted.
        """
        _until_done(lambda: self._producer.send_offsets_to_transaction(offsets, group, CALL_SECONDS))
        _until_done(lambda: self._producer.commit_transaction(CALL_SECONDS))
        self.open = False

    def abort(self) -> None:
        """Make all records since the last commit void. Raises BrokenProducerError."""
        if self.open:
            try:
                _until_done(lambda: self._producer.abort_transaction(CALL_SECONDS))
            except KafkaException as failed:
                raise BrokenProducerError(failed.args[0].str()) from failed
            self.open = False

    def close(self) -> None:
        """Hand over what is left in the client's queue."""
        self._producer.flush(TIMEOUT)
        self._sender.close()


@contextmanager
def _ended_if_hung() -> Iterator[None]:
    faulthandler.dump_traceback_later(HUNG_SECONDS, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _until_done(call: Callable[[], Any]) -> None:
    """Transactional calls that time out or fail for a passing reason have to be made again."""
    deadline = time.monotonic() + CALL_SECONDS
    while True:
        try:
            with _ended_if_hung():
                call()
            return
        except KafkaException as failed:
            if not failed.args[0].retriable() or time.monotonic() > deadline:
                raise
