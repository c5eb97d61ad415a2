"""What the tests of the notifier share: a receiver that does as it is told, events by the thousand, the table."""

import base64
import hashlib
import hmac
import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from meterpipe.adapters.cassandra import connect
from meterpipe.adapters.kafka import new_producer
from meterpipe.adapters.open_alarms import OpenAlarmsReader
from meterpipe.core.alarms.events import Alarm, AlarmKind, AlarmState, Place, alarm_id, encode_alarm
from meterpipe.spec.connections import NotifierConnection, WorkerConfig
from meterpipe.spec.names import names_of

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
TOKEN = "receiver-token"
Told = dict[str, Any]
Behaviour = Callable[[Told, int], int | tuple[int, dict[str, str]] | None]
"""From the CloudEvent and the number of its attempt (1, 2, …) to a status, with headers, or None: no answer at all."""


class Receiver:
    """An HTTP server on loopback. It verifies each request; what is wrong with one is in `faults`."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = lambda told, attempt: 204
        self.taken: list[Told] = []
        """CloudEvents answered with 2xx, in order, repeats too."""
        self.attempts: dict[str, list[float]] = defaultdict(list)
        self.faults: list[str] = []
        self.connections = 0
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self.release = threading.Event()
        """Lets requests go that hang."""
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/alarms?from=meterpipe"

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                receiver.connections += 1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = receiver._judge(self.path, dict(self.headers), body)
                if answer is None:
                    self.close_connection = True
                    return
                status, headers = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                said = b"" if status == 204 else b"because I say so"
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                pass  # a client that was killed

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Nobody listens any more; what is connected is cut off at its next request."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def keys(self) -> list[str]:
        """`<id>/<state>` of what was taken, without repeats, in the order it first came."""
        return list(dict.fromkeys(told["id"] for told in self.taken))

    def events(self, meter: str) -> list[str]:
        """As `keys`, of one meter."""
        return list(dict.fromkeys(told["id"] for told in self.taken if told["subject"] == meter))

    def _judge(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]] | None:
        told = json.loads(body)
        with self._lock:
            self._verify(path, {name.lower(): value for name, value in headers.items()}, body, told)
            self.attempts[told["id"]].append(time.monotonic())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        if self._server is None:
            return None
        try:
            answer = self.behaviour(told, len(self.attempts[told["id"]]))
        finally:
            with self._lock:
                self._at_once -= 1
        status, more = answer if isinstance(answer, tuple) else (answer, {})
        if status is None:
            return None
        if 200 <= status < 300:
            with self._lock:
                self.taken.append(told)
        return status, more

    def _verify(self, path: str, headers: dict[str, str], body: bytes, told: Told) -> None:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        wanted = base64.b64encode(hmac.new(bytes(range(32)), signed, hashlib.sha256).digest()).decode()
        checks = {
            "signature": headers["webhook-signature"] == f"v1,{wanted}",
            "time": abs(int(headers["webhook-timestamp"]) - time.time()) < 60,
            "keys": headers["idempotency-key"] == headers["webhook-id"] == told["id"],
            "id": told["id"] == f"{told['data']['id']}/{told['data']['state']}",
            "type": told["type"] == f"io.meterpipe.alarm.{told['data']['state']}",
            "subject": told["subject"] == told["data"]["meter"],
            "content": headers["content-type"] == "application/cloudevents+json; charset=utf-8",
            "token": headers.get("authorization") == f"Bearer {TOKEN}",
            "path": path == "/alarms?from=meterpipe",
        }
        self.faults += [f"{name} of {told['id']}" for name, right in checks.items() if not right]


@contextmanager
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    try:
        yield made
    finally:
        made.release.set()
        made.stop()


# events


def instant(number: int) -> str:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def alarms(meters: int, each: int, seed: int = 0, begin: int = 0) -> list[Alarm]:
    """`each` changes of every meter, mixed, in order within a meter: alarms raised and cleared, some left open."""
    chance = random.Random(seed)
    made: list[Alarm] = []
    open_ones: dict[tuple[str, AlarmKind], Alarm] = {}
    turns = [meter for meter in range(meters) for _ in range(each)]
    chance.shuffle(turns)
    for number, turn in enumerate(turns, begin):
        meter, kind = f"meter-{turn}", chance.choice([AlarmKind.OVER, AlarmKind.UNDER, AlarmKind.SILENCE])
        there = open_ones.pop((meter, kind), None)
        at = instant(number)
        if there is None:
            identity = alarm_id(meter, "ELECTRICITY", "ACTIVE_POWER", kind, at)
            value = None if kind is AlarmKind.SILENCE else number / 4
            there = Alarm(
                identity, AlarmState.RAISED, kind, meter, "ELECTRICITY", "ACTIVE_POWER", at, at,
                value, None if value is None else 1.5, Place(1, number) if number % 2 else None, Place(0, number),
            )  # fmt: skip
            open_ones[meter, kind] = there
            made.append(there)
        else:
            made.append(
                Alarm(there.id, AlarmState.CLEARED, kind, meter, there.metric, there.attribute, at, there.raised_at)
            )
    return made


def key_of(alarm: Alarm) -> str:
    return f"{alarm.id}/{alarm.state}"


def keys_by_meter(events: list[Alarm]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for alarm in events:
        found[alarm.meter].append(key_of(alarm))
    return found


def write(config: WorkerConfig, events: list[Alarm] | list[bytes], key: bytes | None = None) -> None:
    """Put events onto the topic of alarms, with the meter as the key."""
    producer = new_producer(config.kafka)
    for event in events:
        value = event if isinstance(event, bytes) else encode_alarm(event)
        producer.produce(
            names_of(config.pipeline).alarms, value, key if isinstance(event, bytes) else event.meter.encode()
        )
    assert producer.flush(30) == 0


# what is open


def expected_open(events: list[Alarm]) -> dict[tuple[str, ...], tuple[Any, ...]]:
    """What is open after `events`: by meter, metric, attribute and kind."""
    last = {(a.meter, a.metric, a.attribute, a.kind.value): a for a in events}
    return {
        key: (a.id, a.raised_at, a.value, a.limit, _plain(a.threshold), _plain(a.reading))
        for key, a in last.items()
        if a.state is AlarmState.RAISED
    }


def _plain(place: Place | None) -> dict[str, int] | None:
    return {"partition": place.partition, "offset": place.offset} if place else None


@contextmanager
def table_of(config: WorkerConfig) -> Iterator[Callable[[], dict[tuple[str, ...], tuple[Any, ...]]]]:
    """A function that reads the table."""
    assert config.cassandra is not None
    session = connect(config.cassandra, 60.0)
    reader = OpenAlarmsReader(session, names_of(config.pipeline).keyspace)

    def read() -> dict[tuple[str, ...], tuple[Any, ...]]:
        return {
            (a.meter, a.metric, a.attribute, a.kind): (a.id, a.raised_at, a.value, a.limit, a.threshold, a.reading)
            for a in reader.alarms()
        }

    try:
        yield read
    finally:
        session.cluster.shutdown()


def told_config(config: WorkerConfig, folder: Any) -> WorkerConfig:
    """With the secrets that the receiver knows."""
    folder.mkdir(exist_ok=True)
    (folder / "key").write_text(SECRET + "\n")
    (folder / "token").write_text(TOKEN + "\n")
    secrets = NotifierConnection(key_file=folder / "key", token_file=folder / "token", host="127.0.0.1")
    return config.model_copy(update={"notifier": secrets})
