"""The documents say what is so: links, commands, files, metrics and pipelines in them exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from meterpipe.cli.main import COMMANDS, load
from meterpipe.core.deadletters import Reason
from meterpipe.spec.load import load_pipelines
from meterpipe.worker.telemetry import Kind, Metric

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "workers" / "meterpipe"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LAUNCHER_ONLY = "test"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
METRIC = re.compile(r"\bmeterpipe_[a-z_]+\b")
NOT_METRICS = {"meterpipe_operator"}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(page: Path, *languages: str) -> Iterator[str]:
    return (text for language, text in FENCE.findall(page.read_text()) if language in languages)


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of the headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def words_of(line: str) -> list[str] | None:
    """Arguments of `meterpipe` in a line of shell; None if it runs something else."""
    words = shlex.split(line, comments=True)
    if not words or words[0] not in ("meterpipe", "./meterpipe"):
        return None
    ends = [at for at, word in enumerate(words) if word in ("|", ">", "&&", ";")]
    return words[1 : min(ends, default=len(words))]


def shell_commands(page: Path) -> Iterator[list[str]]:
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if (words := words_of(line)) is not None:
                yield words


def inline_commands(page: Path) -> Iterator[list[str]]:
    for code in re.findall(r"`([^`]+)`", prose(page)):
        if re.match(r"(\./)?meterpipe\s", code) and (words := words_of(code)) is not None:
            yield words


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The innermost command that `words` name, and what is left for it."""
    command, rest = load(COMMANDS[words[0]]), words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


@pages
def test_every_relative_link_leads_somewhere(page):
    for target in LINK.findall(CODE.sub("", prose(page))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


@pages
def test_every_command_in_a_shell_block_would_run(page):
    for words in shell_commands(page):
        if words[0] in (LAUNCHER_ONLY, "--version"):
            continue
        command, rest = command_of(words)
        assert not isinstance(command, click.Group), f"{page.name}: {words} names no command of a group"
        command.make_context(command.name, list(rest))  # a usage error names the word


@pages
def test_every_command_in_the_text_has_its_name_and_options(page):
    for words in inline_commands(page):
        if words[0] in (LAUNCHER_ONLY, "--version"):
            continue
        command, rest = command_of(words)
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        assert {word for word in rest if word.startswith("-")} <= known | {"--help"}, f"{page.name}: {words}"


@pages
def test_every_metric_named_exists(page):
    histograms = {f"{metric}_{part}" for metric in Metric if metric.kind is Kind.HISTOGRAM for part in ("sum", "count")}
    assert set(METRIC.findall(page.read_text())) <= {*Metric, *histograms, *NOT_METRICS}


@pages
def test_every_pipeline_shown_is_valid(page):
    for block in blocks(page, "yaml"):
        if "kind: MeterPipeline" in block:
            assert load_pipelines(block, page.name)


def test_every_file_of_the_component_table_exists():
    rows = [line for line in (ROOT / "ARCHITECTURE.md").read_text().splitlines() if line.startswith("| ")]
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert len(named) > 40
    assert [name for name in named if not (ROOT / name).exists() and not (PACKAGE / name).exists()] == []


def test_every_reason_of_a_dead_letter_is_explained():
    text = (ROOT / "docs" / "formats.md").read_text()
    assert [reason for reason in Reason if f"\n| `{reason}` |" not in text] == []
