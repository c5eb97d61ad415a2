"""Who says how many pods there are, and that the number survives each change of who does."""

from meterpipe.spec.models import Scaled
from meterpipe_operator.facts import Live
from meterpipe_operator.resolve import live_of, managers_of
from meterpipe_operator.scaling import Replicas, most, replicas

US, SCALER, HPA = "meterpipe", "meterpipe-autoscaler", "kube-controller-manager"


def scaled(replicas=1, mode="fixed", **bounds) -> Scaled:
    return Scaled.model_validate({"replicas": replicas, "autoscaling": {"mode": mode, **bounds}})


def owned(number, *managers) -> Live:
    return Live(number, managers=frozenset(managers))


def test_a_fixed_number_is_ours_whoever_had_it():
    assert replicas(scaled(3), False, owned(5, SCALER, HPA)) == Replicas(3)
    assert replicas(scaled(3), False, None) == Replicas(3)


def test_a_new_deployment_begins_with_the_wished_number_within_the_bounds():
    assert replicas(scaled(3, "operator", min=2, max=8), False, None) == Replicas(3)
    assert replicas(scaled(1, "hpa", min=2, max=8), False, None) == Replicas(2)
    assert replicas(scaled(9, "hpa", min=2, max=8), False, None) == Replicas(8)


def test_the_present_number_is_claimed_before_we_let_go_of_it():
    assert replicas(scaled(1, "operator", max=8), False, owned(5, US)) == Replicas(None, claimed=5)


def test_once_somebody_else_has_it_we_say_nothing():
    assert replicas(scaled(1, "operator"), False, owned(5, US, SCALER)) == Replicas(None)
    assert replicas(scaled(1, "hpa"), False, owned(5, HPA)) == Replicas(None)


def test_a_worker_that_was_paused_wakes_with_the_wished_number():
    assert replicas(scaled(3, "operator"), True, owned(4, SCALER)) == Replicas(0)
    assert replicas(scaled(3, "operator"), False, owned(0, US)) == Replicas(None, claimed=3)


def test_keda_may_have_scaled_to_nothing_and_that_stands():
    assert replicas(scaled(1, "keda", min=0), False, owned(0, SCALER)) == Replicas(None)


def test_zero_replicas_stop_an_autoscaled_worker():
    assert replicas(scaled(0, "operator"), False, owned(4, SCALER)) == Replicas(0)
    assert most(scaled(0, "operator", max=8)) == 0


def test_fixed_then_operator_then_hpa_then_fixed_never_passes_through_one():
    """Each step: what is claimed, then applied; a field that nobody owns any more becomes 1."""
    live, seen = owned(3, US), []
    for mode in ("operator", "operator", "hpa", "hpa", "fixed", "fixed"):
        step = replicas(scaled(3, mode, min=2), False, live)
        number, managers = live.replicas, set(live.managers)
        if step.claimed is not None:
            number, managers = step.claimed, managers | {SCALER}
        if step.applied is None:
            managers.discard(US)
        else:
            number, managers = step.applied, {US}
        live = owned(number if managers else 1, *managers)
        seen.append(live.replicas)
    assert seen == [3] * 6


def test_managers_are_read_from_the_managed_fields():
    deployment = {
        "metadata": {
            "generation": 2,
            "managedFields": [
                {"manager": US, "fieldsV1": {"f:spec": {"f:template": {}}}},
                {"manager": SCALER, "fieldsV1": {"f:spec": {"f:replicas": {}}}},
                {"manager": HPA, "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
                {"manager": "kubelet", "fieldsV1": {"f:status": {"f:replicas": {}}}},
            ],
        },
        "spec": {"replicas": 4},
        "status": {"observedGeneration": 2, "replicas": 5, "updatedReplicas": 4},
    }
    assert managers_of(deployment) == {SCALER, HPA}
    live = live_of(deployment)
    assert (live.replicas, live.pods, live.settled) == (4, 5, False)
