"""Writes rows to Cassandra in pre-encoded batches, bounded in flight, tried again until they are acknowledged.

One thread drives it: `submit` encodes and queues, `pump` sends and takes in answers. The driver's thread only puts
answers into a queue. How many batches are in flight adapts: one more with each answer, half with each failure, so a
struggling server is left room and a dead one is asked by one batch at a time, at growing intervals.
"""

import logging
import math
import random
import time
from collections import deque
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cassandra import ConsistencyLevel, InvalidRequest, RequestValidationException, Unauthorized
from cassandra.cluster import ResponseFuture, Session
from cassandra.policies import FallthroughRetryPolicy
from cassandra.query import PreparedStatement, SimpleStatement

from meterpipe.adapters.cassandra import REQUEST_SECONDS
from meterpipe.core import batching, cql
from meterpipe.core.batching import Limits
from meterpipe.core.murmur3 import tokens
from meterpipe.core.store_rows import StoreRows
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger("meterpipe.store")

IN_FLIGHT = 64
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
COMPLAIN_SECONDS = 5.0
DEFAULT_WARN_KB, DEFAULT_WARN_PARTITIONS = 5, 10  # Cassandra's own, if it does not tell
_WARN_BYTES, _WARN_PARTITIONS = "batch_size_warn_threshold_in_kb", "unlogged_batch_across_partitions_warn_threshold"


@dataclass(slots=True)
class Flight:
    """What was submitted together: done when no batch of it is left."""

    rows: int
    left: int
    table: str

    @property
    def done(self) -> bool:
        """Whether all rows are acknowledged."""
        return self.left == 0


@dataclass(slots=True)
class _Batch:
    """Rows `start` to `end` of `statements`. Also what the driver takes as a message: it asks for `send_body`."""

    flight: Flight
    statements: cql.Statements
    start: int
    end: int
    route: SimpleStatement
    sent: float = 0.0
    # what the driver wants of a message
    opcode: int = 0x0D
    name: str = "BATCH"
    tracing: bool = False
    custom_payload: None = None
    allow_beta_protocol_version: bool = False
    consistency_level: int = ConsistencyLevel.LOCAL_QUORUM

    def send_body(self, f: Any, protocol_version: int) -> None:
        """Write the body of the frame; the driver frames, checksums and sends it."""
        f.write(self.statements.batch(self.start, self.end, self.consistency_level, protocol_version))

    def halves(self) -> tuple["_Batch", "_Batch"]:
        """The same rows in two batches."""
        middle = (self.start + self.end) // 2
        return (
            _Batch(self.flight, self.statements, self.start, middle, self.route),
            _Batch(self.flight, self.statements, middle, self.end, self.route),
        )


@dataclass(slots=True)
class _Ring:
    """Who owns which tokens: those beyond ends[i - 1] up to ends[i] belong to the set of nodes number owners[i]."""

    source: object
    ends: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    owners: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def of(self, keys: pa.BinaryArray) -> npt.NDArray[np.int64]:
        """The owner of each serialized partition key; all the same where there is but one."""
        if len(np.unique(self.owners)) < 2:
            return np.zeros(len(keys), np.int64)
        # a token on a boundary belongs to the range that ends there
        at = np.searchsorted(self.ends, tokens(keys), side="left")
        return self.owners[at % len(self.ends)]


