"""Everything that shall be there for one pipeline. Pure: the same pipeline, owner and facts give the same objects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.kubernetes import ScalingMode
from meterpipe.spec.models import MeterPipeline
from meterpipe.spec.names import names_of

from meterpipe_operator import kinds
from meterpipe_operator.facts import Facts, KafkaFacts, Missing
from meterpipe_operator.kinds import Ref, ref_of
from meterpipe_operator.labels import Owner, name
from meterpipe_operator.manifests.account import service_account
from meterpipe_operator.manifests.autoscalers import pod_autoscaler, scaled_object, trigger_authentication, user_map
from meterpipe_operator.manifests.config import cassandra_connection, config_map, worker_config
from meterpipe_operator.manifests.deployment import deployment
from meterpipe_operator.manifests.disruption import disruption_budget
from meterpipe_operator.manifests.job import job, job_name
from meterpipe_operator.manifests.monitor import pod_monitor
from meterpipe_operator.manifests.network import network_policy, tasks_policy
from meterpipe_operator.manifests.revision import controller_revision
from meterpipe_operator.manifests.secret import secret_copy
from meterpipe_operator.manifests.service import service
from meterpipe_operator.manifests.strimzi import kafka_topics, kafka_user
from meterpipe_operator.mounts import Mounted
from meterpipe_operator.reach import cassandra_ports, needed, outward, ports, reached
from meterpipe_operator.scaling import autoscaled, most, replicas
from meterpipe_operator.workers import REPLAY, SCHEMA, TASKS, TOPICS, WORKERS, Kind, Task, workers_of

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Desired:
    """What shall be there.

    `objects`: in the order in which they are applied. `kept`: objects that stay as they are if they are there and are
    not made if they are not: what they should be cannot be told at the moment, or nobody needs them now.
    `after`: objects that have to wait until others are done (a Job complete, a KafkaTopic ready).
    `claims`: Deployments whose number of pods has to be claimed by the autoscalers' field manager before they are
    applied, with the number.
    `undecided`: components of which objects that are there stay, whatever their names.
    """

    objects: tuple[Object, ...]
    kept: frozenset[Ref] = frozenset()
    after: Mapping[Ref, tuple[Ref, ...]] = field(default_factory=dict)
    claims: Mapping[Ref, int] = field(default_factory=dict)
    undecided: frozenset[str] = frozenset()


def desired(pipeline: MeterPipeline, owner: Owner, facts: Facts) -> Desired:
    """What shall be there for `pipeline`."""
    return _Builder(pipeline, owner, facts).build()


@dataclass(slots=True)
class _Builder:
    """Puts the objects together in the order of their need."""

    pipeline: MeterPipeline
    owner: Owner
    facts: Facts
    objects: list[Object] = field(default_factory=list)
    kept: set[Ref] = field(default_factory=set)
    after: dict[Ref, tuple[Ref, ...]] = field(default_factory=dict)
    claims: dict[Ref, int] = field(default_factory=dict)
    undecided: set[str] = field(default_factory=set)

    def build(self) -> Desired:
        """All of it."""
        self.add(controller_revision(self.pipeline, self.owner))
        topics = self.strimzi()
        self.secrets()
        self.common()
        running = [kind for kind in WORKERS.values() if self.runs(kind)]
        if self.pipeline.spec.kafka.strimzi is None:
            topics = self.topics(needed=bool(running))
        schema = self.schema()
        replay = self.replay()
        for kind in workers_of(self.pipeline.spec):
            before = topics if self.runs(kind) else ()
            if kind.cassandra(self.pipeline.spec) and self.runs(kind):
                before = (*before, *schema)
            self.worker(kind, before, replay)
        self.keda_login()
        return Desired(tuple(self.objects), frozenset(self.kept), self.after, self.claims, frozenset(self.undecided))

    def add(self, *objects: Object | None) -> None:
        """Objects, without those that are not needed."""
        self.objects += [one for one in objects if one is not None]

    def runs(self, kind: Kind) -> bool:
        """Whether the worker is to have pods now or by its autoscaling."""
        return not self.pipeline.spec.paused and most(kind.scaled(self.pipeline.spec)) > 0

    @property
    def kafka(self) -> KafkaFacts | Missing:
        """How pods reach Kafka."""
        return self.facts.kafka

    def ref(self, kind: kinds.Kind, part: str) -> Ref:
        """One of our objects by its part of the name."""
        return Ref(kind, self.owner.namespace, name(self.owner.name, part))

    # -- services

    def strimzi(self) -> tuple[Ref, ...]:
        """Topics and user in Strimzi's namespace; the topics workers have to wait for."""
        found = self.facts.strimzi
        if self.pipeline.spec.kafka.strimzi is None or found is None:
            return ()
        topics = kafka_topics(self.pipeline, self.owner, found)
        self.add(*topics, kafka_user(self.pipeline, self.owner, found))
        return tuple(map(ref_of, topics))

    def secrets(self) -> None:
        """Copies of others' secrets. While a source is missing, the copy stays: pods may restart meanwhile."""
        kafka, cassandra = self.facts.kafka, self.facts.cassandra
        if isinstance(kafka, Missing):
            self.undecided.add("kafka")
        elif kafka.secret and kafka.secret.copied is not None:
            self.add(secret_copy(self.owner, "kafka", kafka.secret))
        if isinstance(cassandra, Missing):
            self.undecided.add("cassandra")
            return
        for login in (cassandra.login, cassandra.schema):
            if login and login.secret.copied is not None:
                self.add(secret_copy(self.owner, "cassandra", login.secret))

    def common(self) -> None:
        """What belongs to no single worker."""
        self.add(service_account(self.owner, "tasks", self.pipeline.spec.pods))
        common = ports(self.pipeline, self.facts)
        reaching = None if common is None else (*common, *cassandra_ports(self.facts))
        self.policy("tasks", tasks_policy(self.owner, TASKS, reaching), self.facts.kafka, self.facts.cassandra)
        if kinds.POD_MONITOR in self.facts.kinds:
            self.add(pod_monitor(self.owner))

    # -- tasks

    def schema(self) -> tuple[Ref, ...]:
        """The Job that makes the tables; none while nobody who writes into them has pods."""
        cassandra = self.facts.cassandra
        if isinstance(cassandra, Missing):
            return self.undecided_task(SCHEMA)
        login = cassandra.schema or cassandra.login
        secrets = {"cassandra": login.secret} if login else {}
        config = worker_config(self.pipeline, SCHEMA.slice, None, cassandra=cassandra_connection(cassandra, login))
        writing = any(self.runs(kind) for kind in workers_of(self.pipeline.spec) if kind.cassandra(self.pipeline.spec))
        return self.run_once(SCHEMA, config, secrets, needed=writing)

    def replay(self) -> bool:
        """Whether a replay is under way: the aggregators are stopped, and the Job runs when they are gone."""
        live, nonce = self.facts.live.get("aggregator"), self.pipeline.spec.replay.nonce
        if live is None or nonce is None or live.replayed == nonce or not isinstance(self.kafka, KafkaFacts):
            return False
        config = worker_config(self.pipeline, REPLAY.slice, self.kafka)
        job_ref = Ref(kinds.JOB, self.owner.namespace, self._job_name(REPLAY, config, nonce))
        done = job_ref.name in self.facts.done
        if live.pods == 0 or done:
            secrets = {"kafka": self.kafka.secret} if self.kafka.secret else {}
            self.run_once(REPLAY, config, secrets, needed=True, nonce=nonce)
        return not done

    def topics(self, needed: bool) -> tuple[Ref, ...]:
        """The Job that makes the topics."""
        kafka = self.kafka
        if isinstance(kafka, Missing):
            return self.undecided_task(TOPICS)
        config = worker_config(self.pipeline, TOPICS.slice, kafka)
        return self.run_once(TOPICS, config, {"kafka": kafka.secret} if kafka.secret else {}, needed)

    def undecided_task(self, task: Task) -> tuple[Ref, ...]:
        """What the task would be cannot be told: its Job and configuration stay as they are."""
        self.undecided.add(task.name)
        return ()

    def run_once(
        self, task: Task, config: WorkerConfig, secrets: Mounted, needed: bool, nonce: str = ""
    ) -> tuple[Ref, ...]:
        """The Job with its configuration. Not needed now: not made, but one that is there stays as the record."""
        job_ref = Ref(kinds.JOB, self.owner.namespace, self._job_name(task, config, nonce))
        settings = config_map(self.owner, task.name, config)
        if not needed:
            self.kept |= {job_ref, ref_of(settings)}
            return ()
        self.add(settings)
        self.add(job(self.owner, task, job_ref.name, secrets, self.pipeline.spec.pods, self.facts.settings))
        return (job_ref,)

    def _job_name(self, task: Task, config: WorkerConfig, nonce: str) -> str:
        return job_name(self.owner, task, config, self.pipeline.spec.pods, self.facts.settings, nonce)

    # -- workers

    def worker(self, kind: Kind, before: tuple[Ref, ...], replaying: bool) -> None:
        """All objects of one worker."""
        spec, owner = self.pipeline.spec, self.owner
        scaled = kind.scaled(spec)
        self.add(
            service_account(owner, kind.name, spec.pods),
            service(owner, kind.name, spec.monitoring.port, kind.ports(spec)),
            disruption_budget(owner, kind.name) if most(scaled) >= 2 else None,
        )
        inward = (spec.monitoring.port, *kind.ports(spec).values())
        policy = network_policy(owner, kind.name, inward, outward(self.pipeline, kind, self.facts))
        self.policy(kind.name, policy, *needed(spec, kind, self.facts))
        found = reached(self.pipeline, kind, self.facts)
        target = self.ref(kinds.DEPLOYMENT, kind.name)
        if isinstance(found, Missing):
            self.kept |= {target, self.ref(kinds.CONFIG_MAP, kind.name)}
            self.kept |= {self.ref(one, kind.name) for one in (kinds.AUTOSCALER, kinds.SCALED_OBJECT)}
            return
        config, secrets = found
        live = self.facts.live.get(kind.name)
        stopped = spec.paused or (replaying and kind.name == "aggregator")
        number = replicas(scaled, stopped, live)
        self.add(config_map(owner, kind.name, config))
        self.add(
            deployment(
                self.pipeline,
                owner,
                kind,
                config,
                secrets,
                self.facts.settings,
                number.applied,
                live,
                self._replayed(kind, replaying),
            )
        )
        if before:
            self.after[target] = before
        if number.claimed is not None:
            self.claims[target] = number.claimed
        if not stopped:
            self.autoscaler(kind)

    def autoscaler(self, kind: Kind) -> None:
        """The object that lets somebody else decide on the number of pods."""
        scaled = kind.scaled(self.pipeline.spec)
        if autoscaled(scaled, ScalingMode.HPA):
            self.add(pod_autoscaler(self.owner, kind.name, scaled.autoscaling))
        if autoscaled(scaled, ScalingMode.KEDA) and kinds.SCALED_OBJECT in self.facts.kinds:
            assert isinstance(self.facts.kafka, KafkaFacts)
            self.add(self.keda(kind, self.facts.kafka))

    def keda(self, kind: Kind, kafka: KafkaFacts) -> Object:
        """The ScaledObject of a worker."""
        names, spec = names_of(self.pipeline), self.pipeline.spec
        results = [names.aggregates(size) for size in spec.aggregator.windows]
        topics = results if kind.name == "sink" else [names.readings]
        scaling = kind.scaled(spec).autoscaling
        return scaled_object(self.owner, kind.name, scaling, kafka, names.group(kind.name), topics)

    def keda_login(self) -> None:
        """Who KEDA is to Kafka, for all workers it scales."""
        kafka = self.facts.kafka
        if not isinstance(kafka, KafkaFacts) or not any(one["kind"] == "ScaledObject" for one in self.objects):
            return
        self.add(user_map(self.owner, kafka) if "sasl.username" in kafka.properties else None)
        self.add(trigger_authentication(self.owner, kafka, name(self.owner.name, "kafka")))

    def _replayed(self, kind: Kind, replaying: bool) -> str | None:
        """A pipeline that is new has nothing to replay: its nonce counts as carried out."""
        if kind.name != "aggregator":
            return None
        live = self.facts.live.get(kind.name)
        return live.replayed if replaying and live else self.pipeline.spec.replay.nonce

    # -- network

    def policy(self, part: str, policy: Object, *reached: object) -> None:
        """A NetworkPolicy, if such are wanted.

        While the ports of a service cannot be told, the policy stays as it is: pods that run must not be cut off.
        """
        if not (self.facts.settings.network_policies and self.pipeline.spec.network.policies):
            return
        if any(isinstance(one, Missing) for one in reached):
            self.kept.add(self.ref(kinds.NETWORK_POLICY, part))
        else:
            self.add(policy)
