"""Plain JSON readings straight to columns, by json_scan.c; what is not plain is left to `json_codec`.

The JSON library makes objects of each reading, from which the columns are then pulled: several times the cost of all
that the engine does with a reading. Most readings are plain enough to need none of that.
"""

import ctypes
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from meterpipe.core.messages import Payloads
from meterpipe.core.readings import FIRST_MS, LAST_MS, Key, KeyTable

LIBRARY = Path(__file__).with_name("libjson_scan.so")
FIELDS = ("meter", "metric", "attribute", "timestamp", "value", "interval", "quality", "revision", "unit")
"""In the order of json_scan.c."""
_NAMES = 3


class _Index(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("names", "bounds", "slots")] + [
        ("mask", ctypes.c_int64),
        ("seed", ctypes.c_uint64),
    ]


class _Columns(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_void_p)
        for name in ("message", "key", "ts", "value", "interval", "quality", "revision", "names")
    ]


@dataclass(frozen=True, slots=True)
class Scanned:
    """n plain readings. `message`: index of each one's message; `key`: its id, -1 for the keys in `unknown`."""

    message: npt.NDArray[np.int32]
    key: npt.NDArray[np.int32]
    ts: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    interval_s: npt.NDArray[np.int32]
    quality: npt.NDArray[np.uint8]
    revision: npt.NDArray[np.uint16]
    unknown: list[Key]


def is_built() -> bool:
    """Whether json_scan.c was compiled when the package was installed, which needs a C compiler."""
    return LIBRARY.exists()


class Scanner:
    """Reads messages with the field names of one pipeline. One partition's keys are known by its `KeyTable`."""

    def __init__(self, names: dict[str, str]) -> None:
        """`names` maps FIELDS but `unit` to JSON fields."""
        fields = [names.get(field, field).encode() for field in FIELDS]
        self._fields = (ctypes.c_char_p * len(fields))(*fields)
        self._lengths = np.array(list(map(len, fields)), np.int64)
        self._indices: WeakKeyDictionary[KeyTable, KeyIndex] = WeakKeyDictionary()

    def scan(self, values: Payloads, keys: KeyTable) -> Scanned:
        """The plain ones of `values`."""
        index = self._indices.get(keys)
        if index is None:
            index = self._indices[keys] = KeyIndex()
        index.learn(keys)
        count = len(values)
        kinds = (np.int32, np.int32, np.int64, np.float64, np.int32, np.uint8, np.uint16)
        columns: list[Any] = [np.empty(count, kind) for kind in kinds]
        names = np.empty((count, _NAMES, 2), np.int64)
        start, length = np.ascontiguousarray(values.start), np.ascontiguousarray(values.length)
        out = _Columns(*(column.ctypes.data for column in columns), names.ctypes.data)
        found = _library().scan(
            *(array.ctypes.data for array in (values.data, start, length)),
            count,
            self._fields,
            self._lengths.ctypes.data,
            FIRST_MS,
            LAST_MS,
            ctypes.byref(index.view),
            ctypes.byref(out),
        )
        columns = [column[:found] for column in columns]
        unknown = int((columns[1] < 0).sum())
        return Scanned(*[*columns, [_key(values, places) for places in names[:unknown].tolist()]])


class KeyIndex:
    """Ids of a `KeyTable`'s keys by the bytes of their names, for C to look up."""

    def __init__(self) -> None:
        self._count = 0
        self._names = np.empty(0, np.uint8)
        self._bounds = np.zeros(1, np.int64)  # 3 a key and the end; see json_scan.c
        self._used = 0
        self._slots = np.full(1024, -1, np.int32)
        self.view = _Index()
        self._show()

    def learn(self, keys: KeyTable) -> None:
        """Take in the keys that are new."""
        if len(keys) == self._count:
            return
        first, self._count = self._count, len(keys)
        new = list(islice(keys.ids, first, None))
        parts = [pa.array([key[part] for key in new], pa.string()).cast(pa.binary()) for part in range(_NAMES)]
        names = np.frombuffer(b"".join(pc.binary_join_element_wise(*parts, b"").to_pylist()), np.uint8)
        lengths = np.stack([pc.binary_length(part).to_numpy() for part in parts], axis=1).ravel()
        bounds = self._used + np.cumsum(lengths, dtype=np.int64)
        self._names = _appended(self._names, self._used, names)
        self._bounds = _appended(self._bounds, _NAMES * first + 1, bounds)
        self._used += len(names)
        if 2 * self._count > len(self._slots):
            first = 0
            self._slots = np.full(1 << (2 * self._count).bit_length(), -1, np.int32)
        self._show()
        _library().put_keys(ctypes.byref(self.view), first, self._count)

    def _show(self) -> None:
        arrays = (self._names, self._bounds, self._slots)
        seed = hash(("seed", "of names")) & (2**64 - 1)  # Python's own differs between processes, for the same reason
        self.view = _Index(*(array.ctypes.data for array in arrays), len(self._slots) - 1, seed)


def _appended(array: npt.NDArray[Any], used: int, new: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`array` with `new` behind its first `used` entries; grown by doubling."""
    if used + len(new) > len(array):
        grown = np.empty(max(2 * len(array), used + len(new)), array.dtype)
        grown[:used] = array[:used]
        array = grown
    array[used : used + len(new)] = new
    return array


def _key(values: Payloads, places: list[list[int]]) -> Key:
    meter, metric, attribute = (values.data[at : at + size].tobytes().decode("ascii") for at, size in places)
    return meter, metric, attribute


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(LIBRARY))
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    library.put_keys.restype, library.put_keys.argtypes = None, [pointer, number, number]
    library.scan.restype = number
    library.scan.argtypes = [*[pointer] * 3, number, pointer, pointer, number, number, pointer, pointer]
    return library
