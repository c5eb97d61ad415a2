"""The ingest worker: adapters that take readings in, and the gate to Kafka, on one event loop stepped by the frame."""

import asyncio
import logging
import os
import socket
from collections.abc import Coroutine
from typing import Any, Protocol

from meterpipe import __version__
from meterpipe.adapters.ingest.gate import Gate, Limits, Topics
from meterpipe.adapters.ingest.http import HttpAdapter, Readings, Served, application, listener
from meterpipe.adapters.ingest.mqtt import Login, MqttAdapter
from meterpipe.adapters.ingest.plugins import formats
from meterpipe.adapters.ingest.tokens import Tokens
from meterpipe.adapters.kafka import new_producer, topic_info
from meterpipe.core.ingest.messages import Router
from meterpipe.core.ingest.openapi import document
from meterpipe.core.ingest.topics import MessageDecoder, Template
from meterpipe.spec.connections import IngestConnection, WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Telemetry

log = logging.getLogger(__name__)

INSTANCE = "METERPIPE_INSTANCE"
"""Environment: what tells this replica from the others; by default the host's name, as a StatefulSet's pods have it."""
STEP_S = 0.1
STALLED_S = 5.0
"""Seconds without a confirmation of what is in flight after which the worker is not ready."""


def instance(prefix: str) -> str:
    """The MQTT client id of this replica: the same after a restart, so that it finds its session again."""
    return f"{prefix}-{os.environ.get(INSTANCE) or socket.gethostname()}"


class Adapter(Protocol):
    """One way in. Runs on the worker's event loop and gives what it takes in to the gate."""

    @property
    def taken(self) -> int:
        """Requests or messages so far."""

    def start(self) -> None:
        """Begin, from within the loop."""

    def ready(self) -> bool:
        """Whether readings can come in this way."""

    async def close(self) -> None:
        """Take in nothing more, answer what was taken in."""


class Ingest:
    """Readings from gateways into the readings topic."""

    kind = "ingest"

    def __init__(self, config: WorkerConfig, telemetry: Telemetry) -> None:
        spec, names = config.pipeline.spec, names_of(config.pipeline)
        self._telemetry = telemetry
        self._loop = asyncio.new_event_loop()
        secrets = config.ingest or IngestConnection()
        shared = spec.ingest.replicas > 1
        bound = listener(secrets.host, spec.ingest.http.port, shared)
        tokens = Tokens(spec.ingest.groups, secrets.token_files, spec.ingest.anonymous)
        partitions = topic_info(config.kafka, names.readings).partitions
        self._producer = new_producer(
            config.kafka,
            linger_ms=0,
            message_timeout_ms=spec.ingest.ack_timeout * 1000,
            reconnect_backoff_max_ms=1000,
        )
        self._gate = Gate(
            self._producer,
            Router(spec.readings, partitions),
            Topics(names.readings, names.dead_letters),
            Limits(spec.ingest.linger_ms / 1000, spec.ingest.max_pending),
            telemetry,
        )
        known = formats(spec.readings)
        endpoint = Readings(spec.ingest, spec.readings, Served(self._gate, tokens, known, telemetry))
        described = document(spec.ingest, spec.readings, known, __version__)
        self._adapters: list[Adapter] = [HttpAdapter(application(endpoint, described), bound, endpoint)]
        if spec.ingest.mqtt is not None:
            template = Template(spec.ingest.mqtt.topic)
            self._adapters.append(
                MqttAdapter(
                    spec.ingest.mqtt,
                    Login.of(secrets, instance(names.group(self.kind))),
                    names.group(self.kind),
                    (MessageDecoder(template, spec.readings), template),
                    self._gate,
                    telemetry,
                    spec.readings.max_ahead,
                )
            )
        self._taken = 0
        self._run(self._start())
        log.info("taking readings in at %s:%d", secrets.host, spec.ingest.http.port)

    def step(self) -> int:
        """Let the adapters work for 100 ms. RuntimeError after a fatal error of the producer: start anew."""
        with self._telemetry.waiting:
            self._loop.call_later(STEP_S, self._loop.stop)
            self._loop.run_forever()
        self._gate.poll()
        if self._gate.fatal is not None:
            raise RuntimeError(f"the producer can no longer be used: {self._gate.fatal}")
        taken = sum(adapter.taken for adapter in self._adapters)
        before, self._taken = self._taken, taken
        return taken - before

    def ready(self) -> bool:
        """Whether every adapter takes readings in and Kafka confirms them."""
        return self._gate.stalled() < STALLED_S and all(adapter.ready() for adapter in self._adapters)

    def close(self) -> None:
        """Take nothing more in, answer what was taken in once Kafka has it, leave."""
        self._run(self._finish())
        self._producer.flush(5.0)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _start(self) -> None:
        for adapter in self._adapters:
            adapter.start()

    async def _finish(self) -> None:
        self._gate.flush()
        await asyncio.gather(*(adapter.close() for adapter in self._adapters))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._loop.run_until_complete(work)
