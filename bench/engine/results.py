"""All results on an aggregates topic as one table."""

from __future__ import annotations

import msgspec
import pyarrow as pa
from confluent_kafka import TopicPartition
from meterpipe.adapters.changelog import end_offset
from meterpipe.adapters.kafka import new_consumer, offset_of
from meterpipe.core.aggregates import AGGREGATE_SCHEMA, Result, from_ipc
from meterpipe.spec.connections import KafkaConnection

from bench.engine.workload import PARTITIONS

FLUSH = "~flush-"


def read_results(connection: KafkaConnection, topic: str) -> pa.Table:
    """The results in AGGREGATE_SCHEMA, without those of the flush readings."""
    consumer = new_consumer(connection, "bench", enable_partition_eof=True)
    # what was written, since the markers of the last commit may still be on their way
    wanted = {partition: end_offset(connection, topic, partition) for partition in range(PARTITIONS)}
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    open_partitions, tables, rows = {p for p, end in wanted.items() if end}, [], []
    decoder = msgspec.json.Decoder(Result)
    while open_partitions:
        for message in consumer.consume(10_000, 0.2):
            if message.error():
                if offset_of(message) >= wanted[message.partition()]:
                    open_partitions.discard(message.partition())
            elif (value := message.value()).startswith(b"{"):
                rows.append(decoder.decode(value))
            else:
                tables.append(
                    pa.table(
                        [c.cast(f.type) for c, f in zip(from_ipc(value)[1].columns, AGGREGATE_SCHEMA, strict=True)],
                        schema=AGGREGATE_SCHEMA,
                    )
                )
    consumer.close()
    if rows:
        names = {"window_start": "start"}
        columns = [pa.array([getattr(r, names.get(f.name, f.name)) for r in rows], f.type) for f in AGGREGATE_SCHEMA]
        tables.append(pa.table(columns, schema=AGGREGATE_SCHEMA))
    table = pa.concat_tables(tables) if tables else AGGREGATE_SCHEMA.empty_table()
    return table.filter(pa.compute.invert(pa.compute.starts_with(table["meter"], FLUSH)))
