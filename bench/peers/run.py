"""Run a peer of the engine benchmark over a topic of readings and give its figures.

The Java sources beside this file are built by Maven into a folder of the user's cache, once for each state of the
sources. The process reads a warm-up topic first and then the measured one; its figures are of the second only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from bench.peers.flush import ensure_flushed

HERE = Path(__file__).parent
WINDOWS_S = (60, 600, 3600, 86400)


@dataclass(frozen=True)
class Peer:
    """How a peer is started: its Java main class and the settings that are its fastest."""

    main: str
    threads: int
    variant: str
    compression: str
    libraries: tuple[str, ...] = ("lib",)
    """Folders of jars, the first that has a class wins."""


PEERS = {
    "kafka-streams": Peer("io.meterpipe.bench.KafkaStreamsPeer", 1, "cascade", "lz4"),
    "kafka-streams-independent": Peer("io.meterpipe.bench.KafkaStreamsPeer", 1, "independent", "lz4"),
    "flink": Peer("io.meterpipe.bench.FlinkPeer", 1, "cascade", "lz4", ("lib-flink", "lib")),
}


@dataclass(frozen=True)
class PeerResult:
    """Figures of one run; CPU is user + system time of the process, wall time ends with the last window."""

    system: str
    version: str
    guarantee: str
    readings: int
    cpu_seconds: float
    wall_seconds: float
    results: int
    readings_per_cpu_second: float
    settings: dict[str, str]


class PeerError(RuntimeError):
    """A peer could not be built or run; the text has the end of what it said."""


def run_peer(
    name: str,
    bootstrap: str,
    input_topic: str,
    warmup_topic: str,
    output_prefix: str,
    readings: int,
    *,
    threads: int | None = None,
    compression: str | None = None,
    jvm: tuple[str, ...] = (),
    timeout_s: int = 1800,
) -> PeerResult:
    """Run the peer `name` (a key of `PEERS`) over `readings` readings in `input_topic`.

    Both input topics hold all their readings before the call; flush readings are appended to them (see `flush`). The
    results stay in the topics `<output_prefix>-<window>`, which must not exist yet; all else is removed again.
    """
    peer = PEERS[name]
    built = build()
    classpath = ":".join((f"{built}/target/classes", *(f"{built}/{folder}/*" for folder in peer.libraries)))
    admin = AdminClient({"bootstrap.servers": bootstrap})
    partitions = len(admin.list_topics(input_topic, 10).topics[input_topic].partitions)
    for topic in (warmup_topic, input_topic):
        ensure_flushed(bootstrap, topic)
    warmup_prefix = f"{output_prefix}-warmup"
    _create(admin, [f"{prefix}-{w}" for prefix in (warmup_prefix, output_prefix) for w in WINDOWS_S], partitions)
    try:
        with tempfile.TemporaryDirectory(prefix="meterpipe-peer-") as directory:
            arguments = {
                "bootstrap": bootstrap,
                "warmup-topic": warmup_topic,
                "input-topic": input_topic,
                "output-prefix": output_prefix,
                "readings": readings,
                "partitions": partitions,
                "threads": threads if threads is not None else peer.threads,
                "variant": peer.variant,
                "compression": compression if compression is not None else peer.compression,
                "directory": directory,
                "timeout-seconds": timeout_s,
            }
            line = _run_java([*JVM, *jvm], classpath, peer.main, arguments, 2 * timeout_s)
    finally:
        _delete(admin, (f"{warmup_prefix}-", f"{output_prefix}-streams-"))
    return PeerResult(**{**json.loads(line), "system": name})


JVM = (
    "-XX:+UseParallelGC",
    "-Xms3g",
    "-Xmx3g",
    *(
        f"--add-opens=java.base/{package}=ALL-UNNAMED"
        for package in ("java.lang", "java.util", "java.time", "java.nio", "java.util.concurrent", "sun.nio.ch")
    ),
)
"""A collector that spends the least CPU in all, and what Flink opens of Java's own classes."""


