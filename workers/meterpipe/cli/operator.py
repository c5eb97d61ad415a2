"""`meterpipe operator`: reconciles the MeterPipelines of a Kubernetes cluster."""

import asyncio
import logging
from pathlib import Path

import click
from kubernetes.config import ConfigException
from meterpipe_operator.api import Access, ApiError
from meterpipe_operator.controller import Scope
from meterpipe_operator.facts import Settings
from meterpipe_operator.run import Options, run
from meterpipe_operator.webhook import Endpoint

from meterpipe.adapters import logging as logs
from meterpipe.cli.errors import BadInput, Failed

CERTIFICATE, KEY = "tls.crt", "tls.key"


@click.command()
@click.option("-n", "--namespace", "namespaces", multiple=True, help="Look for pipelines there; may be repeated.")
@click.option("--all-namespaces", is_flag=True, help="Look for pipelines everywhere.")
@click.option(
    "--dependency-namespace", "dependencies", multiple=True,
    help="With --namespace: a further one that holds Kafka or Cassandra; may be repeated.",
)  # fmt: skip
@click.option(
    "--image", required=True, envvar="METERPIPE_IMAGE", help="Image of the workers, where a pipeline names none."
)
@click.option(
    "--pull-policy", type=click.Choice(["Always", "IfNotPresent", "Never"]), default="IfNotPresent", show_default=True,
    help="When the workers' image is pulled.",
)  # fmt: skip
@click.option("--pull-secret", "pull_secrets", multiple=True, help="Secret to pull it with; may be repeated.")
@click.option("--network-policies/--no-network-policies", default=True, show_default=True, help="Make NetworkPolicies.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True,
    help="Port of /live, /ready and /metrics; 0: none.",
)  # fmt: skip
@click.option("--webhook-port", type=click.IntRange(1, 65535), help="Serve the validating webhook at this port.")
@click.option(
    "--webhook-certificates", type=click.Path(path_type=Path, file_okay=False),
    help=f"Folder with {CERTIFICATE} and {KEY} of the webhook; renewed files are taken up.",
)  # fmt: skip
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path, dir_okay=False), envvar="KUBECONFIG",
    help="How to reach the cluster. Default: as the pod is told, else ~/.kube/config.",
)  # fmt: skip
@click.option(
    "--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), default="INFO", show_default=True,
    help="Least severe log line shown.",
)  # fmt: skip
def operator(
    namespaces: tuple[str, ...],
    all_namespaces: bool,
    dependencies: tuple[str, ...],
    image: str,
    pull_policy: str,
    pull_secrets: tuple[str, ...],
    network_policies: bool,
    port: int,
    webhook_port: int | None,
    webhook_certificates: Path | None,
    kubeconfig: Path | None,
    log_level: str,
) -> None:
    """Reconcile the MeterPipelines of a Kubernetes cluster until SIGTERM or SIGINT.

    \b
    meterpipe operator --all-namespaces --image registry.example.com/meterpipe:1.0
    meterpipe operator -n metering --dependency-namespace kafka --image meterpipe:dev --kubeconfig ~/.kube/config

    The Helm chart runs it in the cluster; beside a cluster it is for development. One at a time: two operators of the
    same namespaces would write against each other. Exit codes: 0 stopped, 1 failed, 2 wrong usage.
    """
    if all_namespaces == bool(namespaces):
        raise BadInput("give either --all-namespaces or --namespace", "e.g. --namespace metering")
    if dependencies and all_namespaces:
        raise BadInput("--dependency-namespace is for --namespace", "leave it out: all namespaces are looked at")
    options = Options(
        Settings(image, pull_policy, pull_secrets, network_policies),
        Scope(namespaces, dependencies),
        port,
        _endpoint(webhook_port, webhook_certificates),
    )
    logs.configure(log_level, component="operator")
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLevelName(log_level)))
    try:
        asyncio.run(run(options, Access(str(kubeconfig) if kubeconfig else None)))
    except ConfigException as problem:
        raise BadInput(f"cannot tell how to reach the cluster: {problem}", "give --kubeconfig") from problem
    except ApiError as problem:
        raise Failed(str(problem), "see whether the cluster is up and what the operator's roles allow") from problem
    except OSError as problem:
        raise Failed(str(problem), "choose another --port or --webhook-port") from problem


def _endpoint(port: int | None, folder: Path | None) -> Endpoint | None:
    """Where to serve the webhook, None if it is not wanted. BadInput if its certificate is not there."""
    if (port is None) != (folder is None):
        raise BadInput("--webhook-port and --webhook-certificates belong together", "give both, or none of them")
    if port is None or folder is None:
        return None
    for file in (folder / CERTIFICATE, folder / KEY):
        if not file.is_file():
            raise BadInput(f"--webhook-certificates: there is no {file}", "a Secret of type kubernetes.io/tls has it")
    return Endpoint(port, folder / CERTIFICATE, folder / KEY)
