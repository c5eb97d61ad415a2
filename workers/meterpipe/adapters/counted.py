"""Readers of the topic of counted readings: how its messages are decoded, and which partition is a reading's own."""

from collections.abc import Callable
from functools import partial

from meterpipe.adapters.schema_registry import decoder_of
from meterpipe.core.codecs import Decoder
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.models import KeyRule
from meterpipe.spec.names import names_of


def counted_decoder(config: WorkerConfig) -> Callable[[], Decoder]:
    """Makes decoders. What the validation passes on are envelopes, whatever gateways send."""
    return Decoder if names_of(config.pipeline).validated else partial(decoder_of, config)


def counted_rule(config: WorkerConfig) -> KeyRule:
    """What the key must be. What the validation made of a reading is in that one's partition, whatever its channel."""
    return KeyRule.TRUSTED if names_of(config.pipeline).validated else config.pipeline.spec.readings.key
