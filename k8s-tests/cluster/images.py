"""What each image holds: one recipe an image, its layers from the lowest up."""

from dataclasses import dataclass
from pathlib import Path

from cluster import archive, layers, project
from cluster.archive import Entry, Image, ImageConfig
from cluster.layers import FOLDER
from cluster.store import Store

USER = "1000:1000"
PYTHON_ROOT = layers.debian("python3", "ca-certificates", "curl", "iproute2", "procps")


@dataclass(frozen=True)
class Recipe:
    """An image's layers, how its containers start, and a line about it."""

    about: str
    layers: tuple[layers.Layer, ...]
    config: ImageConfig


RECIPES = {
    "pause": Recipe(
        "first process of every pod",
        (layers.program("pause"),),
        ImageConfig(entrypoint=("/pause",)),
    ),
    "coredns": Recipe(
        "DNS of the cluster",
        (layers.program("coredns"),),
        ImageConfig(entrypoint=("/coredns",)),
    ),
    "metrics-server": Recipe(
        "numbers for `kubectl top` and autoscaling on CPU",
        (layers.program("metrics-server"),),
        ImageConfig(entrypoint=("/metrics-server",)),
    ),
    "python": Recipe(
        "Debian with Python 3.11 and curl, for pods of tests",
        (PYTHON_ROOT,),
        ImageConfig(command=("python3",)),
    ),
    "meterpipe": Recipe(
        "workers and operator of this checkout",
        (layers.debian(*project.CONTENTS.packages), project.locked_wheels, project.project),
        project.CONTENTS.config,
    ),
    "kafka": Recipe(
        "Kafka 4, one broker with KRaft; settings: images/kafka/start.sh",
        (
            PYTHON_ROOT,
            layers.java,
            layers.jars("kafka"),
            layers.files(
                "kafka",
                Entry("opt/kafka/start.sh", FOLDER / "kafka" / "start.sh"),
                Entry("etc/kafka/server.properties", FOLDER / "kafka" / "server.properties"),
                Entry("var/lib/kafka"),
            ),
        ),
        ImageConfig(entrypoint=("/opt/kafka/start.sh",), user=USER),
    ),
    "cassandra": Recipe(
        "Cassandra 5, one node; settings: images/cassandra/start.sh",
        (
            PYTHON_ROOT,
            layers.java,
            layers.jars("cassandra"),
            layers.files(
                "cassandra",
                Entry("opt/cassandra/start.sh", FOLDER / "cassandra" / "start.sh"),
                Entry("etc/cassandra/cassandra.yaml", FOLDER / "cassandra" / "cassandra.yaml"),
                Entry("etc/cassandra/java.options", FOLDER / "cassandra" / "java.options"),
                Entry("etc/cassandra/logback.xml", FOLDER / "cassandra" / "logback.xml"),
                Entry("var/lib/cassandra"),
            ),
        ),
        ImageConfig(entrypoint=("/opt/cassandra/start.sh",), user=USER),
    ),
    "s3": Recipe(
        "S3 server (versitygw) on port 7070, buckets below /data; needs ROOT_ACCESS_KEY and ROOT_SECRET_KEY",
        (layers.program("versitygw"), layers.files("s3", Entry("data"), Entry("tmp"))),
        ImageConfig(entrypoint=("/versitygw",), command=("--port", ":7070", "posix", "/data"), user=USER),
    ),
    "redis": Recipe(
        "Redis 7 on port 6379, in memory only",
        (layers.debian("redis-server"),),
        ImageConfig(
            entrypoint=("redis-server",),
            command=("--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir", "/tmp"),
            user=USER,
        ),
    ),
    "prometheus": Recipe(
        "Prometheus 2 on port 9090, data below /data, configuration /etc/prometheus/prometheus.yml",
        (
            layers.debian("prometheus"),
            layers.files(
                "prometheus",
                Entry("etc/prometheus/prometheus.yml", FOLDER / "prometheus.yml"),
                Entry("data"),
            ),
        ),
        ImageConfig(
            entrypoint=("prometheus",),
            command=("--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/data"),
            user=USER,
        ),
    ),
}
NODE_IMAGES = ("pause", "coredns")  # without these no cluster comes up


def reference(name: str) -> str:
    """Return the name pods use for an image, like localhost/kafka:test."""
    return f"localhost/{name}:test"


def image(store: Store, name: str) -> Path:
    """Return the docker-archive of one of RECIPES, made again when any of its inputs has changed."""
    recipe = RECIPES[name]
    made = Image([layer(store) for layer in recipe.layers], recipe.config)
    inputs: list[str | Path] = [
        *(layer.parent.name for layer in made.layers),
        repr(recipe.config),
        Path(archive.__file__),
    ]

    def write(out: Path) -> None:
        archive.write(made, reference(name), out / "image.tar")

    return store.get(f"image-{name}", inputs, write) / "image.tar"
