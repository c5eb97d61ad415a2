"""What the topics of a pipeline are like on Kafka."""

from dataclasses import dataclass, replace

from confluent_kafka.admin import ConfigResource, ResourceType

from meterpipe.adapters.kafka import new_admin
from meterpipe.adapters.progress import quiet
from meterpipe.adapters.topic_reader import Edge, Newest, Place, TopicReader
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.models import MeterPipeline
from meterpipe.spec.names import names_of
from meterpipe.spec.topics import plan_topics

TIMEOUT = 15.0
SAMPLE = 20
"""Records of each partition that are looked at to tell the size of the rest."""


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """One topic. Where it is not there, only role, name and what is wanted are told."""

    role: str
    name: str
    there: bool
    partitions: int
    replicas: int = 0
    in_sync: bool = True
    begins: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    retention_s: int | None = None
    """None: kept for ever."""
    compacted: bool = False
    bytes: int | None = None
    """About, uncompressed; None if not asked for."""

    @property
    def records(self) -> int:
        """Offsets between begin and end: markers of transactions count, and what compaction removed."""
        return sum(self.ends) - sum(self.begins)


def roles(pipeline: MeterPipeline) -> dict[str, str]:
    """What each topic is for, by its name."""
    names = names_of(pipeline)
    known = {names.readings: "readings", names.valid: "valid", names.quarantine: "quarantine"}
    known |= {names.aggregates(size): f"results {size} s" for size in pipeline.spec.aggregator.windows}
    known |= {names.late: "late", names.dead_letters: "dead letters", names.changelog: "changelog"}
    known |= {names.balance: "balance", names.validation_changelog: "validation changelog"}
    known |= {names.validation_balance: "validation balance", names.thresholds: "thresholds", names.alarms: "alarms"}
    known |= {names.alarms_changelog: "alarms changelog", names.uplinks: "uplinks"}
    known |= {names.activity_changelog: "activity changelog"}
    return {
        plan.name: known.get(plan.name, plan.name.removeprefix(f"{names.prefix}-")) for plan in plan_topics(pipeline)
    }


def topic_facts(config: WorkerConfig, reader: TopicReader, sized: bool = False) -> list[TopicFacts]:
    """Every topic the pipeline has or should have. `sized`: read a sample of each to tell bytes."""
    admin = new_admin(quiet(config.kafka))
    known = admin.list_topics(timeout=TIMEOUT).topics
    plans = {plan.name: plan for plan in plan_topics(config.pipeline)}
    there = [name for name in plans if name in known]
    places = reader.places(there)
    begins, ends = reader.offsets(places, Edge.BEGINNING), reader.ends(places, committed=False)
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in there]
    asked = admin.describe_configs(resources, request_timeout=TIMEOUT) if resources else {}
    settings = {resource.name: future.result() for resource, future in asked.items()}
    mean = _mean_sizes(reader, places) if sized else {}
    facts = []
    for name, role in roles(config.pipeline).items():
        if name not in known:
            facts.append(TopicFacts(role, name, there=False, partitions=plans[name].partitions))
            continue
        partitions = known[name].partitions.values()
        mine = [place for place in places if place[0] == name]
        compacted = "compact" in (settings[name]["cleanup.policy"].value or "")
        retention = int(settings[name]["retention.ms"].value or -1)
        found = TopicFacts(
            role,
            name,
            there=True,
            partitions=len(partitions),
            replicas=min(len(partition.replicas) for partition in partitions),
            in_sync=all(len(partition.isrs) == len(partition.replicas) for partition in partitions),
            begins=tuple(begins[place] for place in mine),
            ends=tuple(ends[place] for place in mine),
            retention_s=None if compacted or retention < 0 else retention // 1000,
            compacted=compacted,
        )
        facts.append(_sized(found, mean[name]) if sized else found)
    return facts


def _sized(facts: TopicFacts, mean: float) -> TopicFacts:
    return replace(facts, bytes=round(mean * facts.records))


def _mean_sizes(reader: TopicReader, places: list[Place]) -> dict[str, float]:
    """Bytes an offset takes, by topic, key and value alone; offsets that hold no record count as none."""
    ends = reader.ends(places)
    starts = reader.offsets(places, Newest(SAMPLE))
    size = dict.fromkeys((topic for topic, _ in places), 0)
    seen = {topic: sum(ends[p] - starts[p] for p in places if p[0] == topic) for topic in size}
    for messages in reader.read(starts, ends):
        for message in messages:
            size[str(message.topic())] += len(message.value() or b"") + len(message.key() or b"")
    return {topic: size[topic] / max(1, seen[topic]) for topic in size}
