"""Messages in and out of Kafka by the batch, in columns.

confluent-kafka makes an object of each message, which costs more than all that is then done with it. Where librdkafka,
which it brings along, can be called directly (`native_*`), no message is touched by Python; elsewhere (`plain`) the
same columns are made of the objects. Which of the two is at work shows in nothing but speed.
"""

import logging
import os

from confluent_kafka import Consumer, Producer

from meterpipe.adapters.batches import library, plain
from meterpipe.adapters.batches.native_receiver import NativeReceiver
from meterpipe.adapters.batches.native_sender import NativeSender
from meterpipe.adapters.batches.ports import Receiver, Sender, Taken

__all__ = ["Receiver", "Sender", "Taken", "new_receiver", "new_sender"]

log = logging.getLogger(__name__)

SWITCH = "METERPIPE_NATIVE"
"""Environment variable: `no` has everything done by `plain`."""


def new_receiver(consumer: Consumer) -> Receiver:
    """What takes the consumer's messages. Close it before the consumer."""
    if _is_native():
        return NativeReceiver(consumer)
    return plain.PlainReceiver(consumer)


def new_sender(producer: Producer) -> Sender:
    """What hands many messages to the producer at once."""
    if _is_native():
        return NativeSender(producer)
    return plain.PlainSender(producer)


def _is_native() -> bool:
    if os.environ.get(SWITCH, "") == "no":
        return False
    if (why := library.unusable()) is None:
        return True
    log.info("messages are taken one by one, which is slower: %s", why)
    return False
