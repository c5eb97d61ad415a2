"""Looks at an Arrow stream that came as a request's body before it is decoded: stricter than for a message."""

import pyarrow as pa

from meterpipe.core.arrow_stream import Bounds, check_claims
from meterpipe.core.ingest.rows import MAX_READINGS, PARTS

OF_A_REQUEST = Bounds(rows=MAX_READINGS, unpacked=0)  # a body is compressed as a whole: Content-Encoding
_NUMBERS = ("ts", "value", "interval_s", "quality", "revision")


def check_stream(body: bytes) -> None:
    """Raise ValueError for a stream that is none, or that decoding could cost more than its size warrants."""
    check_claims(body, OF_A_REQUEST)
    try:
        schema = pa.ipc.open_stream(body).schema
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"not an Arrow stream: {error}") from error
    for field in schema:  # views and run-end encoding can repeat a long text by the row, so that a cast makes it large
        if field.name in PARTS:
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise ValueError(f"column {field.name} is {field.type}, wanted are strings")
        elif field.name in _NUMBERS:
            kind = field.type
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_timestamp(kind)):
                raise ValueError(f"column {field.name} is {kind}, wanted are numbers")
