"""Load generators: readings over HTTP and MQTT at a rate, with the time each acknowledgement took."""

import asyncio
import json
import struct
import time
from dataclasses import dataclass, field

METERS = 5000
START_MS = 1_767_225_600_000


@dataclass(slots=True)
class Seen:
    """What a run gave. `delays` in seconds, one an acknowledgement, from when it was due to be sent."""

    acknowledged: int = 0  # readings
    other: dict[str, int] = field(default_factory=dict)
    delays: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def percentile(self, share: float) -> float:
        """Of the delays, in ms."""
        ordered = sorted(self.delays)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def reading(number: int) -> dict[str, object]:
    """The reading of this number: no two are of one meter and instant."""
    return {
        "gateway": f"meter-{number % METERS}",
        "metricType": "ELECTRICITY",
        "metricAttribute": "ACTIVE_POWER",
        "timestamp": START_MS + number // METERS * 1000,
        "value": (number * 37 % 4096) / 1024,
    }


def requests(count: int, size: int, first: int) -> list[bytes]:
    """HTTP requests of `size` readings each."""
    made = []
    for number in range(count):
        body = json.dumps([reading(first + number * size + i) for i in range(size)]).encode()
        head = f"POST /v1/readings HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        made.append(head.encode() + b"\r\n\r\n" + body)
    return made


async def http(port: int, bodies: list[bytes], size: int, rate: float, connections: int = 16) -> Seen:
    """Send `bodies` at `rate` readings a second (0: as fast as they are answered)."""
    seen, queue = Seen(), iter(enumerate(bodies))
    began = time.perf_counter()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number, request in queue:
            due = began + number * size / rate if rate else time.perf_counter()
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            seen.delays.append(time.perf_counter() - due)
            status = head[9:12].decode()
            if status == "202":
                seen.acknowledged += size
            else:
                seen.other[status] = seen.other.get(status, 0) + 1
        writer.close()

    await asyncio.gather(*(connection() for _ in range(connections)))
    seen.seconds = time.perf_counter() - began
    return seen


class Publisher(asyncio.Protocol):
    """Publishes at QoS 1, MQTT 5 by hand and packets made beforehand: a client library would be the bottleneck."""

    def __init__(self) -> None:
        self.confirmed = 0
        self.connected = asyncio.get_running_loop().create_future()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        body = _text("MQTT") + b"\x05\x02" + struct.pack("!H", 60) + b"\x00" + _text(f"bench-{id(self)}")
        transport.write(b"\x10" + _length(len(body)) + body)

    def data_received(self, data: bytes) -> None:
        """Count the acknowledgements."""
        data = self._rest + data
        at = 0
        while at + 2 <= len(data) and at + 2 + data[at + 1] <= len(data):
            if data[at] >> 4 == 4:
                self.confirmed += 1
            elif not self.connected.done():
                self.connected.set_result(None)
            at += 2 + data[at + 1]
        self._rest = data[at:]


def publications(count: int, first: int) -> list[bytes]:
    """PUBLISH packets of one reading each."""
    made = []
    for number in range(count):
        one = reading(first + number)
        topic = f"meters/{one['gateway']}/{one['metricType']}/{one['metricAttribute']}"
        payload = f'{{"timestamp":{one["timestamp"]},"value":{one["value"]}}}'.encode()
        body = _text(topic) + struct.pack("!H", number % 65_000 + 1) + b"\x00" + payload
        made.append(b"\x32" + _length(len(body)) + body)
    return made


async def mqtt(port: int, packets: list[bytes], rate: float) -> Seen:
    """Publish at `rate` messages a second; `seconds` ends with the broker's last acknowledgement."""
    _, client = await asyncio.get_running_loop().create_connection(Publisher, "127.0.0.1", port)
    await client.connected
    began, sent = time.perf_counter(), 0
    while sent < len(packets):
        due = min(len(packets), int((time.perf_counter() - began) * rate), client.confirmed + 10_000)
        client.transport.write(b"".join(packets[sent:due]))
        sent = max(sent, due)
        await asyncio.sleep(0.005)
    deadline = time.perf_counter() + 60
    while client.confirmed < len(packets) and time.perf_counter() < deadline:
        await asyncio.sleep(0.01)
    client.transport.close()
    return Seen(acknowledged=client.confirmed, seconds=time.perf_counter() - began)


def _text(text: str) -> bytes:
    return struct.pack("!H", len(text)) + text.encode()


def _length(size: int) -> bytes:
    found = bytearray()
    while True:
        size, low = divmod(size, 128)
        found.append(low | (0x80 if size else 0))
        if not size:
            return bytes(found)
