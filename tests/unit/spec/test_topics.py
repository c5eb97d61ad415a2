"""The topics of a pipeline, as values."""

from meterpipe.adapters.transaction import ANY_BATCH, OWNED_BATCH
from meterpipe.spec.models import MeterPipeline
from meterpipe.spec.names import names_of
from meterpipe.spec.topics import plan_topics

KAFKAS_DEFAULT = 1_048_588
"""`message.max.bytes` of a broker that was told nothing else."""


def pipeline(**spec) -> MeterPipeline:
    return MeterPipeline.model_validate(
        {"apiVersion": "meterpipe.io/v1alpha1", "kind": "MeterPipeline", "metadata": {"name": "p"}, "spec": spec}
    )


EVERYTHING = pipeline(validation={"enabled": True}, alarms={"enabled": True}, activity={"enabled": True})


def test_every_owned_topic_takes_a_batch_of_the_size_transactions_send():
    for named in (KAFKAS_DEFAULT, 100_000_000):  # of a readings topic that somebody else made
        for plan in plan_topics(EVERYTHING, named):
            assert int(plan.config["max.message.bytes"]) > OWNED_BATCH, plan.name


def test_topics_of_somebody_else_are_sent_what_kafka_takes_by_default():
    assert ANY_BATCH < KAFKAS_DEFAULT


def test_what_the_readings_topic_takes_fits_into_the_topics_it_is_copied_to():
    plans = {plan.name: plan for plan in plan_topics(EVERYTHING, 100_000_000)}
    names = names_of(EVERYTHING)
    assert int(plans[names.late].config["max.message.bytes"]) == 100_000_000
    assert int(plans[names.dead_letters].config["max.message.bytes"]) > 100_000_000