class StoreWriter:
    """The write side of the store. `session` is the caller's; tables are those of the window sizes given."""

    def __init__(
        self,
        session: Session,
        keyspace: str,
        tables: dict[int, str],
        telemetry: Telemetry,
        limits: Limits | None = None,
        in_flight: int = IN_FLIGHT,
    ) -> None:
        self._session, self._keyspace, self._tables, self._telemetry = session, keyspace, tables, telemetry
        self._prepared: dict[int, PreparedStatement] = {
            window: session.prepare(cql.insert(keyspace, table)) for window, table in tables.items()
        }
        self.limits = (limits or Limits()).within(*server_limits(session))
        self._most = in_flight
        self._room = in_flight
        self._waiting: deque[_Batch] = deque()
        self._answers: SimpleQueue[tuple[_Batch, BaseException | None]] = SimpleQueue()
        self._sent = 0
        self._failures = 0
        self._failed_at = self._resume = 0.0
        self._complained = -math.inf
        self._ring = _Ring(None)
        self._anywhere = self._route(None)

    @property
    def healthy(self) -> bool:
        """Whether the store took the last batch, and a node is known to be up."""
        return self._failures == 0 and any(host.is_up for host in self._session.cluster.metadata.all_hosts())

    @property
    def idle(self) -> bool:
        """Nothing to send, no answer awaited."""
        return not self._waiting and not self._sent

    @property
    def backlog(self) -> int:
        """Batches not yet sent."""
        return len(self._waiting)

    def submit(self, rows: StoreRows) -> Flight:
        """Encode `rows` and queue them; they are sent by `pump`."""
        grouping = batching.by_partition(rows)
        ring = self._current_ring()
        keys = cql.partition_keys(rows, grouping)
        owners = ring.of(keys)
        grouping, group, sequence = batching.arrange(grouping, owners)
        statements = cql.encode(rows, grouping.order, self._prepared[rows.window].query_id)
        cuts = batching.cut(grouping.bounds, group, self.limits)
        flight = Flight(len(rows), len(cuts), self._tables[rows.window])
        if len(np.unique(ring.owners)) < 2:
            routes = [self._anywhere] * len(cuts)
        else:
            firsts = np.searchsorted(grouping.bounds, [start for start, _ in cuts], side="right") - 1
            routes = [self._route(keys[int(sequence[i])].as_py()) for i in firsts]
        self._waiting.extend(
            _Batch(flight, statements, start, end, route) for (start, end), route in zip(cuts, routes, strict=True)
        )
        return flight

    def discard(self) -> None:
        """Forget what was not sent. What was sent may still arrive, which does no harm."""
        self._waiting.clear()
        self._failures = 0

    def pump(self, seconds: float = 0.0) -> None:
        """Send what may be sent, take in the answers that are there; wait for one at most `seconds` if none is.

        Raises what the server says of a batch it will never take.
        """
        self._send()
        wait = (
            seconds if self._sent else min(seconds, max(0.0, self._resume - time.monotonic())) if self._waiting else 0
        )
        try:
            if self._sent:
                self._take(*self._answers.get(timeout=wait) if wait else self._answers.get_nowait())
                while True:
                    self._take(*self._answers.get_nowait())
            elif wait:
                time.sleep(wait)
        except Empty:
            pass
        self._send()

    def _send(self) -> None:
        if self._failures and time.monotonic() < self._resume:
            return
        while self._waiting and self._sent < self._room:
            batch = self._waiting.popleft()
            batch.sent = time.monotonic()
            future = ResponseFuture(
                self._session, batch, batch.route, REQUEST_SECONDS, retry_policy=batch.route.retry_policy
            )
            future.add_callbacks(self._acknowledged, self._failed, callback_args=(batch,), errback_args=(batch,))
            self._sent += 1
            future.send_request()

    def _acknowledged(self, _: object, batch: _Batch) -> None:
        self._answers.put((batch, None))

    def _failed(self, error: BaseException, batch: _Batch) -> None:
        self._answers.put((batch, error))

    def _take(self, batch: _Batch, error: BaseException | None) -> None:
        self._sent -= 1
        if error is None:
            if self._failures > 3:
                log.info("Cassandra takes rows again")
            self._failures, self._room = 0, min(self._most, self._room + 1)
            self._telemetry.observe(Metric.WRITE_SECONDS, time.monotonic() - batch.sent)
            self._telemetry.count(Metric.ROWS, batch.end - batch.start, table=batch.flight.table)
            batch.flight.left -= 1
            return
        self._telemetry.count(Metric.RETRIES)
        if isinstance(error, InvalidRequest) and batch.end - batch.start > 1:
            batch.flight.left += 1
            self._waiting.extendleft(reversed(batch.halves()))  # "Batch too large", or one row of it is to blame
            return
        if isinstance(error, RequestValidationException) and not isinstance(error, Unauthorized):
            raise error
        self._back_off(batch, error)
        self._waiting.append(batch)

    def _back_off(self, batch: _Batch, error: BaseException) -> None:
        """Pause, longer with each failure of a batch sent after the last one; those sent before only tell the same."""
        if self._failures and batch.sent < self._failed_at:
            return
        self._failures += 1
        self._failed_at = time.monotonic()
        self._room = max(1, self._room // 2)
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures - 1, 16)) * random.uniform(0.5, 1.0)
        self._resume = time.monotonic() + pause
        if self._failed_at - self._complained > COMPLAIN_SECONDS:
            self._complained = self._failed_at
            log.warning("Cassandra did not take a batch (%s: %s); trying again", type(error).__name__, error)

    def _current_ring(self) -> _Ring:
        """The owners of tokens; made anew when the driver learnt of a change of the cluster."""
        source = self._session.cluster.metadata.token_map
        if source is not self._ring.source:
            self._ring = ring_of(source, self._keyspace)
        return self._ring

    def _route(self, key: bytes | None) -> SimpleStatement:
        """What the driver's load balancing looks at: the key decides the node."""
        return SimpleStatement(
            "", is_idempotent=True, retry_policy=FallthroughRetryPolicy(), routing_key=key, keyspace=self._keyspace
        )


def ring_of(token_map: Any, keyspace: str) -> _Ring:
    """The ring of `keyspace` as the driver knows it."""
    if token_map is None or not token_map.ring:
        return _Ring(token_map)
    groups: dict[tuple[str, ...], int] = {}
    owners = []
    for token in token_map.ring:
        hosts = tuple(sorted(str(host.endpoint) for host in token_map.get_replicas(keyspace, token)))
        owners.append(groups.setdefault(hosts, len(groups)))
    return _Ring(token_map, np.array([token.value for token in token_map.ring], np.int64), np.array(owners, np.int64))


def server_limits(session: Session) -> tuple[int, int]:
    """From how many bytes and partitions on the server warns of a batch; its defaults if it does not tell."""
    names = (_WARN_BYTES, _WARN_PARTITIONS)
    try:
        rows = session.execute(f"SELECT name, value FROM system_views.settings WHERE name IN {names}")
        found = {row.name: int(row.value) for row in rows}
    except (RequestValidationException, ValueError):
        found = {}
    return 1024 * found.get(_WARN_BYTES, DEFAULT_WARN_KB), found.get(_WARN_PARTITIONS, DEFAULT_WARN_PARTITIONS)
