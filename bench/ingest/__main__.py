"""How fast the edge takes readings in: over HTTP in batches of 100, and over MQTT one by one.

    python -m bench.ingest                     20 000 readings/s over HTTP, 5 000 over MQTT, and as fast as it goes

Kafka and the MQTT broker (`mosquitto` must be installed) are started here. The worker is one process, its CPU time is
taken from the kernel. In the end the readings in Kafka are counted; exit code 1 if one that was acknowledged is not
there or a rate was not held.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meterpipe.adapters.kafka import new_consumer
from meterpipe.adapters.topics import ensure_topics
from meterpipe.core.codecs import Decoder
from meterpipe.core.readings import KeyTable
from meterpipe.local import ports
from meterpipe.local.paths import DataDir
from meterpipe.local.services import down, up
from meterpipe.spec.connections import KafkaConnection, WorkerConfig
from meterpipe.spec.models import MeterPipeline
from meterpipe.spec.names import names_of

from bench.ingest import load
from bench.ingest.load import Seen

HTTP_RATE, MQTT_RATE, SIZE = 20_000, 5_000, 100


def main() -> int:
    """Run, print, judge."""
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        data = DataDir(Path(folder) / "services").create()
        connections = up(data, tethered=True, only=("kafka",))
        try:
            known = ports.reserve(data, ["http", "metrics", "mqtt"])
            config = worker_config(connections.kafka, known)
            ensure_topics(config)
            with broker(Path(folder), known["mqtt"]), worker(Path(folder), config, known["metrics"]) as pid:
                return measure(options, config, known, pid)
        finally:
            down(data)


def measure(options: argparse.Namespace, config: WorkerConfig, known: dict[str, int], pid: int) -> int:
    """The runs one after the other, and the count in Kafka at the end."""
    sent, held = 0, True
    for name, rate in (("warm-up", HTTP_RATE), ("HTTP", HTTP_RATE), ("HTTP, unbounded", 0)):
        count = int((rate or HTTP_RATE) * (3 if name == "warm-up" else options.seconds)) // SIZE
        bodies = load.requests(count, SIZE, sent)
        sent += count * SIZE
        before = cpu(pid)
        seen = asyncio.run(load.http(known["http"], bodies, SIZE, rate))
        held &= tell(name, seen, cpu(pid) - before, rate)
    for name, rate in (("MQTT", MQTT_RATE),):
        count = rate * options.seconds
        packets = load.publications(count, sent)
        sent += count
        before, began = cpu(pid), time.perf_counter()
        seen = asyncio.run(load.mqtt(known["mqtt"], packets, rate))
        acks = 0.0
        while acks < count and time.perf_counter() < began + options.seconds + 30:
            acks = metric(known["metrics"], 'meterpipe_ingest_requests_total{adapter="mqtt",status="ack"}')
            time.sleep(0.05)
        seen.seconds = time.perf_counter() - began
        held &= tell(name, seen, cpu(pid) - before, rate)
        print("  acknowledged to the broker, by the worker's histogram:", histogram(known["metrics"], "mqtt"))
    found = count_readings(config)
    print(f"{sent} readings sent, {found} in Kafka")
    return 0 if held and found == sent else 1


def tell(name: str, seen: Seen, seconds: float, rate: float) -> bool:
    """Print a run; whether its rate was held (within 5 %) and nothing was refused."""
    reached = seen.acknowledged / seen.seconds
    p50, p99, longest = (seen.percentile(share) for share in (0.5, 0.99, 1.0))
    acks = f"acknowledged in ms: p50 {p50:.1f}, p99 {p99:.1f}, max {longest:.1f}; " if seen.delays else ""
    print(
        f"{name:>16}: {reached:>8,.0f} readings/s, {seen.acknowledged / seconds:>8,.0f} a CPU-second of the worker, "
        f"{seconds / seen.seconds:.0%} of a core; {acks}load {os.getloadavg()[0]:.1f} {seen.other or ''}",
        flush=True,
    )
    return not seen.other and (not rate or reached > 0.95 * rate)


def worker_config(kafka: KafkaConnection, known: dict[str, int]) -> WorkerConfig:
    """A pipeline with both adapters."""
    ingest = {
        "replicas": 1,
        "anonymous": True,
        "http": {"port": known["http"]},
        "mqtt": {"host": "127.0.0.1", "port": known["mqtt"]},
    }
    resource = {
        "apiVersion": "meterpipe.io/v1alpha1",
        "kind": "MeterPipeline",
        "metadata": {"name": "bench-ingest"},
        "spec": {"ingest": ingest},
    }
    return WorkerConfig(pipeline=MeterPipeline.model_validate(resource), kafka=kafka)


@contextmanager
def broker(folder: Path, port: int) -> Iterator[None]:
    """A mosquitto with the settings that docs/ingest.md asks for."""
    settings = folder / "mosquitto.conf"
    settings.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 1000\nmax_queued_messages 0\n"
    )
    with (folder / "mosquitto.log").open("wb") as out:
        process = subprocess.Popen(["mosquitto", "-c", str(settings)], stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def worker(folder: Path, config: WorkerConfig, port: int) -> Iterator[int]:
    """The ingest worker, ready; its pid."""
    file = folder / "worker.json"
    file.write_text(config.model_dump_json(by_alias=True, exclude_none=True))
    argv = [sys.executable, "-m", "meterpipe.cli.main", "worker", "ingest", "--config", str(file)]
    with (folder / "worker.log").open("wb") as out:
        process = subprocess.Popen([*argv, "--port", str(port), "--host", "127.0.0.1"], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 60
        while not ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "worker.log").read_text())
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def ready(port: int) -> bool:
    """Whether the worker is."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def scrape(port: int) -> str:
    """All metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return bytes(answer.read()).decode()


def metric(port: int, series: str) -> float:
    """One figure of the worker; 0 if there is none."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", scrape(port), re.MULTILINE)
    return float(found[1]) if found else 0.0


def histogram(port: int, adapter: str) -> str:
    """The bounds below which half and 99 % of the acknowledgements are."""
    pattern = rf'^meterpipe_ingest_ack_seconds_bucket\{{adapter="{adapter}",le="([^"]+)"\}} (\S+)$'
    buckets = [(bound, float(count)) for bound, count in re.findall(pattern, scrape(port), re.MULTILINE)]
    total = buckets[-1][1]
    bounds = [next(bound for bound, count in buckets if count >= share * total) for share in (0.5, 0.99)]
    return f"p50 <= {bounds[0]} s, p99 <= {bounds[1]} s (of {total:.0f} bursts)"


def cpu(pid: int) -> float:
    """Seconds of CPU a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def count_readings(config: WorkerConfig) -> int:
    """Distinct readings (meter and instant) in the topic."""
    topic, decoder, keys = names_of(config.pipeline).readings, Decoder(), KeyTable()
    consumer = new_consumer(config.kafka, "bench-ingest-count", enable_partition_eof=False)
    consumer.subscribe([topic])
    found: set[tuple[int, int]] = set()
    quiet = time.monotonic() + 10
    while time.monotonic() < quiet:
        messages = consumer.consume(10_000, 0.5)
        if messages:
            readings = decoder.decode([message.value() for message in messages], keys).readings
            found.update(zip(readings.key.tolist(), readings.ts.tolist(), strict=True))
            quiet = time.monotonic() + 3
    consumer.close()
    return len(found)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20, help="length of each run")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
