"""Which specification runs: the stored one, or the last valid one if the stored one is wrong. Pure.

The last valid one is kept in a ControllerRevision that the pipeline owns, so that it outlives the operator.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from meterpipe.spec.load import pipeline_of
from meterpipe.spec.models import MeterPipeline
from meterpipe.spec.problems import Problem, SpecError

from meterpipe_operator.kinds import Manifest


@dataclass(frozen=True, slots=True)
class Chosen:
    """The specification to run, None if there never was a valid one; and what is wrong with the stored one."""

    pipeline: MeterPipeline | None
    problems: tuple[Problem, ...] = ()


def chosen(resource: Manifest, revisions: Iterable[Manifest]) -> Chosen:
    """The stored specification if it is valid, else that of the newest revision that still is."""
    try:
        return Chosen(pipeline_of(resource))
    except SpecError as error:
        problems = error.problems
    for revision in sorted(revisions, key=lambda one: int(one.get("revision", 0)), reverse=True):
        kept = {**resource, "spec": (revision.get("data") or {}).get("spec", {})}
        try:
            return Chosen(pipeline_of(kept), problems)
        except SpecError:
            continue
    return Chosen(None, problems)
