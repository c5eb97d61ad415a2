"""One pipeline brought to what it shall be, against an API server that is a dictionary."""

import asyncio

import pytest
from meterpipe_operator.api import Api, Unreachable
from meterpipe_operator.cache import Cache
from meterpipe_operator.facts import Settings
from meterpipe_operator.finalizer import FINALIZER
from meterpipe_operator.kinds import DEPLOYMENT, KAFKA_TOPIC, KINDS, METER_PIPELINE, Ref
from meterpipe_operator.observe import Key
from meterpipe_operator.reconcile import Reconciler

from tests.unit.operator_run.objects import NAMESPACE, SPEC, Server, resource

KEY = Key(NAMESPACE, "p")
WRONG = {**SPEC, "readings": {"timezone": "Europe/Pariss"}}


class World:
    """A reconciler, what it knows, and the server it writes to."""

    def __init__(self, *resources):
        self.server, self.cache = Server(*resources), Cache()
        for one in resources:
            self.cache.put(one)
        built_in = frozenset(kind for kind in KINDS if not kind.optional)
        self.reconciler = Reconciler(Api(self.server), self.cache, Settings("image"), built_in)

    def run(self, key=KEY):
        """Reconcile once; gives back the outcome and what was written meanwhile."""
        del self.server.writes[:]
        outcome = asyncio.run(self.reconciler.reconcile(key))
        return outcome, list(self.server.writes)

    def restarted(self):
        """Another reconciler, which knows no more than the server holds."""
        again = World()
        again.server = self.server
        again.reconciler.api = Api(self.server)
        for one in self.server.objects.values():
            again.cache.put(one)
        return again

    def change(self, **fields):
        """Change the pipeline as a user does."""
        found = dict(self.cache.get(KEY.ref))
        self.server.version += 1
        metadata = {**found["metadata"], "resourceVersion": str(self.server.version)}
        metadata |= fields.pop("metadata", {})
        if "spec" in fields:
            metadata["generation"] += 1
        found |= {**fields, "metadata": metadata}
        self.server.objects[METER_PIPELINE.path(NAMESPACE, "p")] = found
        self.cache.put(found)

    def status(self, name="p"):
        """Conditions by type."""
        found = self.cache.get(Ref(METER_PIPELINE, NAMESPACE, name))
        return {one["type"]: one for one in found["status"]["conditions"]}


def test_a_new_pipeline_gets_all_its_objects_and_a_second_look_writes_nothing():
    world = World(resource())
    outcome, writes = world.run()
    assert not outcome.again
    assert {name for _, name, _ in writes} >= {"p-aggregator", "p-sink", "p-archiver"}
    assert writes[-1] == ("PATCH", "p", "status")
    assert world.status()["Ready"]["status"] == "True"
    assert world.run()[1] == []


def test_an_operator_that_knows_nothing_writes_nothing_where_all_is_as_it_should_be():
    world = World(resource())
    world.run()
    assert world.restarted().run()[1] == []


def test_a_pipeline_without_topics_of_strimzi_carries_no_finalizer():
    world = World(resource())
    world.run()
    assert "finalizers" not in world.cache.get(KEY.ref)["metadata"]


def test_a_deployment_that_is_deleted_comes_back_with_one_write():
    world = World(resource())
    world.run()
    live = world.cache.get(Ref(DEPLOYMENT, NAMESPACE, "p-sink"))
    world.cache.drop({**live, "metadata": {**live["metadata"], "resourceVersion": "9999"}})
    del world.server.objects[DEPLOYMENT.path(NAMESPACE, "p-sink")]
    world.server.version = 10_000
    assert [name for method, name, _ in world.run()[1] if name != "p"] == ["p-sink"]


def test_a_wrong_specification_is_told_and_the_last_valid_one_stays_also_for_an_operator_that_restarted():
    world = World(resource())
    world.run()
    world.change(spec=WRONG)
    world = world.restarted()
    world.run()
    told = world.status()["Degraded"]
    assert told["reason"] == "InvalidSpec"
    assert "spec.readings.timezone: is no IANA time zone; did you mean Europe/Paris?" in told["message"]
    assert world.reconciler.pipeline(KEY).spec.readings.timezone is None
    assert world.run()[1] == []


def test_a_pipeline_that_was_never_valid_gets_a_status_and_nothing_else():
    world = World(resource(spec=WRONG))
    assert world.run()[1] == [("PATCH", "p", "status")]
    assert world.status()["Ready"]["reason"] == "InvalidSpec"


