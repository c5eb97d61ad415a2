"""Kafka's default partitioner (Java's), so that one meter is always found in one partition.

Source: org.apache.kafka.common.utils.Utils.murmur2 (32 bit, seed 0x9747b28c) and `toPositive(hash) % partitions`.
"""

_SEED, _M, _R, _MASK = 0x9747B28C, 0x5BD1E995, 24, 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The unsigned 32-bit hash of `data`. Called once a new key, never once a reading."""
    length = len(data)
    h = _SEED ^ length
    whole = length - length % 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _M & _MASK
        h = (h * _M & _MASK) ^ ((k ^ k >> _R) * _M & _MASK)
    if tail := data[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition in which Java's and our producers (`partitioner=murmur2_random`) put `key`."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
