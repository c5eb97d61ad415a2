"""dead-letters: what could not be taken as a reading; looking at it, and sending it again."""

import re
import sys
from collections import Counter
from typing import Any

import click

from meterpipe.adapters.letter_box import LetterBox, Outcome, SupersededError
from meterpipe.adapters.topic_reader import Edge, Newest, Since, Start
from meterpipe.cli.beginning import Beginning
from meterpipe.cli.console import reading
from meterpipe.cli.errors import BadInput, Failed
from meterpipe.cli.lines import print_json, print_table, printable
from meterpipe.cli.options import options
from meterpipe.cli.target import kafka_target, target_options
from meterpipe.cli.times import shown
from meterpipe.core.deadletters import Reason
from meterpipe.core.letters import Choice, Letter, hex_of, text_of
from meterpipe.spec.names import names_of


class Name(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """The name of a dead letter: partition and offset."""

    name = "partition:offset"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Raises the usual usage error."""
        if isinstance(value, tuple):
            return value
        if not (found := re.fullmatch(r"(\d{1,9})[:/@](\d{1,18})", value)):
            self.fail(f"{value!r} names no dead letter: give PARTITION:OFFSET, as `list` prints it", param, ctx)
        return int(found[1]), int(found[2])


_choice_options = options(
    click.option(
        "--reason", "reasons", type=click.Choice([reason.value for reason in Reason]), multiple=True,
        help="Only letters of this reason. May be repeated.",
    ),
    click.option("--topic", "sources", multiple=True, help="Only letters from this topic. May be repeated."),
    click.option(
        "--from", "start", type=Beginning(), default="beginning", show_default=True,
        help="Only letters from here on: beginning, 15m (ago: s, m, h, d), or a time.",
    ),
)  # fmt: skip
_json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show and replay what could not be taken as a reading."""


@dead_letters.command("list")
@_choice_options
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Only the newest so many."
)
@click.option("--all", "everything", is_flag=True, help="No limit.")
@_json_option
@target_options
def list_(
    reasons: tuple[str, ...],
    sources: tuple[str, ...],
    start: Start,
    limit: int,
    everything: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """Print dead letters, oldest first, and how many there are of each reason.

    \b
    meterpipe dead-letters list
    meterpipe dead-letters list --reason no-zone --from 1h --json
    """
    config = kafka_target(**where)
    choice = Choice(frozenset(), frozenset(reasons), frozenset(sources), _since(start))
    with reading(config) as reader:
        letters, replayed = LetterBox(config, reader).letters()
    chosen = [letter for letter in letters if letter in choice]
    newest = chosen if everything else chosen[-limit:]
    if as_json:
        print_json([facts_of(letter, letter.place in replayed) for letter in newest])
        return
    print_table([_row(letter, letter.place in replayed) for letter in newest])
    print_table(
        [
            {
                "reason": reason,
                "letters": count,
                "replayed": sum(one.place in replayed for one in chosen if one.reason == reason),
            }
            for reason, count in Counter(letter.reason for letter in chosen).most_common()
        ]
    )
    if len(newest) < len(chosen):
        click.echo(f"{len(chosen) - len(newest):,} older ones are not shown, see --limit and --all", err=True)
    if not chosen:
        click.echo("no dead letters", err=True)


@dead_letters.command()
@click.argument("letter", type=Name())
@click.option("--hex", "as_hex", is_flag=True, help="Show the payload as bytes even if it is text.")
@click.option("--raw", is_flag=True, help="Print the payload alone, untouched.")
@_json_option
@target_options
def show(letter: tuple[int, int], as_hex: bool, raw: bool, as_json: bool, **where: Any) -> None:
    """Print one dead letter: why, where it came from, and its payload as text or bytes.

    \b
    meterpipe dead-letters show 3:1207
    meterpipe dead-letters show 3:1207 --raw > payload
    """
    config = kafka_target(**where)
    with reading(config) as reader:
        found = LetterBox(config, reader).one(letter)
    if found is None:
        raise Failed(f"no dead letter {letter[0]}:{letter[1]}", "`meterpipe dead-letters list` prints those there are")
    about, payload, replayed = found
    text = None if as_hex else text_of(payload)
    if raw:
        sys.stdout.buffer.write(payload)
    elif as_json:
        print_json(facts_of(about, replayed) | ({"hex": payload.hex()} if text is None else {"text": text}))
    else:
        facts = facts_of(about, replayed)
        width = max(map(len, facts))
        for name, value in facts.items():
            click.echo(f"{name.ljust(width)}  {'' if value is None else printable(str(value))}".rstrip())
        click.echo()
        click.echo(hex_of(payload) if text is None else text)


@dead_letters.command()
@click.argument("letters", type=Name(), nargs=-1)
@_choice_options
@click.option("--all", "everything", is_flag=True, help="All there are; needed if nothing else says which.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be sent.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_json_option
@target_options
def replay(
    letters: tuple[tuple[int, int], ...],
    reasons: tuple[str, ...],
    sources: tuple[str, ...],
    start: Start,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """Send dead letters to the readings topic again: the untouched payload, with its key, once for each letter.

    \b
    meterpipe dead-letters replay --reason no-zone --dry-run
    meterpipe dead-letters replay --reason no-zone --reason unknown-schema
    meterpipe dead-letters replay 3:1207 3:1211 --yes

    For when the cause is gone: a time zone set, a schema registered. Payload and the note that the letter has been
    replayed are one transaction: a second replay, even one at the same time, leaves it out. Readings whose windows have
    closed by now come out as late. Of a partly refused envelope all rows are sent; those taken before are duplicates.
    """
    since = _since(start)
    choice = Choice(frozenset(letters), frozenset(reasons), frozenset(sources), since)
    if not (everything or letters or reasons or sources or since is not None):
        raise BadInput("nothing says which letters to replay", "give names, --reason, --topic, --from or --all")
    config = kafka_target(**where)
    with reading(config) as reader:
        box = LetterBox(config, reader)
        if not (dry_run or yes):
            planned = box.replay(choice, dry=True)
            if planned.sent:
                topic = names_of(config.pipeline).readings
                click.confirm(f"Send {planned.sent:,} messages to {topic}?", abort=True, err=True)
        try:
            outcome = box.replay(choice, dry=dry_run)
        except SupersededError as problem:
            raise Failed(str(problem), "it leaves out what this one has sent; see `list` for what is left") from problem
    if as_json:
        print_json(_outcome(outcome, dry_run))
        return
    click.echo(f"{'would be sent' if dry_run else 'sent'}: {outcome.sent:,}")
    for count, why in (
        (outcome.same, "of a message that is among them"),
        (outcome.before, "replayed before"),
        (outcome.foreign, "not from a topic of readings"),
    ):
        if count:
            click.echo(f"left out: {count:,} {why}")


def _outcome(outcome: Outcome, dry: bool) -> dict[str, Any]:
    return {
        "dryRun": dry,
        "sent": outcome.sent,
        "sameMessage": outcome.same,
        "replayedBefore": outcome.before,
        "notReadings": outcome.foreign,
        "letters": [f"{partition}:{offset}" for partition, offset in outcome.places],
    }


def _since(start: Start) -> int | None:
    if isinstance(start, Since):
        return start.instant
    if isinstance(start, Newest) or start is Edge.END:
        raise BadInput("--from takes beginning, a time or a span such as 15m here", "see --limit for the newest ones")
    return None


def facts_of(letter: Letter, replayed: bool) -> dict[str, Any]:
    """All that is known of a letter but its payload."""
    return {
        "letter": f"{letter.partition}:{letter.offset}",
        "at": shown(letter.at),
        "reason": letter.reason,
        "detail": letter.detail,
        "count": letter.count,
        "rows": letter.rows,
        "topic": letter.source,
        "partition": letter.origin.partition if letter.origin else None,
        "offset": letter.origin.offset if letter.origin else None,
        "key": None if letter.key is None else letter.key.decode(errors="backslashreplace"),
        "bytes": letter.size,
        "replayed": replayed,
    }


def _row(letter: Letter, replayed: bool) -> dict[str, Any]:
    facts = facts_of(letter, replayed)
    came = f"{letter.source}/{letter.origin.partition}/{letter.origin.offset}" if letter.origin else letter.source
    row = {name: facts[name] for name in ("letter", "at", "reason", "count", "key", "bytes")}
    return row | {"from": came, "replayed": "yes" if replayed else "", "detail": letter.detail[:120]}
