"""Signatures as Standard Webhooks 1.0 has them: HMAC-SHA256 over id, time and body."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"
SHORTEST = 24
"""Bytes of a secret; the standard's own bound."""


class SecretError(ValueError):
    """A secret that cannot be used. Says which line and why, never the secret."""


def secrets_of(text: str) -> tuple[bytes, ...]:
    """The secrets of a file, one a line: `whsec_` and base64, or any text. Raises SecretError."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise SecretError("there is no secret in it")
    return tuple(_secret(number, line) for number, line in enumerate(lines, 1))


def _secret(number: int, line: str) -> bytes:
    if line.startswith(PREFIX):
        try:
            secret = base64.b64decode(line.removeprefix(PREFIX), validate=True)
        except binascii.Error as error:
            raise SecretError(f"line {number} has no base64 after {PREFIX}") from error
    else:
        secret = line.encode()
    if len(secret) < SHORTEST:
        raise SecretError(f"line {number} is a secret of {len(secret)} bytes, wanted are at least {SHORTEST}")
    return secret


def signature(secrets: Sequence[bytes], identity: str, seconds: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature a secret, so that receivers may know the old or the new one."""
    signed = f"{identity}.{seconds}.".encode() + body
    return " ".join(f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}" for key in secrets)


def headers(secrets: Sequence[bytes], identity: str, seconds: int, body: bytes) -> dict[str, str]:
    """The headers of a signed request, sent at `seconds` since 1970."""
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(seconds),
        "webhook-signature": signature(secrets, identity, seconds, body),
        "Idempotency-Key": identity,
    }
