"""Which pipeline a command means, and where its services are."""

from pathlib import Path

import click

from meterpipe.cli.errors import BadInput, Failed
from meterpipe.cli.options import Decorator, options
from meterpipe.cli.spec import read_pipeline, read_worker_config
from meterpipe.local.errors import LocalError
from meterpipe.local.paths import DEFAULT_DATA, DataDir
from meterpipe.local.resolve import kafka_connection, registry_connection, resolve
from meterpipe.local.services import Connections
from meterpipe.spec.connections import WorkerConfig


def _options(*spellings: str) -> Decorator:
    return options(
        click.option(*spellings, "spec", type=click.Path(path_type=Path), help="The pipeline (YAML)."),
        click.option("--config", type=click.Path(path_type=Path), help="A worker's configuration, in place of -f."),
        click.option(
            "--dir", "root", type=click.Path(path_type=Path), default=DEFAULT_DATA, show_default=True,
            help="Data directory of `meterpipe run`: where embedded services are, and the pipeline that ran there if"
            " neither -f nor --config is given.",
        ),
        click.option(
            "--secrets", type=click.Path(path_type=Path), default=Path("secrets"), show_default=True,
            help="Folder with a folder of files for each secretName of the pipeline.",
        ),
    )  # fmt: skip


target_options = _options("-f", "--file", "--pipeline")
"""-f, --config, --dir, --secrets; the command gets them as spec, config, root, secrets."""
target_options_beside_files = _options("-f", "--pipeline")
"""The same for commands whose --file is something else."""


def target(spec: Path | None, config: Path | None, root: Path, secrets: Path) -> WorkerConfig:
    """The configuration the options name. BadInput if they name none, or two."""
    return _target(spec, config, root, secrets, kafka_only=False)


def kafka_target(spec: Path | None, config: Path | None, root: Path, secrets: Path) -> WorkerConfig:
    """As `target`, for commands that talk to Kafka (and the schema registry) only: a pipeline that names its Kafka
    needs no secrets of other services. Failed if nothing tells where Kafka is.
    """
    found = _target(spec, config, root, secrets, kafka_only=True)
    if not found.kafka.bootstrap_servers:
        way_out = f"start one: meterpipe run -f {spec} --dir {root}" if spec else None
        raise Failed(
            f"{spec or config or root} names no Kafka (spec.kafka.bootstrapServers), and none runs in {root}", way_out
        )
    return found


def _target(spec: Path | None, config: Path | None, root: Path, secrets: Path, kafka_only: bool) -> WorkerConfig:
    data = DataDir(root.absolute())
    if spec and config:
        raise BadInput("-f and --config both name a pipeline", "give one of them")
    if config:
        return read_worker_config(config)
    if spec:
        pipeline = read_pipeline(spec)
        try:
            if kafka_only and (kafka := kafka_connection(pipeline, secrets)):
                registry = registry_connection(pipeline, secrets) or _embedded(data).registry
                return WorkerConfig(pipeline=pipeline, kafka=kafka, registry=registry)
            return resolve(pipeline, _embedded(data), secrets)
        except LocalError as error:
            raise Failed(error.problem, error.way_out) from error
    if data.config.exists():
        return read_worker_config(data.config)
    raise BadInput(f"no pipeline: {root} is no data directory of one", "give -f pipeline.yaml, or --dir")


def _embedded(data: DataDir) -> Connections:
    if data.connections.exists():
        return Connections.model_validate_json(data.connections.read_bytes())
    nowhere = {"kafka": {"bootstrapServers": ""}, "cassandra": {"contactPoints": ["127.0.0.1"]}, "lake": {}}
    return Connections.model_validate(nowhere)
