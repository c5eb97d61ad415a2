"""The schema registry, by Confluent's REST API. What was looked up once is known for ever: ids never change meaning.

A registry that is away stops nobody who knows the schema, from memory or from the cache folder. A schema that nobody
knows is waited for, a while; then the process ends, and its successor asks again: readings are neither lost nor buried.
"""

import base64
import http.client
import json
import logging
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

from meterpipe.core.codecs import Decoder
from meterpipe.spec.connections import RegistryConnection, WorkerConfig

log = logging.getLogger(__name__)

ASK_SECONDS = 5.0
PATIENCE = 20.0
"""Seconds to wait for a registry that is away."""
ASK_AGAIN_SECONDS = 10.0
"""An id the registry did not know is asked for again after so long."""
CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"


class RegistryError(Exception):
    """The registry does not answer, or refuses us."""


class RefusedError(RegistryError):
    """The registry understood and said no."""


class SchemaRegistry:
    """Looks schemas up, and registers them. One a process is enough."""

    def __init__(self, connection: RegistryConnection, patience: float = PATIENCE) -> None:
        self._connection, self._patience = connection, patience
        self._known: dict[int, str] = {}
        self._unknown: dict[int, float] = {}
        self._context = ssl.create_default_context(cafile=connection.ca_file) if connection.ca_file else None

    def schema(self, number: int) -> str | None:
        """The schema of this id as JSON text, None if the registry has none. Raises RegistryError."""
        if (known := self._known.get(number) or self._from_cache(number)) is not None:
            self._known[number] = known
            return known
        if time.monotonic() - self._unknown.get(number, -1e9) < ASK_AGAIN_SECONDS:
            return None
        answer = self._ask_until_answered(f"/schemas/ids/{number}")
        if answer is None:
            if len(self._unknown) > 10_000:
                self._unknown.clear()
            self._unknown[number] = time.monotonic()
            return None
        if answer.get("schemaType", "AVRO") != "AVRO":
            return None
        self._known[number] = text = str(answer["schema"])
        self._into_cache(number, text)
        return text

    def register(self, subject: str, schema: str) -> int:
        """The id of `schema` as a version of `subject`, which it becomes if it is none yet. Raises RegistryError."""
        path = f"/subjects/{quote(subject, safe='')}/versions"
        answer = self._ask(path, json.dumps({"schema": schema, "schemaType": "AVRO"}).encode())
        if answer is None:
            raise RefusedError(f"{self._connection.url} has no {path}: is it a schema registry's Confluent API?")
        return int(answer["id"])

    def _ask_until_answered(self, path: str) -> dict[str, Any] | None:
        deadline, pause = time.monotonic() + self._patience, 0.2
        while True:
            try:
                return self._ask(path)
            except RefusedError:
                raise
            except RegistryError as problem:
                if time.monotonic() + pause > deadline:
                    raise
                log.warning("%s; asking again", problem)
                time.sleep(pause)
                pause = min(2 * pause, 3.0)

    def _ask(self, path: str, body: bytes | None = None) -> dict[str, Any] | None:
        """The answer to one request; None if there is no such thing."""
        url = self._connection.url.rstrip("/") + path
        headers = {"Accept": f"{CONTENT_TYPE}, application/json", **self._authorization()}
        if body is not None:
            headers["Content-Type"] = CONTENT_TYPE
        request = urllib.request.Request(url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=ASK_SECONDS, context=self._context) as answer:
                found = json.loads(answer.read())
        except urllib.error.HTTPError as problem:
            with problem:
                said = problem.read(300).decode(errors="replace")
            if problem.code == http.client.NOT_FOUND:
                return None
            kind = RefusedError if 400 <= problem.code < 500 and problem.code != 429 else RegistryError
            raise kind(f"schema registry {url}: {problem.code} {said}") from problem
        except (OSError, http.client.HTTPException, ValueError) as problem:
            raise RegistryError(f"schema registry {url}: {problem}") from problem
        if not isinstance(found, dict):
            raise RegistryError(f"schema registry {url}: no JSON object in the answer")
        return found

    def _authorization(self) -> dict[str, str]:
        """Secrets are read each time: they may be renewed."""
        connection = self._connection
        if connection.token_file:
            return {"Authorization": f"Bearer {connection.token_file.read_text().strip()}"}
        if connection.username is not None and connection.password_file:
            pair = f"{connection.username}:{connection.password_file.read_text().strip()}"
            return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        return {}

    def _cached(self, number: int) -> Path | None:
        return self._connection.cache / f"{number}.avsc" if self._connection.cache else None

    def _from_cache(self, number: int) -> str | None:
        path = self._cached(number)
        try:
            return path.read_text() if path else None
        except OSError:
            return None

    def _into_cache(self, number: int, text: str) -> None:
        if (path := self._cached(number)) is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{time.monotonic_ns()}")
            draft.write_text(text)
            draft.replace(path)
        except OSError as problem:  # a cache is a comfort
            log.warning("schema %d is not kept: %s", number, problem)


def decoder_of(config: WorkerConfig) -> Decoder:
    """A decoder of the readings topic. It has its own memory of schemas; the cache folder is shared."""
    registry = SchemaRegistry(config.registry) if config.registry else None
    return Decoder(config.pipeline.spec.readings, registry)
