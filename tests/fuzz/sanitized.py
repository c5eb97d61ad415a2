"""Damaged input for the C sources, in a process where each step outside a buffer or the language ends it.

Run by test_c_sources.py: `sanitized.py FOLDER-OF-LIBRARIES EXAMPLES`.
"""

import random
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from meterpipe.core import json_scan, weave
from meterpipe.core.messages import Payloads
from meterpipe.core.readings import KeyTable
from meterpipe.spec.models import FieldNames

PLAIN = b'{"gateway":"m1","metricType":"E","metricAttribute":"P","timestamp":1700000000000,"value":-1.5e3,"quality":3}'
DATED = PLAIN.replace(b"1700000000000", b'"2024-02-29T23:59:59.123456+01:00"')
BYTES = b'"{}:,.eE+-0129 \\\xff\x00TZ'


def damaged(rng: random.Random) -> bytes:
    """A reading that was cut off and had some bytes changed; its memory ends where it ends."""
    text = bytearray(rng.choice([PLAIN, DATED]))
    del text[rng.randrange(len(text) + 1) :]
    for _ in range(rng.randrange(3)):
        if text:
            text[rng.randrange(len(text))] = rng.choice(BYTES)
    return bytes(text)


def main(folder: Path, examples: int) -> None:
    """Ends with an error of the sanitizer, or not at all."""
    json_scan.LIBRARY, weave.LIBRARY = folder / "libjson_scan.so", folder / "libweave.so"
    rng, keys = random.Random(1), KeyTable()
    scanner = json_scan.Scanner(FieldNames().model_dump())
    for number in range(examples):
        data = np.array(list(damaged(rng)), np.uint8)
        scanner.scan(Payloads(data, np.array([0]), np.array([len(data)])), keys)
        keys.add((f"m{number}" * rng.randrange(4), "E" * rng.randrange(20), "ü"))
        texts = [b"x" * rng.randrange(9) for _ in range(rng.randrange(5))]
        rows = weave.weave([b"a" * rng.randrange(5), pa.array(texts, pa.binary()), b""])
        assert len(rows) == len(texts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
    print("no error")
