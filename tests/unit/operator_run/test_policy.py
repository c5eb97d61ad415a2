"""The scaling policy, against workers that are simulated: how they take in records is known exactly."""

import math
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from meterpipe_operator.autoscale.policy import History, Pod, Policy, Sample, aligned, decide

STEP = 15.0


class Plant:
    """A topic of equal partitions and pods with a fixed true rate each; the fullest pod is the bottleneck."""

    def __init__(self, capacity, partitions, replicas, lag=0.0):
        self.capacity, self.partitions, self.replicas = capacity, partitions, replicas
        self.lags = [lag / partitions] * partitions
        self.now, self.start, self.taken, self.busy = 0.0, 0, {}, {}

    def scale(self, replicas):
        if replicas != self.replicas:
            self.replicas, self.taken, self.busy = replicas, {}, {}
            self.start += 1  # a rebalance: new pods, new counters

    def run(self, arriving, seconds=STEP):
        self.now += seconds
        for pod in range(self.replicas):
            own = range(pod, self.partitions, self.replicas)
            waiting = sum(self.lags[p] for p in own) + arriving * seconds * len(own) / self.partitions
            done = min(waiting, self.capacity * seconds)
            self.taken[pod] = self.taken.get(pod, 0.0) + done
            self.busy[pod] = self.busy.get(pod, 0.0) + done / self.capacity
            for p in own:
                self.lags[p] = (waiting - done) / len(own)

    def sample(self, complete=True):
        pods = []
        for pod in range(self.replicas):
            own = range(pod, self.partitions, self.replicas)
            lag = sum(self.lags[p] for p in own)
            name = f"{self.start}-{pod}"
            pods.append(Pod(name, self.taken.get(pod, 0.0), self.busy.get(pod, 0.0), lag, len(own)))
        return Sample(self.now, tuple(pods), complete)


def simulate(plant, policy, arriving, seconds, history=None, complete=True):
    """Run the loop; `arriving` is a number or a function of time. Gives back the changes and the history."""
    history, changes = history or History(), []
    for _ in range(int(seconds / STEP)):
        rate = arriving(plant.now) if callable(arriving) else arriving
        plant.run(rate)
        decision, history = decide(policy, history, plant.sample(complete), plant.replicas, plant.partitions)
        if decision.replicas != plant.replicas:
            changes.append((plant.now, plant.replicas, decision.replicas, decision.reason))
            plant.scale(decision.replicas)
    return changes, history


def test_a_load_beyond_one_pod_gets_enough_pods_and_then_they_stay():
    plant = Plant(capacity=1000, partitions=12, replicas=1)
    changes, _ = simulate(plant, Policy(max_replicas=12), arriving=2500, seconds=3600)
    assert plant.replicas == 4
    assert sum(plant.lags) < 2500 * STEP
    assert len(changes) <= 3


def test_a_lag_is_worked_off_with_more_pods_which_are_taken_away_again():
    plant = Plant(capacity=1000, partitions=12, replicas=1, lag=1_000_000)
    policy = Policy(max_replicas=12, catch_up=600)
    changes, _ = simulate(plant, policy, arriving=300, seconds=3600)
    assert max(after for _, _, after, _ in changes) >= 3
    assert plant.replicas == 1
    rises = [after > before for _, before, after, _ in changes]
    assert rises == sorted(rises, reverse=True), "it rises, then falls, and never again"


def test_a_short_dip_takes_no_pod_away():
    plant = Plant(capacity=1000, partitions=12, replicas=4)
    load = lambda now: 100 if 1200 <= now < 1380 else 2500
    changes, _ = simulate(plant, Policy(max_replicas=12, scale_down_after=300), load, seconds=3000)
    assert all(after > before for _, before, after, _ in changes)


def test_a_lasting_fall_takes_pods_away_after_the_wished_time():
    plant = Plant(capacity=1000, partitions=12, replicas=6)
    policy = Policy(max_replicas=12, scale_down_after=300)
    changes, _ = simulate(plant, policy, arriving=600, seconds=1800)
    assert plant.replicas == 1
    assert changes[0][0] >= 300


def test_no_pod_is_taken_away_while_one_does_not_tell_its_figures():
    plant = Plant(capacity=1000, partitions=12, replicas=6)
    changes, _ = simulate(plant, Policy(max_replicas=12), arriving=600, seconds=1800, complete=False)
    assert changes == []


def test_more_pods_than_partitions_are_never_wanted():
    plant = Plant(capacity=100, partitions=4, replicas=1)
    simulate(plant, Policy(max_replicas=50), arriving=5000, seconds=1800)
    assert plant.replicas == 4


