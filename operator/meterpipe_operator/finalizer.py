"""What goes by our hand when a pipeline is deleted: objects in Strimzi's namespace, where no owner reference reaches.

Only a pipeline that has such objects carries our finalizer; any other one goes without the operator's help. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from meterpipe.spec.models import DeletionPolicy, MeterPipeline

from meterpipe_operator.desired import Desired
from meterpipe_operator.kinds import DEPLOYMENT, JOB, KAFKA_TOPIC, KAFKA_USER, Manifest, Ref, ref_of
from meterpipe_operator.observe import FOREIGN

FINALIZER = "meterpipe.io/kafka"


@dataclass(frozen=True, slots=True)
class Farewell:
    """What to delete now, and whether the pipeline can go."""

    delete: tuple[Ref, ...] = ()
    release: bool = False


def is_deleted(resource: Manifest) -> bool:
    """Whether the pipeline is on its way out."""
    return resource["metadata"].get("deletionTimestamp") is not None


def is_held(resource: Manifest) -> bool:
    """Whether it carries our finalizer."""
    return FINALIZER in (resource["metadata"].get("finalizers") or ())


def must_hold(desired: Desired, observed: Iterable[Manifest]) -> bool:
    """Whether there are or will be objects that only the operator can take away."""
    return any(ref_of(one).kind in FOREIGN for one in (*desired.objects, *observed))


def farewell(pipeline: MeterPipeline | None, observed: Iterable[Manifest], pods: Iterable[Manifest]) -> Farewell:
    """What to do for a pipeline that is being deleted and carries our finalizer.

    The user always goes. Topics hold data: they go with deletionPolicy Delete alone, and after the last pod, which
    might make them anew.
    """
    there = [ref_of(one) for one in observed]
    users = [ref for ref in there if ref.kind == KAFKA_USER]
    if pipeline is None or pipeline.spec.deletion_policy is not DeletionPolicy.DELETE:
        return Farewell(tuple(users), release=not users)
    working = [ref for ref in there if ref.kind in (DEPLOYMENT, JOB)]
    if working or any(True for _ in pods):
        return Farewell(tuple(working))
    topics = [ref for ref in there if ref.kind == KAFKA_TOPIC]
    return Farewell((*topics, *users), release=not (topics or users))
