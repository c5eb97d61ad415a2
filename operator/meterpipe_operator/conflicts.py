"""Pipelines that claim one output: the younger one has to give way. Pure.

Derived names begin with <namespace>-<name>, and yet can meet: namespace `a-b`, name `c` and namespace `a`, name `b-c`
have one prefix. Names given in the specification can meet anyhow. Only what is on one service can: two Kafkas hold two
topics of one name.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from meterpipe.spec.models import MeterPipeline
from meterpipe.spec.names import names_of
from meterpipe.spec.topics import plan_topics

from meterpipe_operator.workers import WORKERS


class Claimant(NamedTuple):
    """A pipeline and when it was made: `created` is RFC 3339, `uid` decides between equals."""

    created: str
    uid: str
    pipeline: MeterPipeline

    @property
    def named(self) -> str:
        """How it is called in messages."""
        return f"{self.pipeline.metadata.namespace}/{self.pipeline.metadata.name}"


class Claim(NamedTuple):
    """One output: what it is, on which service, by which name."""

    what: str
    service: str
    name: str


def claims(pipeline: MeterPipeline) -> Iterator[Claim]:
    """Everything that pipeline alone may write to. A named readings topic may be shared; the groups on it may not."""
    names, spec = names_of(pipeline), pipeline.spec
    kafka = _kafka(pipeline)
    for plan in plan_topics(pipeline):
        if plan.owned:
            yield Claim("topic", kafka, plan.name)
    for worker in WORKERS:
        yield Claim("consumer group", kafka, names.group(worker))
    yield Claim("keyspace", _cassandra(pipeline), names.keyspace)
    yield Claim("lake", f"{spec.lake.endpoint or spec.lake.region}/{spec.lake.bucket}", names.lake_prefix.strip("/"))


def conflict(own: Claimant, others: Iterable[Claimant]) -> str | None:
    """Why `own` may not run: an older pipeline has one of its outputs. None if it may."""
    wanted = set(claims(own.pipeline))
    for other in sorted(others, key=lambda one: one[:2]):
        if other.uid == own.uid or other[:2] > own[:2]:
            continue
        if shared := sorted(wanted.intersection(claims(other.pipeline))):
            first, *rest = shared
            more = f" and {len(rest)} more" if rest else ""
            return (
                f"{first.what} {first.name}{more} is the older pipeline {other.named}'s; "
                "give one of the two another name, or other outputs"
            )
    return None


def _kafka(pipeline: MeterPipeline) -> str:
    kafka = pipeline.spec.kafka
    if kafka.strimzi:
        return f"strimzi {kafka.strimzi.namespace or pipeline.metadata.namespace}/{kafka.strimzi.cluster}"
    return ",".join(sorted(server.strip() for server in (kafka.bootstrap_servers or "").split(",")))


def _cassandra(pipeline: MeterPipeline) -> str:
    cassandra = pipeline.spec.cassandra
    if cassandra.k8ssandra:
        return f"k8ssandra {cassandra.k8ssandra.namespace or pipeline.metadata.namespace}/{cassandra.k8ssandra.cluster}"
    return ",".join(sorted(cassandra.contact_points or ()))