def test_a_rise_that_did_not_help_is_not_repeated_for_a_while():
    class Stuck(Plant):
        """The store behind the pods is the bottleneck: more pods share what one did."""

        def run(self, arriving, seconds=STEP):
            self.capacity = 1000 / self.replicas
            super().run(arriving, seconds)

    plant = Stuck(capacity=1000, partitions=12, replicas=1)
    policy = Policy(max_replicas=12, retry_after=3600)
    changes, _ = simulate(plant, policy, arriving=1500, seconds=1200)
    assert len(changes) == 1
    assert plant.replicas == changes[0][2]


def test_bounds_are_kept_at_once_whatever_the_figures():
    sample = Sample(0.0, ())
    assert decide(Policy(min_replicas=2), History(), sample, 1, 12)[0].replicas == 2
    assert decide(Policy(max_replicas=3), History(), sample, 7, 12)[0].replicas == 3


def test_without_figures_nothing_changes():
    plant_less = [Sample(at, ()) for at in (0.0, 60.0, 120.0)]
    history = History()
    for sample in plant_less:
        decision, history = decide(Policy(max_replicas=9), history, sample, 3, 12)
        assert decision.replicas == 3


def test_a_worker_with_nothing_to_do_falls_to_the_fewest():
    plant = Plant(capacity=1000, partitions=12, replicas=4)
    simulate(plant, Policy(min_replicas=2, max_replicas=12), arriving=0, seconds=900)
    assert plant.replicas == 2


def test_a_worker_that_hangs_before_a_lag_is_left_alone():
    class Hung(Plant):
        def run(self, arriving, seconds=STEP):
            self.now += seconds

    plant = Hung(capacity=1000, partitions=12, replicas=3, lag=5000)
    changes, _ = simulate(plant, Policy(max_replicas=12), arriving=0, seconds=1200)
    assert changes == []


@pytest.mark.parametrize(
    ("exact", "partitions", "pods"),
    [(0.0, 12, 1), (0.4, 12, 1), (1.0, 12, 1), (1.1, 12, 2), (4.1, 12, 6), (5.0, 12, 6), (7.0, 12, 12), (99, 12, 12)],
)
def test_pods_are_aligned_to_the_partitions(exact, partitions, pods):
    assert aligned(exact, partitions) == pods


@given(st.floats(0.001, 200), st.integers(1, 100))
def test_the_fullest_pod_has_no_more_than_its_share_or_one_partition(exact, partitions):
    pods = aligned(exact, partitions)
    fullest = math.ceil(partitions / pods)
    assert 1 <= pods <= partitions
    assert fullest == 1 or fullest <= partitions / exact + 1e-6
    if pods > 1:
        assert math.ceil(partitions / (pods - 1)) > fullest, "one pod fewer would give a fuller one"


def test_the_fullest_pod_counts_where_partitions_do_not_divide_evenly():
    plant = Plant(capacity=50, partitions=17, replicas=4)  # 5, 4, 4 and 4 partitions: 88 % of the first one's capacity
    simulate(plant, Policy(max_replicas=12), arriving=150, seconds=3600)
    assert plant.replicas == 6


@settings(deadline=None, max_examples=60)
@example(capacity=50.0, load=3.0, partitions=17, replicas=4, lag=0.0)
@given(
    capacity=st.floats(50, 5000),
    load=st.floats(0.05, 9),
    partitions=st.integers(1, 24),
    replicas=st.integers(1, 12),
    lag=st.floats(0, 600),
)
def test_under_a_steady_load_it_comes_to_rest_with_enough_pods(capacity, load, partitions, replicas, lag):
    arriving = capacity * load
    plant = Plant(capacity, partitions, replicas, lag=lag * arriving)
    policy = Policy(max_replicas=12)
    _, history = simulate(plant, policy, arriving, seconds=7200)
    changes, _ = simulate(plant, policy, arriving, seconds=3600, history=history)
    assert changes == []
    fullest = math.ceil(partitions / plant.replicas)
    enough = fullest / partitions * arriving <= capacity * (policy.utilisation + policy.tolerance)
    assert enough or fullest == math.ceil(partitions / policy.max_replicas), "or as many as may be"


@pytest.mark.parametrize(
    "wrong",
    [{"min_replicas": 5, "max_replicas": 4}, {"utilisation": 0}, {"utilisation": 1.1}, {"period": 0}],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        replace(Policy(), **wrong)
