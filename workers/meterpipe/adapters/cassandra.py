"""Cassandra sessions, configured in one place."""

from pathlib import Path

from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    FallthroughRetryPolicy,
    TokenAwarePolicy,
)

from meterpipe.spec.connections import CassandraConnection

REQUEST_SECONDS = 10.0
PROTOCOL = 4
"""Version 5 adds checksums below TCP's own, a fifth of the CPU a batch costs here, and nothing else we use."""


class StoreUnreachableError(Exception):
    """No node answers, or none lets us in; the reasons by node."""


def connect(connection: CassandraConnection, request_seconds: float = REQUEST_SECONDS) -> Session:
    """A session on `connection`; whoever asks for it shuts down its `cluster`.

    Reads and writes need a quorum of the local datacenter. The driver retries nothing by itself: callers know what may
    be repeated, and for how long. A node that comes back is found within 5 s.
    """
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(connection.datacenter)),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        retry_policy=FallthroughRetryPolicy(),
        request_timeout=request_seconds,
    )
    cluster = Cluster(
        list(connection.contact_points),
        port=connection.port,
        protocol_version=PROTOCOL,
        auth_provider=_auth(connection),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        reconnection_policy=ExponentialReconnectionPolicy(0.5, 5.0),
        compression=False,
        connect_timeout=5.0,
        control_connection_timeout=5.0,
        idle_heartbeat_interval=10,
        idle_heartbeat_timeout=10,
    )
    try:
        return cluster.connect()
    except NoHostAvailable as problem:
        cluster.shutdown()
        raise StoreUnreachableError(_reasons(connection, problem)) from problem
    except BaseException:
        cluster.shutdown()
        raise


def _auth(connection: CassandraConnection) -> PlainTextAuthProvider | None:
    if connection.username is None:
        return None
    path: Path | None = connection.password_file
    password = path.read_text().strip() if path else ""
    return PlainTextAuthProvider(connection.username, password)


def _reasons(connection: CassandraConnection, problem: NoHostAvailable) -> str:
    errors = problem.errors
    if isinstance(errors, dict) and errors:
        return "; ".join(f"{host}: {error}" for host, error in errors.items())
    points = ", ".join(f"{host}:{connection.port}" for host in connection.contact_points)
    return f"no node of datacenter {connection.datacenter} answers at {points}"
