"""Where the lake lies on S3 and how to get there; its bucket's life cycle."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from meterpipe.spec.connections import LakeConnection, WorkerConfig
from meterpipe.spec.names import names_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Short, so that a worker that waits for a dead server still answers its own liveness probe.
CONNECT_SECONDS, ANSWER_SECONDS = 3, 12
UPLOADS = 8  # objects in flight: on a distant S3 the round trip, not the bytes, takes the time

S3_ERRORS = (BotoCoreError, ClientError)


@dataclass(frozen=True, slots=True)
class LakeLocation:
    """Where the lake of one pipeline lies: `s3://<bucket>/<prefix>/…`, and how to get there."""

    bucket: str
    prefix: str
    connection: LakeConnection

    @property
    def readings(self) -> str:
        """Key of the readings table."""
        return f"{self.prefix}/readings" if self.prefix else "readings"

    @property
    def table_uri(self) -> str:
        """URI of the readings table."""
        return f"s3://{self.bucket}/{self.readings}"


def location_of(config: WorkerConfig) -> LakeLocation:
    """The lake of a pipeline. Without a resolved connection, the specification's endpoint and the usual credentials."""
    lake = config.pipeline.spec.lake
    connection = config.lake or LakeConnection(endpoint=lake.endpoint, region=lake.region)
    return LakeLocation(lake.bucket, names_of(config.pipeline).lake_prefix.strip("/"), connection)


def _secret(path: Path | None) -> str | None:
    return path.read_text().strip() if path else None


IMPATIENT = MappingProxyType(
    {
        "connect_timeout": f"{CONNECT_SECONDS}s",
        "timeout": f"{ANSWER_SECONDS}s",
        "max_retries": "2",
        "retry_timeout": f"{ANSWER_SECONDS}s",
    }
)
"""delta-rs' options of a worker that itself tries again."""


def storage_options(connection: LakeConnection) -> dict[str, str]:
    """Options to open the lake with delta-rs or polars. Key files are read now: open the table anew after a change."""
    options = {
        "AWS_REGION": connection.region,
        "aws_conditional_put": "etag",  # the commit is a put that fails if the object exists
    }
    if connection.endpoint:
        options["AWS_ENDPOINT_URL"] = connection.endpoint
        options["AWS_ALLOW_HTTP"] = str(connection.endpoint.startswith("http://")).lower()
    if access := _secret(connection.access_key_file):
        options["AWS_ACCESS_KEY_ID"] = access
    if secret := _secret(connection.secret_key_file):
        options["AWS_SECRET_ACCESS_KEY"] = secret
    return options


def new_client(connection: LakeConnection) -> "S3Client":
    """A client whose every call ends within a quarter of a minute; it may be used by several threads."""
    return boto3.client(
        "s3",
        endpoint_url=connection.endpoint,
        region_name=connection.region,
        aws_access_key_id=_secret(connection.access_key_file),
        aws_secret_access_key=_secret(connection.secret_key_file),
        config=Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
            retries={"total_max_attempts": 1},  # whoever calls tries again, and says so
            max_pool_connections=UPLOADS,
            s3={"addressing_style": "path"} if connection.endpoint else None,
        ),
    )


def ensure_bucket(connection: LakeConnection, bucket: str) -> bool:
    """Create the bucket if it is missing; whether it was created.

    Raises botocore's ClientError, e.g. when somebody else has a bucket of that name or the keys are wrong.
    """
    client = new_client(connection)
    if bucket_exists(client, bucket):
        return False
    try:
        if connection.endpoint or connection.region == "us-east-1":  # where S3 refuses to be told the region
            client.create_bucket(Bucket=bucket)
        else:
            client.create_bucket(
                Bucket=bucket,
                CreateBucketConfiguration={"LocationConstraint": connection.region},  # type: ignore[typeddict-item]
            )
    except ClientError as problem:
        if error_code(problem) == "BucketAlreadyOwnedByYou":  # created by another process meanwhile
            return False
        raise
    return True


def bucket_exists(client: "S3Client", bucket: str) -> bool:
    """Whether the bucket is there and ours to use. Raises ClientError if it may not be asked, e.g. wrong keys."""
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as problem:
        if error_code(problem) in ("404", "NoSuchBucket"):
            return False
        raise
    return True


def remove_lake(location: LakeLocation) -> int:
    """Delete everything below the pipeline's prefix; the number of objects. The bucket stays: others may use it."""
    if not location.prefix:
        raise ValueError(f"refusing to empty the whole bucket {location.bucket}: the lake has no prefix")
    client = new_client(location.connection)
    removed = 0
    for keys in _listed(client, location):
        client.delete_objects(Bucket=location.bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True})
        removed += len(keys)
    return removed


def _listed(client: "S3Client", location: LakeLocation) -> Iterator[list[str]]:
    pages = client.get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=location.bucket, Prefix=f"{location.prefix}/"):
        if contents := page.get("Contents"):
            yield [found["Key"] for found in contents]


def error_code(problem: ClientError) -> str:
    """The server's code of an error: NoSuchBucket, AccessDenied, 404 …"""
    return str(problem.response.get("Error", {}).get("Code", ""))
