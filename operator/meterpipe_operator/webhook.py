"""The validating webhook: what `meterpipe validate` says, said by `kubectl apply`. It needs nothing of the cluster.

The chart owns the webhook's configuration (`failurePolicy: Ignore`) and its certificate; kopf serves it and takes up
renewed certificate files. What slips through while it is away is caught by `last_valid`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kopf
from meterpipe.spec.load import pipeline_of
from meterpipe.spec.models import MeterPipeline
from meterpipe.spec.problems import Problem, SpecError

from meterpipe_operator.kinds import METER_PIPELINE, Manifest

log = logging.getLogger("meterpipe.operator")

UNPROCESSABLE = 422
CHECK_FILES = 10.0  # seconds between looks at the certificate files


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the webhook listens, and the files of its certificate. `serving` is set when it does."""

    port: int
    certificate: Path
    key: Path
    serving: asyncio.Event = field(default_factory=asyncio.Event)


def problems_of(new: Manifest, old: Manifest | None = None) -> tuple[Problem, ...]:
    """What is wrong with `new`, or with changing `old` into it; nothing if the specification stays as it is.

    Whoever removes a finalizer or sets a label of a pipeline that is wrong already must be let through.
    """
    if old is not None and old.get("spec") == new.get("spec"):
        return ()
    try:
        pipeline = pipeline_of(new)
    except SpecError as error:
        return error.problems
    if old is None:
        return ()
    try:
        before = pipeline_of(old)
    except SpecError:
        return ()
    return tuple(_immutable(before, pipeline))


def _immutable(old: MeterPipeline, new: MeterPipeline) -> Iterable[Problem]:
    """The fields that cannot change, twins of the CEL rules with `oldSelf`."""
    moved = "cannot change: meters would change partition"
    before, after = old.spec.kafka.topics.readings.partitions, new.spec.kafka.topics.readings.partitions
    if before != after:
        path = "spec.kafka.topics.readings.partitions"
        yield Problem("", 0, path, f"{moved}, got {after}", after, f"leave it at {before}, or drain and move")
    if old.spec.readings.key != new.spec.readings.key:
        given = new.spec.readings.key.value
        way_out = f"leave it at {old.spec.readings.key.value}, or drain and move"
        yield Problem("", 0, "spec.readings.key", f"{moved}, got {given}", given, way_out)


def register(registry: kopf.OperatorRegistry, settings: kopf.OperatorSettings, endpoint: Endpoint) -> None:
    """Have kopf serve the webhook. It never writes the webhook's configuration: `managed` stays unset."""
    server = kopf.WebhookServer(
        addr="0.0.0.0",
        port=endpoint.port,
        certfile=endpoint.certificate,
        pkeyfile=endpoint.key,
        file_check_interval=CHECK_FILES,
    )

    async def serve(answer: Any) -> AsyncIterator[Any]:
        async for client_config in server(answer):
            endpoint.serving.set()
            yield client_config

    settings.admission.server = serve
    where = (METER_PIPELINE.group, METER_PIPELINE.version, METER_PIPELINE.plural)

    @kopf.on.validate(*where, id="validate", registry=registry)
    def validate(**review: Any) -> None:
        """Refuse in the words of `meterpipe validate`."""
        new, old = review["new"], review["old"]
        problems = problems_of(dict(new), dict(old) if old else None) if new else ()
        if problems:
            log.info("refused %s/%s: %s", review["namespace"], review["name"], "; ".join(map(str, problems)))
            raise kopf.AdmissionError("\n".join(map(str, problems)), code=UNPROCESSABLE)
