"""topics: the topics of a pipeline on Kafka."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from confluent_kafka import KafkaException

from meterpipe.adapters.topic_facts import TopicFacts, topic_facts
from meterpipe.adapters.topics import TopicError, ensure_topics
from meterpipe.cli.console import reading
from meterpipe.cli.errors import Failed
from meterpipe.cli.lines import print_json, print_table
from meterpipe.cli.target import kafka_target, target, target_options
from meterpipe.spec.topics import plan_topics


class ListByDefault(click.Group):
    """A group that lists when no command of it is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """`meterpipe topics -f pipeline.yaml` is `meterpipe topics list -f pipeline.yaml`."""
        if not args or (args[0].startswith("-") and args[0] not in self.get_help_option_names(ctx)):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=ListByDefault)
def topics() -> None:
    """List the topics of a pipeline (the default), create them, or show what is needed."""


@topics.command("list")
@click.option("--partitions", "each", is_flag=True, help="Show begin and end of every partition.")
@click.option("--size", "sized", is_flag=True, help="Tell about how many bytes, uncompressed, from a sample.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@target_options
def list_(each: bool, sized: bool, as_json: bool, **where: Any) -> None:
    """Print the topics a pipeline has on Kafka: role, partitions, records, end offsets, retention.

    \b
    meterpipe topics
    meterpipe topics list --partitions
    meterpipe topics list --size --json

    Records are offsets: markers of transactions count, and what compaction has removed. Exit code 1: one is missing.
    """
    config = kafka_target(**where)
    with reading(config) as reader:
        found = topic_facts(config, reader, sized)
    if as_json:
        print_json([asdict(facts) | {"records": facts.records} for facts in found])
    else:
        print_table([_row(facts, sized) for facts in found])
        if each:
            print_table([row for facts in found for row in _partitions(facts)])
    if missing := [facts.name for facts in found if not facts.there]:
        raise Failed(f"not there: {', '.join(missing)}", "meterpipe topics apply makes them")


def _row(facts: TopicFacts, sized: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"role": facts.role, "topic": facts.name, "partitions": facts.partitions}
    row |= {"replicas": facts.replicas if facts.in_sync else f"{facts.replicas} (not in sync)"}
    row |= {"records": facts.records, "ends": _span(facts.ends)}
    row |= {"bytes": facts.bytes} if sized else {}
    kept = "compacted" if facts.compacted else span_of(facts.retention_s)
    return row | {"retention": kept if facts.there else "not there"}


def _span(ends: tuple[int, ...]) -> str:
    """Smallest and largest."""
    return f"{min(ends):,} - {max(ends):,}" if ends and min(ends) != max(ends) else f"{ends[0]:,}" if ends else ""


def span_of(seconds: int | None) -> str:
    """`7 d`; whole units only, so that nothing is rounded away. None: for ever."""
    if seconds is None:
        return "for ever"
    size, unit = next(
        (size, unit) for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")) if not seconds % size
    )
    return f"{seconds // size} {unit}"


def _partitions(facts: TopicFacts) -> list[dict[str, Any]]:
    return [
        {"topic": facts.name, "partition": number, "begin": begin, "end": end, "records": end - begin}
        for number, (begin, end) in enumerate(zip(facts.begins, facts.ends, strict=True))
    ]


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
    settings = kafka_target(spec, config, root, secrets)
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
