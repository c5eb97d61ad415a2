"""librdkafka as confluent-kafka brings it, called with ctypes, and our columns.c beside it.

Both have to be told where a client's handle is: confluent-kafka keeps it as the first field of its objects, behind what
every Python object begins with. That is no interface of its, so the versions it was looked up in are bounded here.
"""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import confluent_kafka
import numpy as np
from confluent_kafka import Consumer, Producer

COLUMNS = Path(__file__).with_name("libcolumns.so")
VERSIONS = (2, 3)
"""Of confluent-kafka: from 2 to below 3."""

Pointer = ctypes.c_void_p
_Text = ctypes.c_char_p

MESSAGE = np.dtype(
    {
        "names": ["error", "topic", "partition", "value", "value_length", "key", "key_length", "offset", "private"],
        "formats": ["i4", "u8", "i4", "u8", "u8", "u8", "u8", "i8", "u8"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56, 64],
        "itemsize": 72,
    }
)
"""rd_kafka_message_t, as rdkafka.h publishes it, on machines of 64 bits."""

_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "rd_kafka_queue_new": (Pointer, [Pointer]),
    "rd_kafka_queue_destroy": (None, [Pointer]),
    "rd_kafka_queue_get_partition": (Pointer, [Pointer, _Text, ctypes.c_int32]),
    "rd_kafka_queue_forward": (None, [Pointer, Pointer]),
    "rd_kafka_consume_batch_queue": (ctypes.c_ssize_t, [Pointer, ctypes.c_int, Pointer, ctypes.c_size_t]),
    "rd_kafka_message_headers": (ctypes.c_int, [Pointer, Pointer]),
    "rd_kafka_header_get_last": (ctypes.c_int, [Pointer, _Text, Pointer, Pointer]),
    "rd_kafka_topic_new": (Pointer, [Pointer, _Text, Pointer]),
    "rd_kafka_topic_destroy": (None, [Pointer]),
    "rd_kafka_produce_batch": (ctypes.c_int, [Pointer, ctypes.c_int32, ctypes.c_int, Pointer, ctypes.c_int]),
}


@cache
def unusable() -> str | None:
    """Why the libraries cannot be used; None if they can."""
    major = int(confluent_kafka.version()[0].split(".")[0])
    if not VERSIONS[0] <= major < VERSIONS[1]:
        return f"confluent-kafka {major} is not known"
    if ctypes.sizeof(Pointer) != 8:
        return "this is no machine of 64 bits"
    if not COLUMNS.exists():
        return f"{COLUMNS.name} was not built (a C compiler is needed when the package is installed)"
    if len(_librdkafkas()) != 1:
        return "confluent-kafka was not installed from a wheel that has librdkafka in it"
    try:
        rdkafka(), columns()
    except (OSError, AttributeError) as error:
        return str(error)
    return None


@cache
def rdkafka() -> ctypes.CDLL:
    """librdkafka, the very one that the clients use. Its calls let other threads run."""
    library = ctypes.CDLL(str(_librdkafkas()[0]))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@cache
def columns() -> ctypes.CDLL:
    """See columns.c."""
    library = ctypes.CDLL(str(COLUMNS))
    library.message_columns.restype, library.message_columns.argtypes = ctypes.c_int64, []
    library.measure.restype, library.measure.argtypes = ctypes.c_int64, [Pointer, ctypes.c_int64]
    library.take.restype = None
    library.take.argtypes = [Pointer, ctypes.c_int64, Pointer, Pointer, Pointer, Pointer]
    return library


def address_of(function: str) -> int:
    """Where a function of librdkafka is, for C to call it."""
    return ctypes.cast(getattr(rdkafka(), function), Pointer).value or 0


def handle_of(client: Consumer | Producer) -> int:
    """The rd_kafka_t of a client that is open."""
    return Pointer.from_address(id(client) + object.__basicsize__).value or 0


def _librdkafkas() -> list[Path]:
    package = Path(confluent_kafka.__file__).parent
    folders = (package.parent / "confluent_kafka.libs", package / ".dylibs")  # Linux, macOS
    return [path for folder in folders for path in folder.glob("librdkafka*")]
