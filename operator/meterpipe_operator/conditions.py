"""The status of a pipeline: what the operator found, in conditions and a few figures. Pure: the time is handed in.

Stable by design: the same situation gives the same status, word for word, and figures move only when they have moved
by more than noise, so that an idle pipeline's status is never written.

Ready: every worker that shall run has a pod that is ready. Progressing: something is under way. Degraded: something is
wrong that does not go by itself, or not soon; what runs may run on. Paused and NameConflict say what they say.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from meterpipe.spec.models import MeterPipeline

from meterpipe_operator import kinds
from meterpipe_operator.facts import Facts, Live, Missing
from meterpipe_operator.kinds import Manifest, kind_of
from meterpipe_operator.labels import COMPONENT
from meterpipe_operator.plan import Plan
from meterpipe_operator.reach import needed
from meterpipe_operator.scaling import most
from meterpipe_operator.trouble import Trouble, troubles
from meterpipe_operator.workers import WORKERS

NOISE = 0.05
"""Part of a figure by which it may move without being told anew."""
DIGITS = 2
LENGTH = 2000


@dataclass(frozen=True, slots=True)
class Figures:
    """What the pods of one worker say together; None: not known."""

    lag: float | None = None
    readings_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """All that the status is made of.

    `pipeline`: what runs, the stored specification or the last valid one; None: there never was a valid one.
    `problems`: what is wrong with the stored one, in the words of `meterpipe validate`. `conflict`: whose output it
    claims too. `errors`: what the API server did not take in this round.
    """

    generation: int
    pipeline: MeterPipeline | None
    facts: Facts | None = None
    plan: Plan = field(default_factory=Plan)
    observed: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    problems: tuple[str, ...] = ()
    conflict: str | None = None
    errors: tuple[str, ...] = ()
    figures: Mapping[str, Figures] = field(default_factory=dict)


class Verdict(NamedTuple):
    """One condition without its time."""

    holds: bool
    reason: str
    message: str = ""


def status(situation: Situation, previous: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The status to store. `previous` is the stored one; `now` is RFC 3339. Equal to `previous`: nothing to write."""
    wrong = _wrong(situation)
    verdicts = {
        "Ready": _ready(situation, wrong),
        "Progressing": _progressing(situation),
        "Degraded": wrong or Verdict(False, "AsExpected"),
        "Paused": _paused(situation),
        "NameConflict": Verdict(True, "NameConflict", situation.conflict)
        if situation.conflict
        else Verdict(False, "None"),
    }
    before = {one["type"]: one for one in previous.get("conditions") or ()}
    result: dict[str, Any] = {
        "observedGeneration": situation.generation,
        "conditions": [
            _condition(kind, verdict, situation.generation, before.get(kind), now) for kind, verdict in verdicts.items()
        ],
    }
    if workers := _workers(situation, previous.get("workers") or {}):
        result["workers"] = workers
    told = situation.figures.get("aggregator", Figures())
    figures = {"readingsPerSecond": steady(previous.get("readingsPerSecond"), told.readings_per_second)}
    lag = steady(previous.get("lag"), told.lag)
    figures["lag"] = None if lag is None else int(lag)
    return result | {name: value for name, value in figures.items() if value is not None}


def steady(previous: float | None, value: float | None) -> float | None:
    """The figure to two digits; the previous one as long as the new one is within the noise around it."""
    if value is None or not math.isfinite(value) or value < 0:
        return None
    if previous and abs(value - previous) <= NOISE * previous:
        return previous
    return rounded(value)


def rounded(value: float) -> float:
    """To two significant digits."""
    if value == 0:
        return 0
    places = DIGITS - 1 - math.floor(math.log10(abs(value)))
    return round(value, places)


def _condition(
    kind: str, verdict: Verdict, generation: int, before: Mapping[str, Any] | None, now: str
) -> dict[str, Any]:
    word = "True" if verdict.holds else "False"
    same = before is not None and before.get("status") == word
    return {
        "type": kind,
        "status": word,
        "reason": verdict.reason,
        "message": verdict.message[:LENGTH],
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and same else now,
        "observedGeneration": generation,
    }


def _running(pipeline: MeterPipeline) -> list[str]:
    """Workers that shall have pods."""
    if pipeline.spec.paused:
        return []
    return [kind.name for kind in WORKERS.values() if most(kind.scaled(pipeline.spec)) > 0]


def _missing(situation: Situation) -> list[Missing]:
    """What workers that shall run lack."""
    pipeline, facts = situation.pipeline, situation.facts
    if pipeline is None or facts is None:
        return []
    found = [
        one
        for name in _running(pipeline)
        for one in needed(pipeline.spec, WORKERS[name], facts)
        if isinstance(one, Missing)
    ]
    return list(dict.fromkeys(found))


