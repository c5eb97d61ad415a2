"""Every derived name of a pipeline, in one place: all begin with <namespace>-<name>, cut to each limit."""

import hashlib
from dataclasses import dataclass

from meterpipe.spec.models import MeterPipeline

TOPIC_LIMIT = 249
KEYSPACE_LIMIT = 48


def shorten(name: str, limit: int, joint: str = "-") -> str:
    """`name` if it fits, else its head and a hash of the whole: equal names stay equal, others stay apart."""
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: limit - len(digest) - 1].rstrip('-._')}{joint}{digest}"


@dataclass(frozen=True, slots=True)
class Names:
    """The names one pipeline uses on Kafka, Cassandra and S3."""

    prefix: str
    readings: str
    keyspace: str
    lake_prefix: str
    validated: bool = False
    """Whether readings pass the validation on their way to the windows."""

    def topic(self, role: str) -> str:
        """A topic the pipeline owns: late, dead-letters, changelog, balance."""
        return shorten(f"{self.prefix}-{role}", TOPIC_LIMIT)

    def aggregates(self, window: int) -> str:
        """Topic of the results of one window size (seconds)."""
        return self.topic(f"aggregates-{window}")

    @property
    def late(self) -> str:
        """Topic of readings whose window had closed."""
        return self.topic("late")

    @property
    def dead_letters(self) -> str:
        """Topic of what could not be taken as a reading."""
        return self.topic("dead-letters")

    @property
    def changelog(self) -> str:
        """Compacted topic of the aggregator's state."""
        return self.topic("changelog")

    @property
    def balance(self) -> str:
        """Compacted topic: where every reading went, a record a partition."""
        return self.topic("balance")

    @property
    def valid(self) -> str:
        """Topic of readings that passed the validation."""
        return self.topic("readings-valid")

    @property
    def quarantine(self) -> str:
        """Topic of readings that the validation refused."""
        return self.topic("readings-quarantine")

    @property
    def validation_changelog(self) -> str:
        """Compacted topic of the validation's state."""
        return self.topic("validation-changelog")

    @property
    def validation_balance(self) -> str:
        """Compacted topic: what the validation made of every reading, a record a partition."""
        return self.topic("validation-balance")

    @property
    def thresholds(self) -> str:
        """Compacted topic of the thresholds of alarms."""
        return self.topic("thresholds")

    @property
    def alarms(self) -> str:
        """Topic of alarms, raised and cleared."""
        return self.topic("alarms")

    @property
    def alarms_changelog(self) -> str:
        """Compacted topic of the state of alarms."""
        return self.topic("alarms-changelog")

    @property
    def uplinks(self) -> str:
        """Topic of the number of readings of each meter in a window."""
        return self.topic("uplinks")

    @property
    def activity_changelog(self) -> str:
        """Compacted topic of the activity worker's state."""
        return self.topic("activity-changelog")

    def route(self, name: str) -> str:
        """Topic of a route that names none."""
        return self.topic(f"route-{name}")

    @property
    def counted(self) -> str:
        """Topic of the readings that are counted: what the aggregator reads."""
        return self.valid if self.validated else self.readings

    def group(self, worker: str) -> str:
        """Consumer group of a worker kind."""
        return shorten(f"{self.prefix}-{worker}", TOPIC_LIMIT)

    def table(self, window: int) -> str:
        """Cassandra table of one window size (seconds)."""
        return f"metrics_aggregates_{window}"


def restore_group(changelog: str) -> str:
    """Group of the consumers that read a changelog back; they commit nothing, but brokers ask for a group they know."""
    return f"{changelog}-restore"


def names_of(pipeline: MeterPipeline) -> Names:
    """The names of `pipeline`; names given in the spec win over derived ones."""
    prefix = f"{pipeline.metadata.namespace}-{pipeline.metadata.name}"
    spec = pipeline.spec
    return Names(
        prefix=prefix,
        readings=spec.kafka.topics.readings.name or shorten(f"{prefix}-readings", TOPIC_LIMIT),
        keyspace=spec.cassandra.keyspace or shorten(_identifier(prefix), KEYSPACE_LIMIT, joint="_"),
        lake_prefix=spec.lake.prefix or prefix,
        validated=spec.validation.enabled,
    )


def _identifier(text: str) -> str:
    """`text` as a CQL identifier: it must start with a letter."""
    cleaned = text.replace("-", "_")
    return cleaned if cleaned[0].isalpha() else f"p_{cleaned}"
