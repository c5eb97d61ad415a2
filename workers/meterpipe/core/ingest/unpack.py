"""Content encodings, undone within bounds: what a small body would unpack to does not matter, it is cut off."""

import pyarrow as pa

CODECS = {"gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}
ENCODINGS = ("identity", "gzip", "zstd")


class UnknownEncodingError(ValueError):
    """A content encoding that is not taken."""


class TooLargeError(ValueError):
    """Unpacked, the body is larger than allowed."""


class BrokenEncodingError(ValueError):
    """The body is not what its encoding says."""


def unpack(body: bytes, encoding: str | None, limit: int) -> bytes:
    """`body` without its content encoding; never holds more than `limit` bytes and a buffer of the codec."""
    name = (encoding or "identity").strip().lower()
    if name in ("", "identity"):
        return body
    codec = CODECS.get(name)
    if codec is None:
        raise UnknownEncodingError(f"content encoding {name!r} is not taken; there are {', '.join(ENCODINGS)}")
    if not body:
        return b""
    try:
        plain: bytes = pa.CompressedInputStream(pa.BufferReader(body), codec).read(limit + 1)
    except (OSError, pa.ArrowException) as error:
        raise BrokenEncodingError(f"the body is no {name}: {error}") from error
    if len(plain) > limit:
        raise TooLargeError(f"the body unpacks to more than {limit} bytes")
    return plain
