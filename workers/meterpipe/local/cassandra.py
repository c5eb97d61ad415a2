"""Embedded Cassandra: one node, trie memtables and BTI sstables as a new cluster would have them."""

import json
from collections.abc import Mapping
from pathlib import Path

from meterpipe.local import artifacts, tools
from meterpipe.local.paths import DataDir
from meterpipe.local.probes import cql_answers
from meterpipe.local.process import Command
from meterpipe.local.program import Program
from meterpipe.spec.connections import CassandraConnection

NAME = "cassandra"
PORTS = ("cassandra", "cassandra-storage")
PATIENCE = 30.0  # seconds between SIGTERM and SIGKILL: it drains
HEAP = ("-Xms512m", "-Xmx2g", "-XX:+UseParallelGC")
OPTIONS = (
    "-Xss256k",
    "-XX:+PerfDisableSharedMem",
    "-Djava.net.preferIPv4Stack=true",
    "-Djdk.attach.allowAttachSelf=true",
    # a single node has nobody to gossip with
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.ring_delay_ms=0",
    "-Dcassandra.load_ring_state=false",
)


def connection(ports: Mapping[str, int]) -> CassandraConnection:
    """Where it answers."""
    return CassandraConnection(contact_points=("127.0.0.1",), port=ports["cassandra"])


def prepare(data: DataDir, ports: Mapping[str, int]) -> Program:
    """Fetch the jars, write the settings."""
    java, lib = tools.java(), artifacts.jars("cassandra")
    home = data.service(NAME)
    home.mkdir(exist_ok=True)
    settings = home / "cassandra.yaml"
    settings.write_text(json.dumps(_settings(home, ports["cassandra"], ports["cassandra-storage"]), indent=2))
    options = (artifacts.RECIPES / "cassandra" / "java17.options").read_text().splitlines()
    modules = [word for line in options if not line.startswith("#") for word in line.split()]
    argv = (
        *(str(java), *HEAP, *OPTIONS, *modules),
        f"-javaagent:{next(lib.glob('jamm-*.jar'))}",
        f"-Dlogback.configurationFile={artifacts.RECIPES / 'cassandra' / 'logback.xml'}",
        f"-Dcassandra.config=file://{settings}",
        f"-Dcassandra.storagedir={home}",
        *("-cp", f"{lib}/*", "org.apache.cassandra.service.CassandraDaemon"),
    )
    return Program(Command(NAME, argv), lambda: cql_answers(ports["cassandra"]))


def _settings(home: Path, port: int, storage_port: int) -> dict[str, object]:
    """cassandra.yaml, as JSON: YAML can read it. The batch thresholds are those docs/store.md asks of any server."""
    seeds = [{"seeds": f"127.0.0.1:{storage_port}"}]
    return {
        "cluster_name": "local",
        "num_tokens": 16,
        "allocate_tokens_for_local_replication_factor": 1,
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "endpoint_snitch": "SimpleSnitch",
        "listen_address": "127.0.0.1",
        "rpc_address": "127.0.0.1",
        "native_transport_port": port,
        "storage_port": storage_port,
        "seed_provider": [{"class_name": "org.apache.cassandra.locator.SimpleSeedProvider", "parameters": seeds}],
        "commitlog_sync": "periodic",
        "commitlog_sync_period": "10000ms",
        "commitlog_total_space": "1024MiB",
        "data_file_directories": [str(home / "data")],
        "commitlog_directory": str(home / "commitlog"),
        "saved_caches_directory": str(home / "saved_caches"),
        "hints_directory": str(home / "hints"),
        "cdc_raw_directory": str(home / "cdc"),
        "memtable": {
            "configurations": {
                "skiplist": {"class_name": "SkipListMemtable"},
                "trie": {"class_name": "TrieMemtable"},
                "default": {"inherits": "trie"},
            }
        },
        "sstable": {"selected_format": "bti"},
        "storage_compatibility_mode": "NONE",
        "hinted_handoff_enabled": False,
        "auto_snapshot": False,
        "batch_size_warn_threshold": "64KiB",
        "batch_size_fail_threshold": "640KiB",
        "unlogged_batch_across_partitions_warn_threshold": 256,
    }
