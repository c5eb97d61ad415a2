"""Makes Cassandra's superuser, as K8ssandra would, and the bucket. In a pod. Arguments: hosts, bucket."""

import sys
import time
from pathlib import Path

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, NoHostAvailable, Session
from meterpipe.adapters.s3 import ensure_bucket
from meterpipe.spec.connections import LakeConnection

PATIENCE = 60.0  # seconds; Cassandra makes its first user a moment after it answers
MAKE_ROLE = "CREATE ROLE IF NOT EXISTS \"main-superuser\" WITH PASSWORD = '{}' AND SUPERUSER = true AND LOGIN = true"


def login(host: str, user: str, password: str) -> Session:
    """A session as this user."""
    end = time.monotonic() + PATIENCE
    while True:
        cluster = Cluster([host], auth_provider=PlainTextAuthProvider(user, password))
        try:
            return cluster.connect()
        except NoHostAvailable:
            cluster.shutdown()
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def main(host: str, s3: str, bucket: str) -> None:
    """Make both; a second time changes nothing."""
    password = Path("/secrets/cassandra/password").read_text()
    login(host, "cassandra", "cassandra").execute(MAKE_ROLE.format(password))
    login(host, "main-superuser", password)
    keys = {"accessKeyFile": "/secrets/s3/accessKey", "secretKeyFile": "/secrets/s3/secretKey"}
    ensure_bucket(LakeConnection.model_validate({"endpoint": s3, **keys}), bucket)


if __name__ == "__main__":
    main(*sys.argv[1:])
