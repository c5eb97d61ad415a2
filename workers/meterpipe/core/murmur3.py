"""Tokens of Cassandra partitions (Murmur3Partitioner), for many keys at once: who owns a row decides its batch.

Source: org.apache.cassandra.utils.MurmurHash.hash3_x64_128 (seed 0, the first 64 bits). Unlike the published hash it
takes the bytes of the tail as signed.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from meterpipe.core.binary import matrix_of

Words = npt.NDArray[np.uint64]
Tokens = npt.NDArray[np.int64]

_C1, _C2 = np.uint64(0x87C37B91114253D5), np.uint64(0x4CF5AD432745937F)
_A1, _A2 = np.uint64(0x52DCE729), np.uint64(0x38495AB5)
_F1, _F2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_FIVE = np.uint64(5)
_LOWEST, _HIGHEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


def tokens(keys: pa.BinaryArray) -> Tokens:
    """The token of each serialized partition key. Runs once a length of key, never once a key."""
    found = np.empty(len(keys), np.int64)
    for where, matrix in matrix_of(keys):
        found[where] = _tokens(matrix)
    return found


def _tokens(keys: npt.NDArray[np.uint8]) -> Tokens:
    """Tokens of keys of one length, shape (n, length)."""
    n, length = keys.shape
    whole = length - length % 16
    blocks = np.ascontiguousarray(keys[:, :whole]).view("<u8").astype(np.uint64, copy=False)
    h1, h2 = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
    for at in range(0, whole // 8, 2):
        h1 = (_rotate(h1 ^ _mix1(blocks[:, at]), 27) + h2) * _FIVE + _A1
        h2 = (_rotate(h2 ^ _mix2(blocks[:, at + 1]), 31) + h1) * _FIVE + _A2
    tail = keys[:, whole:].view(np.int8).astype(np.int64).view(np.uint64)
    if tail.shape[1] > 8:
        h2 = h2 ^ _mix2(_word(tail[:, 8:]))
    if tail.shape[1]:
        h1 = h1 ^ _mix1(_word(tail[:, :8]))
    h1, h2 = h1 ^ np.uint64(length), h2 ^ np.uint64(length)
    h1 = h1 + h2
    h2 = h2 + h1
    token = (_finish(h1) + _finish(h2)).view(np.int64)
    return np.where(token == _LOWEST, _HIGHEST, token)


def _word(columns: Words) -> Words:
    """Little-endian words of at most 8 sign-extended bytes, as the server folds them: by exclusive or."""
    shifts = (np.arange(columns.shape[1], dtype=np.uint64) * np.uint64(8))[None, :]
    return _words(np.bitwise_xor.reduce(columns << shifts, axis=1))


def _mix1(k: Words) -> Words:
    return _rotate(k * _C1, 31) * _C2


def _mix2(k: Words) -> Words:
    return _rotate(k * _C2, 33) * _C1


def _rotate(x: Words, bits: int) -> Words:
    return _words((x << np.uint64(bits)) | (x >> np.uint64(64 - bits)))


def _finish(x: Words) -> Words:
    x = (x ^ (x >> np.uint64(33))) * _F1
    x = (x ^ (x >> np.uint64(33))) * _F2
    return _words(x ^ (x >> np.uint64(33)))


def _words(x: Any) -> Words:
    """Only a type: numpy's operators forget it."""
    return x  # type: ignore[no-any-return]
