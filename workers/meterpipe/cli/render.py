"""render: what the operator would apply, without a cluster."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import yaml
from meterpipe_operator.render import UNKNOWN, Rendered, rendered

from meterpipe.cli.errors import BadInput
from meterpipe.cli.spec import read_pipelines, read_text

IMAGE = "meterpipe:latest"


@click.command()
@click.option(
    "-f", "--file", "files", type=click.Path(path_type=Path), multiple=True, required=True,
    help="MeterPipelines: a file, a folder, or - for standard input. May be given several times.",
)  # fmt: skip
@click.option(
    "--facts", "found", type=click.Path(path_type=Path), multiple=True,
    help="What the cluster holds (YAML or JSON; Kafka, KafkaUser, K8ssandraCluster, Secret, Deployment …), as of"
    " `kubectl get … -o yaml`. Without it, what would be read there is made up.",
)  # fmt: skip
@click.option("--image", default=IMAGE, show_default=True, help="Image of the worker pods.")
@click.option("-n", "--namespace", help="Namespace of pipelines that name none.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON List instead of YAML.")
@click.option("--changes", is_flag=True, help="With --facts: print only what would be written, each with the reason.")
def render(
    files: tuple[Path, ...], found: tuple[Path, ...], image: str, namespace: str | None, as_json: bool, changes: bool
) -> None:
    """Print exactly what the operator would apply for pipelines. A dry run: talks to no cluster.

    \b
    meterpipe render -f pipeline.yaml
    meterpipe render -f pipeline.yaml | kubectl apply --dry-run=server -f -
    kubectl get kafkas,kafkausers,secrets,deployments,mp -A -o yaml > cluster.yaml
    meterpipe render -f pipeline.yaml --facts cluster.yaml --changes

    Values that only the cluster knows and --facts does not tell (uid, hosts, secrets) are made up and said so on
    standard error. Exit code 2: a pipeline is wrong.
    """
    objects = [one for file in found for one in _objects(file)]
    for pipeline in read_pipelines(files):
        if namespace and pipeline.metadata.namespace == "local":
            metadata = pipeline.metadata.model_copy(update={"namespace": namespace})
            pipeline = pipeline.model_copy(update={"metadata": metadata})
        result = rendered(pipeline, objects if found else None, image)
        for note in result.notes:
            click.echo(f"{pipeline.metadata.name}: {note}", err=True)
        _print(result, as_json, changes)


def _print(result: Rendered, as_json: bool, changes: bool) -> None:
    if changes:
        click.echo("\n".join(result.changes) or "nothing would be written")
    elif as_json:
        click.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": result.objects}, indent=2))
    else:
        click.echo(_yaml(result.objects), nl=False)


class _Dumper(yaml.SafeDumper):
    """Never writes anchors: each object stands for itself."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always."""
        return True


def _yaml(objects: Sequence[Mapping[str, Any]]) -> str:
    texts = (yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True) for one in objects)
    return "".join(f"---\n{text}" for text in texts)


def _objects(file: Path) -> list[dict[str, Any]]:
    """The objects of a file, those of Lists one by one."""
    try:
        documents = [one for one in yaml.safe_load_all(read_text(file)) if one]
    except yaml.YAMLError as problem:
        raise BadInput(f"{file}: is no YAML: {problem}", "give what `kubectl get … -o yaml` prints") from problem
    listed = [one for document in documents for one in _items(document)]
    if wrong := [one for one in listed if not (isinstance(one, dict) and one.get("kind") and one.get("metadata"))]:
        raise BadInput(f"{file}: holds something that is no Kubernetes object: {str(wrong[0])[:80]}", UNKNOWN)
    return listed


def _items(document: Any) -> list[Any]:
    if isinstance(document, dict) and str(document.get("kind", "")).endswith("List"):
        return list(document.get("items") or ())
    return [document]
