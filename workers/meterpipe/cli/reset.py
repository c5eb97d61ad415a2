"""reset: ways out when state and offsets contradict each other."""

import json
from typing import Any

import click
from confluent_kafka import KafkaException

from meterpipe.adapters.reset import GroupInUseError, Reset
from meterpipe.adapters.topics import TopicError
from meterpipe.cli.errors import BadInput, Failed
from meterpipe.cli.options import options
from meterpipe.cli.target import kafka_target, target_options
from meterpipe.core.changelog import CorruptChangelogError

WARNINGS = {
    "aggregator": "This forgets all open windows and counts every reading that the readings topic still holds anew:"
    " results come out again, equal to those before as long as all their readings are still in the topic. Where"
    " retention has cut into a window, its new result is too small and replaces the right one.",
    "validation": "This forgets what is known of every channel and judges every reading that the readings topic still"
    " holds anew: those that passed before pass again, and the aggregator takes them for late readings or duplicates.",
    "alarms": "This forgets which alarms are open and judges every reading that the topic still holds anew, by the"
    " thresholds of now: alarms that were raised before are raised again, under the same id if they are the same.",
}


@click.group()
def reset() -> None:
    """Bring a worker's state and its offsets back together, after somebody has moved one of them."""


_options = (
    click.option("--to-changelog", "to", flag_value="changelog", help="Go on where the state ends: loses nothing."),
    click.option("--to-beginning", "to", flag_value="beginning", help="Forget the state, read the topic anew."),
    click.option("--yes", is_flag=True, help="Do not ask before forgetting the state."),
    click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON."),
    target_options,
)


@reset.command()
@options(*_options)
def aggregator(to: str | None, yes: bool, as_json: bool, **where: Any) -> None:
    """Make an aggregator start again that stopped with "the group has committed offset ..., the changelog is at ...".

    \b
    meterpipe reset aggregator --to-changelog -f pipeline.yaml
    meterpipe reset aggregator --to-beginning -f pipeline.yaml

    Somebody moved the group's offsets: --to-changelog puts them back where the state ends, and nothing is lost or
    counted twice. The changelog itself is gone or damaged: --to-beginning. All aggregators must be stopped.
    """
    _reset("aggregator", to, yes, as_json, where)


@reset.command()
@options(*_options)
def validation(to: str | None, yes: bool, as_json: bool, **where: Any) -> None:
    """Make a validation worker start again that stopped as described for the aggregator.

    \b
    meterpipe reset validation --to-changelog -f pipeline.yaml
    meterpipe reset validation --to-beginning -f pipeline.yaml
    """
    _reset("validation", to, yes, as_json, where)


@reset.command()
@options(*_options)
def alarms(to: str | None, yes: bool, as_json: bool, **where: Any) -> None:
    """Make an alarms worker start again that stopped as described for the aggregator.

    \b
    meterpipe reset alarms --to-changelog -f pipeline.yaml
    meterpipe reset alarms --to-beginning -f pipeline.yaml
    """
    _reset("alarms", to, yes, as_json, where)


def _reset(worker: str, to: str | None, yes: bool, as_json: bool, where: dict[str, Any]) -> None:
    if to is None:
        raise BadInput("nothing said about where to go on", "give --to-changelog or --to-beginning")
    config = kafka_target(**where)
    if worker == "validation" and not config.pipeline.spec.validation.enabled:
        raise BadInput("the pipeline has no validation", "it is switched on by spec.validation.enabled")
    if worker == "alarms" and not config.pipeline.spec.alarms.enabled:
        raise BadInput("the pipeline has no alarms", "they are switched on by spec.alarms.enabled")
    if to == "beginning" and not yes:
        click.echo(WARNINGS[worker], err=True)
        click.confirm("Go on?", abort=True, err=True)
    try:
        if to == "changelog":
            positions = Reset(config, worker).to_changelog()
            told = [f"partition {number}: goes on at offset {at}" for number, at in positions.items()]
            facts: dict[str, Any] = {"offsets": positions}
        else:
            emptied = Reset(config, worker).to_beginning()
            told, facts = [f"{topic}: emptied" for topic in emptied], {"emptied": emptied}
    except GroupInUseError as problem:
        raise Failed(
            str(problem), f"stop all {worker.removesuffix('s')}s first; one that was killed is gone after 6 s"
        ) from problem
    except CorruptChangelogError as problem:
        raise Failed(f"the changelog cannot be read: {problem}", "use --to-beginning") from problem
    except (KafkaException, TopicError) as problem:
        raise Failed(f"Kafka at {config.kafka.bootstrap_servers}: {problem}") from problem
    click.echo(json.dumps(facts) if as_json else "\n".join(told) or "there is no state: they start afresh")