FLINK_KAFKA_CLIENTS = "4.2.0"
"""The Kafka client that Flink's connector 5.0.0-2.2 was built with; it fails with 4.3 (internals have changed)."""


def build() -> Path:
    """Build the Java sources, unless they are in the cache, and give the folder with `target/classes` and the jars."""
    if shutil.which("mvn") is None or shutil.which("java") is None:
        raise PeerError("the peers need `mvn` and `java` 17 or newer on the PATH (Debian: maven, openjdk-17-jdk)")
    sources = [HERE / "pom.xml", *sorted((HERE / "src").rglob("*.java"))]
    digest = hashlib.sha256()
    for source in sources:
        digest.update(str(source.relative_to(HERE)).encode() + b"\0" + source.read_bytes() + b"\0")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meterpipe" / "bench-peers"
    target = cache / digest.hexdigest()[:16]
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            work = Path(temporary) / "work"
            work.mkdir()
            shutil.copy(HERE / "pom.xml", work)
            shutil.copytree(HERE / "src", work / "src")
            copy = "dependency:copy-dependencies"
            _maven(work, "package", copy, "-DincludeScope=runtime", "-DoutputDirectory=lib")
            clients = f"-Dkafka.clients.version={FLINK_KAFKA_CLIENTS}"
            _maven(work, copy, clients, "-DincludeArtifactIds=kafka-clients", "-DoutputDirectory=lib-flink")
            work.rename(target)
    return target


def _maven(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["mvn", "-q", "-B", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PeerError(f"Maven could not build the peers:\n{(done.stdout + done.stderr)[-4000:]}")


def _run_java(jvm: list[str], classpath: str, main: str, arguments: dict[str, object], timeout_s: int) -> str:
    command = ["java", *jvm, "-cp", classpath, main]
    command += [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
    with tempfile.TemporaryFile("w+") as errors:
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as late:
            raise PeerError(f"{main} was stopped after {timeout_s} s") from late
        errors.seek(0)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode != 0 or not lines:
            raise PeerError(f"{main} ended with {done.returncode}:\n{(done.stdout + errors.read())[-4000:]}")
        return lines[-1]


def _create(admin: AdminClient, topics: list[str], partitions: int) -> None:
    forever = {"retention.ms": "-1"}  # retention goes by the messages' timestamps, which are event time
    for future in admin.create_topics([NewTopic(topic, partitions, 1, config=forever) for topic in topics]).values():
        future.result(30)


def _delete(admin: AdminClient, prefixes: tuple[str, ...]) -> None:
    topics = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(prefixes)]
    if topics:
        for future in admin.delete_topics(topics).values():
            future.result(30)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m bench.peers.run flink --bootstrap localhost:9092 --input-topic readings "
        "--warmup-topic warmup --output-prefix flink-1 --readings 10000000",
    )
    parser.add_argument("peer", choices=sorted(PEERS))
    parser.add_argument("--bootstrap", required=True, help="host:port of Kafka")
    parser.add_argument("--input-topic", required=True, help="topic with the measured readings")
    parser.add_argument("--warmup-topic", required=True, help="topic with 1-2 million readings of the same shape")
    parser.add_argument("--output-prefix", required=True, help="results go to <prefix>-60 and so on")
    parser.add_argument("--readings", required=True, type=int, help="number of readings in the input topic")
    parser.add_argument("--threads", type=int, help="stream threads or parallelism (default: the fastest)")
    parser.add_argument("--compression", help="none, lz4, zstd or snappy (default: the fastest)")
    parser.add_argument("--jvm", action="append", default=[], help="one more option of Java, for instance --jvm=-Xmx8g")
    given = vars(parser.parse_args(argv))
    try:
        result = run_peer(given.pop("peer"), jvm=tuple(given.pop("jvm")), **given)
    except PeerError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
