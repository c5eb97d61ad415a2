"""topics: the topics of a pipeline on Kafka."""

import json
from pathlib import Path

import click
from confluent_kafka import KafkaException

from meterpipe.adapters.topics import TopicError, ensure_topics
from meterpipe.cli.errors import Failed
from meterpipe.cli.target import target, target_options
from meterpipe.spec.topics import plan_topics


@click.group()
def topics() -> None:
    """Create or show the topics on Kafka."""


@topics.command()
@click.option("--json", "as_json", is_flag=True, help="Print the names of topics created as JSON.")
@target_options
def apply(spec: Path | None, config: Path | None, root: Path, secrets: Path, as_json: bool) -> None:
    """Create the topics that are missing, bring the settings of the pipeline's own up to date.

    \b
    meterpipe topics apply -f pipeline.yaml
    meterpipe topics apply --config worker.yaml

    A second time changes nothing, and nothing is ever deleted. `meterpipe run` and the operator do this for you. A
    topic with another number of partitions than the pipeline says is an error: exit code 1.
    """
    settings = target(spec, config, root, secrets)
    try:
        created = ensure_topics(settings)
    except TopicError as problem:
        raise Failed(str(problem)) from problem
    except KafkaException as problem:
        servers = settings.kafka.bootstrap_servers
        raise Failed(f"Kafka at {servers}: {problem}", "is it running, may this user create topics?") from problem
    if as_json:
        click.echo(json.dumps({"created": created}))
    else:
        click.echo("\n".join(f"{name}: created" for name in created) or "all topics are there")


@topics.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@target_options
def show(spec: Path | None, config: Path | None, root: Path, secrets: Path, as_json: bool) -> None:
    """Print the topics a pipeline needs, with their settings. Needs no Kafka.

    \b
    meterpipe topics show -f pipeline.yaml
    """
    plans = plan_topics(target(spec, config, root, secrets).pipeline)
    if as_json:
        found = [
            {"name": p.name, "partitions": p.partitions, "replicas": p.replicas, "owned": p.owned, "config": p.config}
            for p in plans
        ]
        click.echo(json.dumps(found, indent=2))
        return
    for plan in plans:
        settings = " ".join(f"{key}={value}" for key, value in plan.config.items())
        told = settings if plan.owned else "(named: its settings are its owner's)"
        click.echo(f"{plan.name}: {plan.partitions} partitions, {plan.replicas} replicas {told}")
