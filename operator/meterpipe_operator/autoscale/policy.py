"""How many pods a worker needs. Pure: the time and the figures are handed in.

The idea is Flink's autoscaler's. A worker that waits tells nothing by its CPU or its rate; what it could do is its
*true rate*: records taken in per second spent working. The rate it must reach is what arrives, plus the lag over the
time in which it shall be caught up. The quotient, at the wished utilisation, is the number of pods, which is then
aligned to the partitions: of 12 partitions, the fullest of 5 pods has 3, as has that of 4; only 6 pods do more.

It rises at once and falls slowly: only to the highest number that was wanted during `scale_down_after`, never on
figures that miss a pod, never while a change is fresh. A rise that did not help is not repeated for a while.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

MIN_BUSY = 0.5  # seconds of work within the period, below which the true rate is noise
INEFFECTIVE = 0.1  # a rise that brought less than this part of what it should is not repeated
KEPT = 240  # samples and wishes remembered at most


@dataclass(frozen=True, slots=True)
class Policy:
    """The wishes of a pipeline for one worker. Times are seconds."""

    min_replicas: int = 1
    max_replicas: int = 8
    utilisation: float = 0.7  # part of its time a pod shall work
    tolerance: float = 0.15  # no change while the utilisation is this close to the wish and there is no lag
    catch_up: float = 300  # a lag shall be gone in this time
    period: float = 60  # figures are compared over this time
    settle: float = 45  # after a change figures say little for this time
    scale_down_after: float = 300  # fewer pods must have been enough for this time
    retry_after: float = 900  # a rise that did not help is tried again after this time

    def __post_init__(self) -> None:
        if not 0 <= self.min_replicas <= self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} must be within 0 and max_replicas {self.max_replicas}")
        if not 0 < self.utilisation <= 1:
            raise ValueError(f"utilisation must be above 0 and at most 1, got {self.utilisation}")
        if min(self.catch_up, self.period, self.scale_down_after) <= 0:
            raise ValueError("catch_up, period and scale_down_after must be above 0 s")


@dataclass(frozen=True, slots=True)
class Pod:
    """What one pod says: records taken in and seconds worked since its start, its lag and partitions now."""

    name: str
    records: float
    busy: float
    lag: float
    partitions: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What all pods said at one time. `complete`: every pod that should be there answered."""

    at: float
    pods: tuple[Pod, ...]
    complete: bool = True

    @property
    def lag(self) -> float:
        """Records not yet taken in, over all pods."""
        return sum(pod.lag for pod in self.pods)


@dataclass(frozen=True, slots=True)
class Wish:
    """How many pods were wanted at a time."""

    at: float
    replicas: int


@dataclass(frozen=True, slots=True)
class Change:
    """The last change of the number of pods, and how many records a second were taken in before it."""

    at: float
    before: int
    after: int
    rate: float


@dataclass(frozen=True, slots=True)
class History:
    """What is remembered of one worker between decisions."""

    samples: tuple[Sample, ...] = ()
    wishes: tuple[Wish, ...] = ()
    change: Change | None = None
    started: float | None = None
    blocked_until: float = field(default=-math.inf)


