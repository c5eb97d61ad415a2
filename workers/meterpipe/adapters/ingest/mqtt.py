"""MQTT 5: a shared subscription at QoS 1 whose messages are acknowledged once Kafka has them, in the order they came.

The session outlives the connection: what was not acknowledged, the broker sends again. So after any trouble the
connection is given up and made anew. Paho's client does the protocol; its socket is watched by the event loop.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from meterpipe.adapters.ingest.gate import Gate, Letter
from meterpipe.core.ingest.topics import MessageDecoder, Template, letter_headers
from meterpipe.spec.connections import IngestConnection
from meterpipe.spec.ingest import Mqtt
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger(__name__)

ADAPTER = "mqtt"
BURST = 500
"""Messages read before what was read is handed on."""
MAX_PACKET = 900_000
"""Bytes of a message; the broker is told and keeps larger ones to itself."""
KEEPALIVE_S = 30
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 10.0
CLOSE_S = 10.0
_DEAF = frozenset({0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA2})  # reason codes of SUBACK that are failures


@dataclass(frozen=True, slots=True)
class Login:
    """How to reach the broker, and as whom."""

    client_id: str
    username: str | None = None
    password: str | None = None
    ca_file: Path | None = None

    @classmethod
    def of(cls, secrets: IngestConnection, client_id: str) -> "Login":
        """With the secrets read from their files."""
        password = secrets.mqtt_password_file.read_text().strip() if secrets.mqtt_password_file else None
        return cls(client_id, secrets.mqtt_username, password, secrets.mqtt_ca_file)


@dataclass(slots=True)
class _Burst:
    """Messages that were handed to the gate together."""

    messages: list[MQTTMessage]
    began: float
    done: "asyncio.Future[None]"


class MqttAdapter:
    """Messages of a topic template into the gate."""

    def __init__(
        self,
        spec: Mqtt,
        login: Login,
        group: str,
        decoder: tuple[MessageDecoder, Template],
        gate: Gate,
        telemetry: Telemetry,
        max_ahead: int,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`group`: name of the shared subscription. `max_ahead` in seconds."""
        self._spec, self._login, self._gate, self._telemetry = spec, login, gate, telemetry
        self._decoder, self._topic = decoder[0], f"$share/{group}/{decoder[1].filter}"
        self._max_ahead, self._wall = max_ahead, wall
        self.taken = 0
        self._client: Client | None = None
        self._lost: asyncio.Future[str] | None = None
        self._read: list[MQTTMessage] = []
        self._open: deque[_Burst] = deque()
        self._subscribed = self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, and stay connected, in the background."""
        self._task = asyncio.get_running_loop().create_task(self._stay_connected())

    def ready(self) -> bool:
        """Whether the broker sends its messages."""
        return self._subscribed

    async def close(self) -> None:
        """Read nothing more, acknowledge what Kafka confirms, leave. What is left over the broker keeps."""
        self._closing = True
        if self._client is not None and (sock := self._client.socket()) is not None:
            asyncio.get_running_loop().remove_reader(sock)
        if self._open:
            await asyncio.wait([burst.done for burst in self._open], timeout=CLOSE_S)
            await asyncio.sleep(0)  # lets the acknowledgements be written
        self._lose("closing")
        if self._task is not None:
            await self._task

    async def _stay_connected(self) -> None:
        delay = FIRST_DELAY_S
        while not self._closing:
            began = time.monotonic()
            why = await self._session()
            if self._closing:
                return
            delay = FIRST_DELAY_S if time.monotonic() - began > LONGEST_DELAY_S else min(2 * delay, LONGEST_DELAY_S)
            log.warning("MQTT broker %s:%d: %s; again in %.1f s", self._spec.host, self._spec.port, why, delay)
            await asyncio.sleep(delay)

    async def _session(self) -> str:
        """One connection, from its beginning to its end; gives back why it ended."""
        loop = asyncio.get_running_loop()
        self._lost = loop.create_future()
        client = self._client = self._new_client()
        sock = None
        try:
            await asyncio.to_thread(self._connect, client)
            sock = client.socket()
            if sock is None:
                return "the connection was closed at once"
            loop.add_reader(sock, self._readable)
            self._write()
            while not self._lost.done():
                await asyncio.wait({self._lost}, timeout=1.0)
                client.loop_misc()
                self._write()
            return self._lost.result()
        except (OSError, ValueError) as error:
            return str(error)
        finally:
            self._subscribed = False
            self._read.clear()
            self._open.clear()  # their acknowledgements would be of another connection
            if sock is not None:
                loop.remove_reader(sock)
                loop.remove_writer(sock)
            with suppress(OSError, ValueError):
                client.disconnect()

    def _new_client(self) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, self._login.client_id, protocol=MQTTv5, manual_ack=True)
        client.on_connect, client.on_subscribe = self._on_connect, self._on_subscribe
        client.on_message, client.on_disconnect = self._on_message, self._on_disconnect
        if self._login.username is not None:
            client.username_pw_set(self._login.username, self._login.password)
        if self._spec.tls:
            client.tls_set(ca_certs=str(self._login.ca_file) if self._login.ca_file else None)
        return client

    def _connect(self, client: Client) -> None:
        """Blocks until TCP and TLS are up."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._spec.session_expiry
        properties.ReceiveMaximum = self._spec.receive_maximum
        properties.MaximumPacketSize = MAX_PACKET
        client.connect(self._spec.host, self._spec.port, KEEPALIVE_S, clean_start=False, properties=properties)

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if reason.is_failure:
            self._lose(f"refused: {reason}")
            return
        client.subscribe(self._topic, options=SubscribeOptions(qos=1))

    def _on_subscribe(
        self, _client: Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        if any(reason.value in _DEAF for reason in reasons):
            self._lose(f"subscription to {self._topic} refused: {', '.join(map(str, reasons))}")
            return
        log.info("subscribed to %s as %s", self._topic, self._login.client_id)
        self._subscribed = True

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self._lose(f"disconnected: {reason}")

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._read.append(message)

    def _lose(self, why: str) -> None:
        """Give the connection up."""
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(why)

    def _readable(self) -> None:
        """Read what has come, and hand it on."""
        client = self._client
        assert client is not None
        for _ in range(BURST):
            problem = client.loop_read()
            if problem != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._lose(f"connection lost: {problem.name}")
                return
            if not _more(client.socket()):
                break
        self._write()
        if self._read:
            self._take()

    def _take(self) -> None:
        """Give what was read to the gate."""
        messages, self._read = self._read, []
        self.taken += len(messages)
        latest = int((self._wall() + self._max_ahead) * 1000)
        rows, refused = self._decoder.decode([(message.topic, bytes(message.payload)) for message in messages], latest)
        letters = []
        for one in refused:
            message = messages[one.message]
            letters.append(Letter(bytes(message.payload), letter_headers(one, message.topic)))
            self._telemetry.count(Metric.INGEST_REFUSED, one.readings, adapter=ADAPTER, reason=one.reason)
        done = self._gate.submit(rows, letters)
        self._open.append(_Burst(messages, time.perf_counter(), done))
        done.add_done_callback(self._settled)

    def _settled(self, _done: "asyncio.Future[None]") -> None:
        """Acknowledge the oldest bursts that are durable. After a failure all comes again by a new connection."""
        client, now = self._client, time.perf_counter()
        while client is not None and self._open and self._open[0].done.done():
            burst = self._open.popleft()
            if (error := burst.done.exception()) is not None:
                self._open.clear()
                self._lose(f"Kafka has not confirmed ({error})")
                return
            for message in burst.messages:
                if message.qos:
                    client.ack(message.mid, message.qos)
            self._telemetry.observe(Metric.INGEST_ACK_SECONDS, now - burst.began, adapter=ADAPTER)
            self._telemetry.count(Metric.INGEST_REQUESTS, len(burst.messages), adapter=ADAPTER, status="ack")
        self._write()

    def _write(self) -> None:
        """Have the loop write what the socket did not take at once."""
        client = self._client
        if client is None or (sock := client.socket()) is None:
            return
        loop = asyncio.get_running_loop()
        if client.want_write():
            loop.add_writer(sock, self._writable)
        else:
            loop.remove_writer(sock)

    def _writable(self) -> None:
        assert self._client is not None
        self._client.loop_write()
        self._write()


def _more(sock: Any) -> bool:
    """Whether there is something to read without waiting."""
    if sock is None:
        return False
    if isinstance(sock, ssl.SSLSocket):
        return sock.pending() > 0
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False