def test_what_the_server_refuses_is_told_tried_again_and_keeps_nothing_else_from_being_done():
    world = World(resource())
    world.server.refusals["services/p-sink"] = 422
    outcome, writes = world.run()
    assert outcome.again
    assert "p-archiver" in {name for _, name, _ in writes}
    assert world.status()["Degraded"]["reason"] == "NotApplied"
    assert "services/p-sink is refused" in world.status()["Degraded"]["message"]
    world.server.refusals.clear()
    outcome, _ = world.run()
    assert not outcome.again
    assert world.status()["Degraded"]["status"] == "False"


def test_a_server_that_is_away_is_an_error_and_nothing_is_lost():
    world = World(resource())
    world.server.away = True
    with pytest.raises(Unreachable, match="does not answer"):
        world.run()
    world.server.away = False
    assert not world.run()[0].again


def test_a_difference_that_applying_does_not_remove_is_not_applied_for_ever():
    world = World(resource())
    world.run()
    kept = world.server._patched

    def stubborn(where, found, sent, status):
        answer = kept(where, found, sent, status)
        if where.endswith("services/p-sink"):
            return found  # the server has it its own way
        return answer

    world.server._patched = stubborn
    live = dict(world.cache.get(next(one for one in world.cache._objects if str(one).endswith("Service n/p-sink"))))
    live["spec"] = {**live["spec"], "ports": []}
    live["metadata"] = {**live["metadata"], "resourceVersion": "5000"}
    world.server.objects["/api/v1/namespaces/n/services/p-sink"] = live
    world.cache.put(live)
    world.run()
    assert world.run()[1] == []


def test_the_younger_of_two_pipelines_with_one_output_waits_and_is_woken_when_the_older_goes():
    shared = {**SPEC, "cassandra": {**SPEC["cassandra"], "keyspace": "one"}}
    old = resource("old", shared)
    young = resource("p", shared, creationTimestamp="2026-01-02T00:00:00Z")
    world = World(old, young)
    _, writes = world.run()
    assert writes == [("PATCH", "p", "status")]
    assert world.status()["NameConflict"]["status"] == "True"
    world.cache.drop({**old, "metadata": {**old["metadata"], "resourceVersion": "999"}})
    outcome, _ = world.run(Key(NAMESPACE, "old"))
    assert outcome.wake == {KEY}
    world.run()
    assert world.status()["NameConflict"]["status"] == "False"
    assert world.status()["Ready"]["status"] == "True"


def test_what_a_pipeline_depends_on_is_told_so_that_its_change_wakes_it():
    spec = {**SPEC, "lake": {"replicas": 0, "secretName": "s3"}}
    outcome, _ = World(resource(spec=spec)).run()
    assert "Secret n/s3" in {str(ref) for ref in outcome.asked}


def strimzi_world():
    """A pipeline on a Strimzi cluster that is there but publishes nothing yet."""
    where = {"namespace": "kafka", "labels": {}, "resourceVersion": "3", "generation": 1}
    listener = {"name": "scram", "type": "internal", "tls": False, "authentication": {"type": "scram-sha-512"}}
    kafka = {
        "apiVersion": "kafka.strimzi.io/v1", "kind": "Kafka", "metadata": {"name": "main", **where},
        "spec": {"kafka": {"listeners": [listener]}},
    }  # fmt: skip
    asked = {"strimzi": {"cluster": "main", "namespace": "kafka", "listener": "scram"}}
    world = World(resource(spec={**SPEC, "kafka": asked}), kafka)
    world.reconciler.kinds = frozenset(KINDS)
    return world


def test_a_pipeline_is_held_before_the_first_object_is_made_in_strimzis_namespace_and_let_go_after_the_last():
    world = strimzi_world()
    _, writes = world.run()
    methods = [(name, manager) for _, name, manager in writes]
    assert methods.index(("p", "")) < methods.index(("n-p", "meterpipe"))
    assert world.cache.get(KEY.ref)["metadata"]["finalizers"] == [FINALIZER]
    world.change(metadata={"deletionTimestamp": "2026-01-03T00:00:00Z"})
    outcome, writes = world.run()
    assert writes == [("DELETE", "n-p", ""), ("PATCH", "p", "")]
    assert not outcome.again
    assert world.cache.get(KEY.ref)["metadata"]["finalizers"] == []
    assert world.cache.get(Ref(KAFKA_TOPIC, "kafka", "n-p-readings")) is not None, "topics hold data"


def test_a_pipeline_is_not_let_go_while_its_user_cannot_be_deleted():
    world = strimzi_world()
    world.run()
    world.change(metadata={"deletionTimestamp": "2026-01-03T00:00:00Z"})
    world.server.refusals["kafkausers"] = 403
    assert world.run()[0].again
    assert world.cache.get(KEY.ref)["metadata"]["finalizers"] == [FINALIZER]
