"""Bodies that the tests share."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
from meterpipe.core.ingest.rows import Parsed
from meterpipe.core.readings import READING_SCHEMA

NOW = 1_767_225_600_000


def reading(number: int = 0, **changes: Any) -> dict[str, Any]:
    plain = {
        "gateway": f"house-{number % 7}",
        "metricType": "ELECTRICITY",
        "metricAttribute": "ACTIVE_POWER",
        "timestamp": NOW + number * 1000,
        "value": number / 4,
    }
    return {name: value for name, value in (plain | changes).items() if value is not None}


def as_json(*readings: dict[str, Any]) -> bytes:
    return json.dumps(readings).encode()


def as_arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def arrow_table(count: int) -> pa.Table:
    columns = {
        "meter": pa.array([f"house-{i % 7}" for i in range(count)], pa.string()),
        "metric": pa.array(["ELECTRICITY"] * count, pa.string()),
        "attribute": pa.array(["ACTIVE_POWER"] * count, pa.string()),
        "ts": pa.array(NOW + np.arange(count) * 1000),
        "value": pa.array(np.arange(count) / 4),
        "interval_s": pa.array(np.zeros(count, np.int32)),
        "quality": pa.array(np.zeros(count, np.uint8)),
        "revision": pa.array(np.zeros(count, np.uint16)),
    }
    return pa.table(columns, schema=READING_SCHEMA)


def rows_of(parsed: Parsed) -> list[tuple[str, str, str, int, float]]:
    r = parsed.rows.readings
    return [
        (*parsed.rows.keys[key], ts, value)
        for key, ts, value in zip(r.key.tolist(), r.ts.tolist(), r.value.tolist(), strict=True)
    ]
