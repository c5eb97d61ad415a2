"""The Job of a task: topics, schema, replay. Named by what it does: another configuration or image is another Job."""

from typing import Any

from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.kubernetes import Amounts, Pods, Resources

from meterpipe_operator.digest import digest
from meterpipe_operator.facts import Settings
from meterpipe_operator.labels import Owner, labels, metadata, name
from meterpipe_operator.manifests.config import document
from meterpipe_operator.manifests.pods import container, pod_spec
from meterpipe_operator.mounts import Mounted, volume
from meterpipe_operator.workers import Task

RETRIES = 12
"""Restarts before the Job counts as failed, about half an hour; the operator then makes it anew."""
GRACE = 10
SMALL = Resources(requests=Amounts(cpu="50m", memory="128Mi"), limits=Amounts(memory="512Mi"))


def job_name(owner: Owner, task: Task, config: WorkerConfig, pods: Pods, settings: Settings, nonce: str = "") -> str:
    """Its name: the same work has the same name. A new secret or another node selector is no other work."""
    what = digest([task.command, document(config), pods.image or settings.image, nonce])[:8]
    return name(owner.name, f"{task.name}-{what}")


def job(owner: Owner, task: Task, job_name: str, secrets: Mounted, pods: Pods, settings: Settings) -> dict[str, Any]:
    """The Job. It stays when it is done: that it is there and complete is how the operator knows."""
    work = container("task", task.command, pods, settings, SMALL)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**metadata(owner, task.name, task.name), "name": job_name},
        "spec": {
            "backoffLimit": RETRIES,
            "template": {
                "metadata": {
                    "labels": {**pods.labels, **labels(owner.name, task.name)},
                    "annotations": dict(pods.annotations),
                },
                "spec": pod_spec(
                    work,
                    volume(name(owner.name, task.name), secrets),
                    name(owner.name, "tasks"),
                    pods,
                    settings,
                    restartPolicy="OnFailure",
                    terminationGracePeriodSeconds=GRACE,
                ),
            },
        },
    }
