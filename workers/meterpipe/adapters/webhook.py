"""Posts to the webhook: connections kept alive, threads that wait for answers."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Generic, TypeVar

import urllib3

from meterpipe import __version__
from meterpipe.core.notify import signing
from meterpipe.core.notify.cloudevents import CONTENT_TYPE, Notice
from meterpipe.core.notify.policy import Answer, retry_after
from meterpipe.spec.connections import NotifierConnection
from meterpipe.spec.notifier import Webhook

BODY_BYTES = 65_536
"""Of an answer, read so that the connection can be used again; the body of a longer one is left unread."""
SHOWN_CHARS = 300

Item = TypeVar("Item")


class WebhookConfigError(Exception):
    """A secret of the webhook that cannot be used. Says which file and why, never the secret."""


class WebhookClient:
    """Posts notices. For any number of threads."""

    def __init__(self, spec: Webhook, secrets: NotifierConnection, wall: Callable[[], float] = time.time) -> None:
        """Raises WebhookConfigError."""
        self._url, self._timeout, self._wall = spec.url, float(spec.timeout), wall
        self._secrets = _secrets(secrets.key_file)
        self._headers = {"Content-Type": CONTENT_TYPE, "User-Agent": f"meterpipe/{__version__}"}
        if secrets.token_file is not None:
            self._headers["Authorization"] = f"Bearer {_token(secrets.token_file)}"
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=spec.max_in_flight,
            ca_certs=str(secrets.ca_file) if secrets.ca_file else None,
        )

    def post(self, notice: Notice) -> Answer:
        """Send once; what came of it. Never raises for what the receiver or the network does."""
        began = time.monotonic()
        signed = signing.headers(self._secrets, notice.id, int(self._wall()), notice.body)
        try:
            response = self._pool.request(
                "POST",
                self._url,
                body=notice.body,
                headers={**self._headers, **signed},
                timeout=urllib3.Timeout(total=self._timeout),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return Answer(None, _cause(error), seconds=time.monotonic() - began)
        text = _drain(response, began + self._timeout)
        wait = retry_after(response.headers.get("Retry-After"), self._wall())
        shown = text[:SHOWN_CHARS].decode(errors="replace").strip()
        detail = f"{response.status} {response.reason or ''}".strip() + (f": {shown}" if shown else "")
        return Answer(response.status, detail, wait, time.monotonic() - began)

    def close(self) -> None:
        """Close idle connections."""
        self._pool.clear()


def _drain(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """The body, as far as it comes in time and is not too long; the status counts whatever becomes of it."""
    body = b""
    try:
        while len(body) < BODY_BYTES and time.monotonic() < deadline:
            part = response.read1(BODY_BYTES)
            if not part:
                response.release_conn()
                return body
            body += part
    except (urllib3.exceptions.HTTPError, OSError):
        pass
    response.close()
    return body


def _cause(error: BaseException) -> str:
    """The innermost reason, without the addresses of objects that urllib3's own texts have."""
    while isinstance(reason := getattr(error, "reason", None), BaseException):
        error = reason
    text = str(error)
    return f"{type(error).__name__}: {text.rpartition('>: ')[2] or text}"


def _secrets(file: Path | None) -> tuple[bytes, ...]:
    if file is None:
        raise WebhookConfigError("the configuration names no file with the webhook's key")
    try:
        return signing.secrets_of(file.read_text())
    except (OSError, UnicodeDecodeError, signing.SecretError) as error:
        raise WebhookConfigError(f"the webhook's key, {file}: {error}") from error


def _token(file: Path) -> str:
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WebhookConfigError(f"the webhook's token, {file}: {error}") from error
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise WebhookConfigError(f"the webhook's token, {file}: is no text of printable ASCII without blanks")
    return token


class Posters(Generic[Item]):
    """Daemon threads that do `work` and put what came of it into `answers`. They are started as they are needed."""

    def __init__(self, most: int, work: Callable[[Item], Answer]) -> None:
        self._most, self._work = most, work
        self._asked: SimpleQueue[Item] = SimpleQueue()
        self.answers: SimpleQueue[tuple[Item, Answer | BaseException]] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._under_way = 0

    def ask(self, item: Item) -> None:
        """Have it done. Whoever takes an answer says so with `answered`."""
        self._under_way += 1
        if self._under_way > len(self._threads) and len(self._threads) < self._most:
            thread = threading.Thread(target=self._run, name="webhook", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._asked.put(item)

    def answered(self) -> None:
        """One answer has been taken."""
        self._under_way -= 1

    def _run(self) -> None:
        while True:
            item = self._asked.get()
            try:
                self.answers.put((item, self._work(item)))
            except BaseException as bug:  # told to the loop, which ends the process
                self.answers.put((item, bug))
