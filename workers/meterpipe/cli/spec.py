"""validate, explain, crd: the specification on the command line. The only reader of specification files."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from meterpipe.cli.errors import BAD_INPUT, BadInput
from meterpipe.spec import crd as crds
from meterpipe.spec import explain as explaining
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.load import load_model, load_pipelines
from meterpipe.spec.models import MeterPipeline
from meterpipe.spec.problems import Problem, SpecError
from meterpipe.worker.telemetry import Metric

STDIN = Path("-")
SUFFIXES = (".yaml", ".yml", ".json")


def read_text(file: Path) -> str:
    """The text of a file, `-` being standard input. BadInput if it cannot be read."""
    try:
        data = sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise BadInput(f"{file}: is not UTF-8 (byte {problem.start})", "save it as UTF-8") from problem
    except OSError as problem:
        raise BadInput(f"{file}: {problem.strerror or problem}", "check the path after -f") from problem


def read_pipelines(files: Sequence[Path]) -> list[MeterPipeline]:
    """The MeterPipelines of files, and of the YAML files in folders. BadInput with every problem of every file."""
    pipelines: list[MeterPipeline] = []
    problems: list[Problem] = []
    for file in _expanded(files):
        try:
            pipelines += load_pipelines(read_text(file), _shown(file))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise WrongSpec(problems)
    return pipelines


def read_pipeline(file: Path) -> MeterPipeline:
    """The one MeterPipeline of a file. BadInput if there are several or it is wrong."""
    pipelines = read_pipelines([file])
    if len(pipelines) > 1:
        names = ", ".join(pipeline.metadata.name for pipeline in pipelines)
        raise BadInput(f"{file}: holds {len(pipelines)} pipelines ({names})", "put the one to use in a file of its own")
    return pipelines[0]


def read_worker_config(file: Path) -> WorkerConfig:
    """What a worker is told. BadInput with every problem."""
    try:
        return load_model(read_text(file), WorkerConfig, _shown(file))
    except SpecError as error:
        raise WrongSpec(error.problems) from error


class WrongSpec(BadInput):
    """Files that are no valid specification: every problem on a line of its own."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)), "meterpipe explain FIELD tells what a field takes")
        self.problems = tuple(problems)

    def format_message(self) -> str:
        """How many, then each."""
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        return f"{count}\n{super().format_message()}"


def _expanded(files: Sequence[Path]) -> list[Path]:
    """Folders replaced by the YAML and JSON files in them."""
    found: list[Path] = []
    for file in files:
        if file.is_dir():
            inside = sorted(path for path in file.iterdir() if path.suffix in SUFFIXES)
            if not inside:
                raise BadInput(f"{file}: no {', '.join(SUFFIXES)} files in this folder", "name a file after -f")
            found += inside
        else:
            found.append(file)
    return found


def _shown(file: Path) -> str:
    return "<stdin>" if file == STDIN else str(file)


@click.command()
@click.option(
    "-f", "--file", "files", type=click.Path(path_type=Path), multiple=True, required=True,
    help="File or folder; may be repeated; - is standard input.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
def validate(files: tuple[Path, ...], as_json: bool) -> None:
    """Check MeterPipeline files as the cluster would, and tell every problem with file, line, field and way out.

    \b
    meterpipe validate -f pipeline.yaml
    meterpipe validate -f manifests/ --json | jq .problems

    Exit code 2 if anything is wrong. Documents of other kinds in the files are passed over.
    """
    try:
        pipelines = read_pipelines(files)
    except WrongSpec as wrong:
        if not as_json:
            raise
        click.echo(json.dumps({"valid": False, "problems": [problem.as_dict() for problem in wrong.problems]}))
        raise click.exceptions.Exit(BAD_INPUT) from wrong
    names = [{"namespace": found.metadata.namespace, "name": found.metadata.name} for found in pipelines]
    if as_json:
        click.echo(json.dumps({"valid": True, "problems": [], "pipelines": names}))
        return
    for name in names:
        click.echo(f"MeterPipeline {name['namespace']}/{name['name']} is valid")


@click.command()
@click.argument("path", default="")
@click.option("-r", "--recursive", is_flag=True, help="Show the fields of the fields, too.")
@click.option("--markdown", is_flag=True, help="Print the reference page of all fields and metrics.")
def explain(path: str, recursive: bool, markdown: bool) -> None:
    """Explain a field of a MeterPipeline: type, default, bounds, rules, meaning and the fields below it.

    \b
    meterpipe explain spec.aggregator.windows
    meterpipe explain spec --recursive
    """
    if markdown:
        click.echo(reference_page(), nl=False)
        return
    try:
        click.echo(explaining.as_text(explaining.find(path), recursive), nl=False)
    except explaining.UnknownFieldError as unknown:
        raise BadInput(str(unknown), unknown.way_out) from unknown


def reference_page() -> str:
    """The reference of all that others may rely on: the fields of the resource and the metrics of the workers."""
    metrics = [
        "# Metrics of the workers",
        "",
        "Each worker serves them at `/metrics`. Names and labels are fixed: autoscaling, dashboards and alerts rely on",
        "them. The true rate of a worker, whatever it waits for, is `meterpipe_readings_total` over",
        "`meterpipe_busy_seconds_total`.",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
        *(f"| `{m}` | {m.kind} | {', '.join(f'`{label}`' for label in m.labels)} | {m.help} |" for m in Metric),
    ]
    return explaining.as_markdown() + "\n" + "\n".join(metrics) + "\n"


@click.command()
def crd() -> None:
    """Print the CustomResourceDefinition of MeterPipeline.

    \b
    meterpipe crd | kubectl apply --server-side -f -
    """
    click.echo(crds.as_yaml(crds.definition()), nl=False)
