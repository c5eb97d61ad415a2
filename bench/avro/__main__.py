"""Ways to decode Avro readings, beside each other: CPU-nanoseconds a reading, and readings per CPU-second.

    python -m bench.avro [--messages 20000] [--meters 5000] [--rounds 20]

`ours` includes the keys' ids, as does `json` (the way JSON is decoded, of the same readings, without optional fields).
The others give their own objects: dicts, or a data frame. `polars` is fed a container file made of the batch, which
cannot tell where a message ends. Exit code 1 if ours decodes anything else than fastavro does.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from meterpipe.core.avro_rows import AvroRows, reading_schema
from meterpipe.core.codecs import Decoder
from meterpipe.core.readings import KeyTable
from meterpipe.datasets.json_rows import JsonRows
from meterpipe.datasets.publish import FIELDS
from meterpipe.spec.models import Readings

SYNC = b"0123456789abcdef"


class OneSchema:
    """A registry of one schema."""

    def schema(self, number: int) -> str | None:
        return reading_schema(FIELDS) if number == 1 else None


def batch_of(messages: int, meters: int) -> pa.RecordBatch:
    dice = np.random.default_rng(1)
    names = pa.array([f"meter-{i:06d}" for i in range(meters)])
    word = pa.array(np.zeros(messages, np.int32))
    return pa.record_batch(
        [
            pa.DictionaryArray.from_arrays(pa.array(dice.integers(0, meters, messages, np.int32)), names),
            pa.DictionaryArray.from_arrays(word, pa.array(["ELECTRICITY"])),
            pa.DictionaryArray.from_arrays(word, pa.array(["ACTIVE_POWER"])),
            pa.array(1_704_067_200_000 + dice.integers(0, 10**9, messages)),
            pa.array(dice.integers(0, 4096, messages) / 1024),
            pa.array(np.full(messages, 900, np.int32)),
            pa.array(np.zeros(messages, np.uint8)),
            pa.array(np.zeros(messages, np.uint16)),
        ],
        names=["meter", "metric", "attribute", "ts", "value", "interval_s", "quality", "revision"],
    )


def varint(number: int) -> bytes:
    number, out = number << 1, b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def container(values: list[bytes], schema: str) -> io.BytesIO:
    """An Avro file with one block of all records."""
    plain = json.loads(schema)
    plain["fields"] = [{"name": f["name"], "type": f["type"]} for f in plain["fields"]]
    for field in plain["fields"]:
        if isinstance(field["type"], dict):
            field["type"] = field["type"]["type"]
    text, body = json.dumps(plain).encode(), b"".join([value[5:] for value in values])
    meta = [(b"avro.schema", text), (b"avro.codec", b"null")]
    head = b"".join(varint(len(part)) + part for pair in meta for part in pair)
    block = varint(len(values)) + varint(len(body)) + body
    return io.BytesIO(b"Obj\x01" + varint(len(meta)) + head + b"\0" + SYNC + block + SYNC)


def cost(call: Callable[[], Any], rounds: int, messages: int) -> float:
    """CPU-nanoseconds a message, the best of the rounds."""
    call()
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        call()
        best = min(best, time.process_time() - began)
    return best / messages * 1e9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--meters", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    batch = batch_of(options.messages, options.meters)
    values, _ = AvroRows(1).encode(batch)
    lines, _ = JsonRows(FIELDS).encode(batch.set_column(5, "interval_s", pa.array(np.zeros(len(batch), np.int32))))
    decoder, keys = Decoder(Readings(formats=("json", "avro")), OneSchema()), KeyTable()  # type: ignore[arg-type]
    schema = reading_schema(FIELDS)
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: decoder.decode(values, keys),
        "json": lambda: decoder.decode(lines, keys),
    }
    try:
        fastavro = importlib.import_module("fastavro")
        parsed = fastavro.parse_schema(json.loads(schema))

        def one_by_one() -> list[Any]:
            return [fastavro.schemaless_reader(io.BytesIO(value[5:]), parsed, None) for value in values]

        ways["fastavro, a message at a time"] = one_by_one
        ways["fastavro, as a container file"] = lambda: list(fastavro.reader(container(values, schema)))
        if not agrees(decoder, values, one_by_one()):
            print("ours differs from fastavro", file=sys.stderr)
            return 1
    except ImportError:
        print("fastavro is not installed", file=sys.stderr)
    try:
        polars = importlib.import_module("polars")
        ways["polars, as a container file"] = lambda: polars.read_avro(container(values, schema))
    except ImportError:
        print("polars is not installed", file=sys.stderr)
    for name, call in ways.items():
        took = cost(call, options.rounds, options.messages)
        print(f"{name:32} {took:8.0f} ns {1e9 / took:12,.0f} readings per CPU-second")
    return 0


def agrees(decoder: Decoder, values: list[bytes], records: list[dict[str, Any]]) -> bool:
    keys = KeyTable()
    decoded = decoder.decode(values, keys)
    names, readings = list(keys.ids), decoded.readings
    found = zip(readings.key.tolist(), readings.ts.tolist(), readings.value.tolist(), readings.interval_s, strict=True)
    wanted = [
        (
            r["gateway"],
            r["metricType"],
            r["metricAttribute"],
            r["timestamp"].timestamp() * 1000,
            r["value"],
            r["interval"],
        )
        for r in records
    ]
    return not decoded.rejects and [(*names[k], ts, value, int(s)) for k, ts, value, s in found] == wanted


if __name__ == "__main__":
    sys.exit(main())