def _wrong(situation: Situation) -> Verdict | None:
    """What is wrong, the nearest to the user first."""
    if situation.problems:
        running = "the last valid specification keeps running" if situation.pipeline else "nothing runs"
        return Verdict(True, "InvalidSpec", "; ".join((*situation.problems, running)))
    if situation.conflict:
        return Verdict(True, "NameConflict", situation.conflict)
    if lasting := [one for one in _missing(situation) if not one.passing]:
        return Verdict(True, lasting[0].reason, "; ".join(one.message for one in lasting))
    if situation.errors:
        return Verdict(True, "NotApplied", "; ".join(situation.errors))
    if failed := [one for one in situation.plan.wait if one.failed]:
        return Verdict(True, failed[0].reason, "; ".join(dict.fromkeys(one.message for one in failed)))
    if found := troubles(situation.pods):
        return Verdict(True, found[0].reason, "; ".join(map(_told, found)))
    return None


def _told(trouble: Trouble) -> str:
    return f"{trouble.component}: {trouble.message}"


def _ready(situation: Situation, wrong: Verdict | None) -> Verdict:
    pipeline = situation.pipeline
    if wrong and wrong.reason in ("InvalidSpec", "NameConflict"):
        return Verdict(False, wrong.reason, wrong.message)
    if pipeline is None:
        return Verdict(False, "NothingKnown", "nothing has been found out yet")
    if pipeline.spec.paused:
        return Verdict(False, "Paused", "spec.paused is true")
    if lasting := [one for one in _missing(situation) if not one.passing]:
        return Verdict(False, lasting[0].reason, "; ".join(one.message for one in lasting))
    there = _deployments(situation.observed)
    running = _running(pipeline)
    if not running:
        return Verdict(True, "NothingToRun", "all workers have 0 replicas")
    absent = [name for name in running if _ready_pods(there.get(name)) == 0]
    if not absent:
        return Verdict(True, "Running", f"{', '.join(running)}: ready")
    reasons = [wrong.message] if wrong else list(dict.fromkeys(one.message for one in situation.plan.wait))
    reasons += [one.message for one in _missing(situation)]
    text = "; ".join([f"no pod of {', '.join(absent)} is ready", *reasons])
    return Verdict(False, wrong.reason if wrong else "WorkersNotReady", text)


def _progressing(situation: Situation) -> Verdict:
    """What is under way. A pipeline without facts is not being worked on."""
    if situation.facts is None or situation.pipeline is None:
        return Verdict(False, "Stopped", "nothing is done before this is resolved")
    if passing := [one for one in _missing(situation) if one.passing]:
        return Verdict(True, passing[0].reason, "; ".join(one.message for one in passing))
    if waiting := [one for one in situation.plan.wait if not one.failed]:
        return Verdict(True, waiting[0].reason, "; ".join(dict.fromkeys(one.message for one in waiting)))
    if not situation.plan.empty:
        return Verdict(True, "Applying", "objects are being brought up to date")
    rolling = [name for name, live in sorted(situation.facts.live.items()) if not _settled(situation, name, live)]
    if rolling:
        return Verdict(True, "RollingOut", f"pods of {', '.join(rolling)} are being exchanged or scaled")
    return Verdict(False, "Settled")


def _settled(situation: Situation, name: str, live: Live) -> bool:
    return live.settled and _ready_pods(_deployments(situation.observed).get(name)) >= live.replicas


def _paused(situation: Situation) -> Verdict:
    if situation.pipeline and situation.pipeline.spec.paused:
        return Verdict(True, "Paused", "spec.paused is true: no worker runs, everything else stays")
    return Verdict(False, "NotPaused")


def _deployments(observed: Iterable[Manifest]) -> dict[str, Manifest]:
    return {
        (one["metadata"].get("labels") or {}).get(COMPONENT, ""): one
        for one in observed
        if kind_of(one) == kinds.DEPLOYMENT
    }


def _ready_pods(deployment: Manifest | None) -> int:
    return 0 if deployment is None else int((deployment.get("status") or {}).get("readyReplicas") or 0)


def _workers(situation: Situation, previous: Mapping[str, Any]) -> dict[str, Any]:
    """Replicas, ready pods and lag of the workers whose Deployments are there."""
    there = _deployments(situation.observed)
    result: dict[str, Any] = {}
    for name in WORKERS:
        if name in there:
            told = {"replicas": int(there[name]["spec"].get("replicas", 1)), "ready": _ready_pods(there[name])}
            lag = steady((previous.get(name) or {}).get("lag"), situation.figures.get(name, Figures()).lag)
            result[name] = told if lag is None else told | {"lag": int(lag)}
    return result
