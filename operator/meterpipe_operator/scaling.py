"""Who says how many pods a worker has. Pure.

`spec.replicas` of a Deployment has one owner at a time. Server-side apply sets a field that nobody owns any more to its
default, 1; so a new owner takes the present number before the old one lets go.
"""

from dataclasses import dataclass

from meterpipe.spec.kubernetes import ScalingMode
from meterpipe.spec.models import Scaled

from meterpipe_operator.facts import Live

OPERATOR = "meterpipe"
AUTOSCALER = "meterpipe-autoscaler"


@dataclass(frozen=True, slots=True)
class Replicas:
    """What to say of spec.replicas.

    `applied`: in the Deployment we apply; None: left out, somebody else owns it. `claimed`: what field manager
    AUTOSCALER has to apply first, so that there is another owner; None: there is one.
    """

    applied: int | None
    claimed: int | None = None


def replicas(scaled: Scaled, stopped: bool, live: Live | None) -> Replicas:
    """Who says it now. `stopped`: the worker shall not run, whatever its scaling."""
    scaling = scaled.autoscaling
    if stopped:
        return Replicas(0)
    if scaling.mode is ScalingMode.FIXED or scaled.replicas == 0:
        return Replicas(scaled.replicas)
    first = min(max(scaled.replicas, scaling.min, 1), scaling.max)
    if live is None:
        return Replicas(first)
    if live.managers - {OPERATOR}:
        return Replicas(None)
    return Replicas(None, claimed=live.replicas or first)


def most(scaled: Scaled) -> int:
    """The most pods the worker may come to have."""
    fixed = scaled.autoscaling.mode is ScalingMode.FIXED or scaled.replicas == 0
    return scaled.replicas if fixed else scaled.autoscaling.max


def autoscaled(scaled: Scaled, mode: ScalingMode) -> bool:
    """Whether the worker runs and `mode` decides on its pods."""
    return scaled.autoscaling.mode is mode and scaled.replicas > 0
