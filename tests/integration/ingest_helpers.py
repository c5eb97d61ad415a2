"""What the tests of the edge share: a real MQTT broker, and clients that do not give up."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from meterpipe.core.codecs import Decoder
from meterpipe.core.readings import KeyTable
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from paho.mqtt.client import Client, MQTTMessageInfo, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from tests.integration.harness import records_of, wait_until

BASE = 1_767_225_600_000
SAFE = "max_inflight_messages 1000\nmax_queued_messages 0\npersistence false\n"

Reading = tuple[str, int]
"""meter, instant: enough to tell the readings of these tests apart."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def mosquitto_program() -> str:
    """The broker's program, installed if that can be done here."""
    search = os.environ["PATH"] + ":/usr/sbin"
    if not (found := shutil.which("mosquitto", path=search)) and os.geteuid() == 0 and shutil.which("apt-get"):
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", "mosquitto"]):
            subprocess.run(["apt-get", "-qq", *arguments], check=True, stdout=subprocess.DEVNULL)
        found = shutil.which("mosquitto", path=search)
    return found or pytest.skip("mosquitto is not installed")


@contextmanager
def broker(folder: Path, port: int) -> Iterator[None]:
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n{SAFE}")
    with (folder / "mosquitto.log").open("wb") as out:
        process = subprocess.Popen([mosquitto_program(), "-c", str(settings)], stdout=out, stderr=out)
    try:
        wait_until(lambda: listens(port), "the broker listens")
        yield
    finally:
        process.terminate()
        process.wait()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def post(
    port: int, body: bytes, path: str = "/v1/readings", **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, document and headers. Raises OSError or HTTPException if there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, body, {"Content-Type": "application/json"} | named)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read()), {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def batch(meter: str, first: int, count: int) -> tuple[bytes, set[Reading]]:
    """A body of JSON readings; all instants lie in one minute as long as there are fewer than 60 000."""
    readings = [
        {
            "gateway": meter,
            "metricType": "ELECTRICITY",
            "metricAttribute": "ACTIVE_POWER",
            "timestamp": BASE + i,
            "value": i / 8,
        }
        for i in range(first, first + count)
    ]
    return json.dumps(readings).encode(), {(meter, BASE + i) for i in range(first, first + count)}


class Poster(threading.Thread):
    """A gateway that posts a batch again until it is acknowledged, then the next one."""

    def __init__(self, port: int, meter: str, stop: threading.Event) -> None:
        super().__init__()
        self._port, self._meter, self._stop_event = port, meter, stop
        self.acknowledged: set[Reading] = set()
        self.retries = 0

    def run(self) -> None:
        number = 0
        while not self._stop_event.is_set() and number < 1000:
            body, readings = batch(self._meter, number * 50, 50)
            while not self._accepted(body):
                self.retries += 1
                time.sleep(0.5)
            self.acknowledged |= readings
            number += 1
            time.sleep(0.02)

    def _accepted(self, body: bytes) -> bool:
        try:
            return post(self._port, body)[0] == 202
        except (OSError, http.client.HTTPException):
            return False


class MqttGateway(threading.Thread):
    """Publishes at QoS 1 until told to stop; `acknowledged` are those the broker confirmed."""

    def __init__(self, port: int, meter: str, stop: threading.Event) -> None:
        super().__init__()
        self._port, self._meter, self._stop_event = port, meter, stop
        self.acknowledged: set[Reading] = set()

    def run(self) -> None:
        client = Client(CallbackAPIVersion.VERSION2, f"gateway-{self._meter}", protocol=MQTTv5)
        client.connect("127.0.0.1", self._port)
        client.loop_start()
        sent: list[tuple[Reading, MQTTMessageInfo]] = []
        topic = f"meters/{self._meter}/ELECTRICITY/ACTIVE_POWER"
        while not self._stop_event.is_set() and len(sent) < 50_000:
            for _ in range(20):
                instant = BASE + len(sent)
                payload = json.dumps({"timestamp": instant, "value": len(sent) / 8})
                sent.append(((self._meter, instant), client.publish(topic, payload, qos=1)))
            time.sleep(0.1)
        for one, info in sent:
            info.wait_for_publish(60)
            if info.is_published():
                self.acknowledged.add(one)
        client.disconnect()
        client.loop_stop()


def publish(port: int, topic: str, payload: bytes) -> None:
    """One message at QoS 1, confirmed by the broker."""
    client = Client(CallbackAPIVersion.VERSION2, "publisher", protocol=MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.publish(topic, payload, qos=1).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


def readings_in(config: WorkerConfig) -> list[Reading]:
    """All readings of the readings topic, with repetitions."""
    keys, found = KeyTable(), list[Reading]()
    values = [message.value() for message in records_of(config, names_of(config.pipeline).readings)]
    decoded = Decoder().decode(values, keys)
    assert decoded.rejects == []
    names = list(keys.ids)
    found += [
        (names[key][0], ts) for key, ts in zip(decoded.readings.key.tolist(), decoded.readings.ts.tolist(), strict=True)
    ]
    return found


def until_all_in(config: WorkerConfig, wanted: set[Reading], tend: Callable[[], None]) -> list[Reading]:
    """Wait until `wanted` are in Kafka; gives back all that is."""
    found: list[Reading] = []

    def there() -> bool:
        nonlocal found
        tend()
        found = readings_in(config)
        return wanted <= set(found)

    wait_until(there, "all that was acknowledged is in Kafka", pause=0.5)
    return found
