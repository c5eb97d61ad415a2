"""Embedded Kafka: one KRaft process, broker and controller.

Session and transaction clean-up times are short, so that a killed worker's partitions move within seconds.
"""

from collections.abc import Mapping

from confluent_kafka import KafkaException

from meterpipe.adapters.kafka import new_admin
from meterpipe.local import artifacts, tools
from meterpipe.local.paths import DataDir
from meterpipe.local.probes import listens
from meterpipe.local.process import Command
from meterpipe.local.program import Program
from meterpipe.spec.connections import KafkaConnection
from meterpipe.spec.topics import MAX_MESSAGE

NAME = "kafka"
PORTS = ("kafka", "kafka-controller")
PATIENCE = 20.0  # seconds between SIGTERM and SIGKILL
CLUSTER_ID = "bWV0ZXJwaXBlLWxvY2Fs"
HEAP = ("-Xms256m", "-Xmx1g", "-XX:+UseParallelGC")

SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    # one node
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 8,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 8,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    # quick take-over
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 6000,
    "group.consumer.min.session.timeout.ms": 6000,
    "group.consumer.session.timeout.ms": 6000,
    "group.consumer.min.heartbeat.interval.ms": 1000,
    "group.consumer.heartbeat.interval.ms": 2000,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    # a topic may take messages half as large again as what the clients send: room for broken input to be kept
    "message.max.bytes": MAX_MESSAGE * 3 // 2,
    "replica.fetch.max.bytes": MAX_MESSAGE * 3 // 2,
    # small machine
    "num.network.threads": 2,
    "num.io.threads": 4,
    "num.recovery.threads.per.data.dir": 2,
    "log.cleaner.dedupe.buffer.size": 32 * 1024 * 1024,
    "log.segment.bytes": 256 * 1024 * 1024,
}


def connection(ports: Mapping[str, int]) -> KafkaConnection:
    """Where it answers."""
    return KafkaConnection(bootstrap_servers=f"127.0.0.1:{ports['kafka']}")


def prepare(data: DataDir, ports: Mapping[str, int]) -> Program:
    """Fetch the jars, write the settings, format the storage the first time."""
    java, classpath = tools.java(), f"{artifacts.jars('kafka')}/*"
    home = data.service(NAME)
    home.mkdir(exist_ok=True)
    settings = home / "server.properties"
    settings.write_text(_properties(str(home / "log"), ports["kafka"], ports["kafka-controller"]))
    logging = artifacts.RECIPES / "kafka" / "log4j2.properties"
    base = (str(java), f"-Dlog4j2.configurationFile={logging}", "-XX:+PerfDisableSharedMem", "-cp", classpath)
    if not (home / "log" / "meta.properties").exists():
        tools.run(
            [
                *(base[0], "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *base[1:]),
                *("kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER_ID, "-c", str(settings)),
            ],
            way_out=f"look into {home}; `meterpipe clean` starts afresh",
        )
    return Program(
        Command(NAME, (base[0], *HEAP, *base[1:], "kafka.Kafka", str(settings))),
        lambda: _answers(ports["kafka"], connection(ports)),
    )


def _properties(log: str, port: int, controller: int) -> str:
    addresses = {
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "log.dirs": log,
    }
    return "".join(f"{name}={value}\n" for name, value in (SETTINGS | addresses).items())


def _answers(port: int, kafka: KafkaConnection) -> bool:
    if not listens(port):
        return False
    try:
        return bool(new_admin(kafka).list_topics(timeout=2).brokers)
    except KafkaException:
        return False
