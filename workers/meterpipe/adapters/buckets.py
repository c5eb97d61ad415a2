"""The lake's bucket on S3."""

from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from meterpipe.spec.connections import LakeConnection

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def new_s3(connection: LakeConnection) -> "S3Client":
    """An S3 client. Without key files boto3's usual chain of credentials is used."""
    return boto3.client(
        "s3",
        endpoint_url=connection.endpoint,
        region_name=connection.region,
        aws_access_key_id=_read(connection.access_key_file),
        aws_secret_access_key=_read(connection.secret_key_file),
        config=Config(retries={"max_attempts": 5, "mode": "standard"}),
    )


def ensure_bucket(connection: LakeConnection, bucket: str) -> bool:
    """Create `bucket` unless it exists; whether it was created. One that belongs to somebody else is an error."""
    client = new_s3(connection)
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
    else:
        return False
    try:
        client.create_bucket(Bucket=bucket)
    except client.exceptions.BucketAlreadyOwnedByYou:  # made by another process meanwhile
        return False
    return True


def _read(path: Path | None) -> str | None:
    return path.read_text().strip() if path else None