@dataclass(frozen=True, slots=True)
class Load:
    """Records a second, over the period of the policy."""

    taken: float
    arriving: float
    true_rate: float | None  # of one pod; None: too little work to tell
    utilisation: float
    lag: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The number of pods to have, and why."""

    replicas: int
    reason: str


def decide(policy: Policy, history: History, sample: Sample, current: int, partitions: int) -> tuple[Decision, History]:
    """The number of pods to have from now on, and the history to hand in next time.

    `current`: pods asked for now. `partitions`: of the topic the worker reads; more pods than that would idle.
    """
    now = sample.at
    most = max(min(policy.max_replicas, partitions), policy.min_replicas, 1)
    least = min(policy.min_replicas, most)
    started = now if history.started is None else history.started
    history = replace(history, samples=_recent(history.samples, sample, policy), started=started)
    if not least <= current <= most:
        bounded = max(least, min(current, most))
        return _changed(history, now, current, Decision(bounded, f"bounds {least} to {most}"), 0.0)
    if history.change is not None and now - history.change.at < policy.settle:
        return Decision(current, "settling"), history
    load = measure(policy, history)
    if load is None:
        return Decision(current, "too few figures"), history
    wanted = needed(policy, load, current, partitions, least, most)
    history = replace(history, wishes=(*history.wishes, Wish(now, wanted))[-KEPT:])
    history = _judged(policy, history, load, now)
    return _decided(policy, history, load, sample, current, wanted)


def measure(policy: Policy, history: History) -> Load | None:
    """Rates over the period, from samples since the last change has settled; None if they span too little."""
    since = history.change.at + policy.settle if history.change else -math.inf
    samples = [sample for sample in history.samples if sample.at >= since and sample.pods]
    if len(samples) < 2 or samples[-1].at - samples[0].at < policy.period / 2:
        return None
    taken, busy, watched = _grown(samples)
    seconds = samples[-1].at - samples[0].at
    if watched <= 0:
        return None
    true_rate = taken / busy if busy >= MIN_BUSY and taken > 0 else None
    arriving = max(0.0, (taken + samples[-1].lag - samples[0].lag) / seconds)
    return Load(taken / seconds, arriving, true_rate, busy / watched, samples[-1].lag)


def _grown(samples: Sequence[Sample]) -> tuple[float, float, float]:
    """Records and busy seconds that pods gained between samples, and the seconds pods were watched for.

    Pods come and go and begin at nothing again: only growth between two samples of one pod counts.
    """
    records = busy = watched = 0.0
    for earlier, later in pairwise(samples):
        known = {pod.name: pod for pod in earlier.pods}
        for pod in later.pods:
            before = known.get(pod.name)
            if before is None or pod.records < before.records or pod.busy < before.busy:
                continue
            records += pod.records - before.records
            busy += pod.busy - before.busy
            watched += later.at - earlier.at
    return records, busy, watched


def needed(policy: Policy, load: Load, current: int, partitions: int, least: int, most: int) -> int:
    """Pods for this load, aligned to the partitions and within the bounds."""
    if load.true_rate is None:
        return current if load.lag > 0 and load.taken == 0 else least
    target = load.arriving + load.lag / policy.catch_up
    exact = target / (load.true_rate * policy.utilisation)
    # Pods with fewer partitions than the fullest idle in part: the fullest one says how much all can take.
    effective = partitions / math.ceil(partitions / current) if partitions > 0 else current
    if load.lag <= load.taken and abs(exact - effective) <= policy.tolerance * effective:
        return current
    return max(least, fewest(min(aligned(exact, partitions), most), partitions))


def aligned(exact: float, partitions: int) -> int:
    """The fewest pods of which even the one with most partitions has no more than 1/`exact` of the load."""
    if partitions < 1:
        return max(1, math.ceil(exact))
    each = math.floor(min(partitions, partitions / max(exact, 1.0)) + 1e-9)
    return math.ceil(partitions / max(1, each))


def fewest(pods: int, partitions: int) -> int:
    """The fewest pods of which the fullest has no more partitions than the fullest of `pods` has."""
    return math.ceil(partitions / math.ceil(partitions / pods)) if partitions > 0 else pods


def _judged(policy: Policy, history: History, load: Load, now: float) -> History:
    """Whether the last rise helped, once its figures are there; if not, no further rise for a while."""
    change = history.change
    if change is None or change.after <= change.before or change.rate <= 0:
        return history
    expected = change.rate * (change.after / change.before - 1)
    helped = load.taken - change.rate >= INEFFECTIVE * expected or load.lag <= load.taken
    blocked = history.blocked_until if helped else now + policy.retry_after
    return replace(history, change=replace(change, rate=0.0), blocked_until=blocked)


def _decided(
    policy: Policy, history: History, load: Load, sample: Sample, current: int, wanted: int
) -> tuple[Decision, History]:
    now = sample.at
    figures = f"{_two(load.arriving)}/s arrive, lag {_two(load.lag)}, busy {load.utilisation:.0%}"
    if wanted > current:
        if now < history.blocked_until:
            return Decision(current, f"the last rise did not help; {figures}"), history
        return _changed(history, now, current, Decision(wanted, figures), load.taken)
    if wanted == current:
        return Decision(current, figures), history
    if not sample.complete:
        return Decision(current, f"not every pod tells its figures; {figures}"), history
    began = history.started if history.change is None else max(history.started or now, history.change.at)
    if now - (began or now) < policy.scale_down_after:
        return Decision(current, f"fewer would do, waiting; {figures}"), history
    highest = max(wish.replicas for wish in history.wishes if wish.at > now - policy.scale_down_after)
    if highest >= current:
        return Decision(current, f"fewer would do, waiting; {figures}"), history
    return _changed(history, now, current, Decision(highest, figures), 0.0)


def _changed(history: History, now: float, current: int, decision: Decision, rate: float) -> tuple[Decision, History]:
    change = Change(now, current, decision.replicas, rate)
    return decision, replace(history, change=change, wishes=(Wish(now, decision.replicas),))


def _recent(samples: tuple[Sample, ...], sample: Sample, policy: Policy) -> tuple[Sample, ...]:
    """The samples of the period, with the one just before it, so that a whole period can be compared."""
    kept = [one for one in samples if one.at > sample.at - policy.period]
    return (*kept[-KEPT:], sample)


def _two(figure: float) -> str:
    """Two digits are enough to understand a decision."""
    return f"{float(f'{figure:.2g}'):,.0f}"
