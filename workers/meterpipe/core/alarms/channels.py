"""Which rules watch which channel: looked up by name once, then by id. Pure."""

import numpy as np

from meterpipe.core.alarms.events import AlarmKind
from meterpipe.core.alarms.memory import KINDS, NUMBER, Mask
from meterpipe.core.readings import Key, KeyTable
from meterpipe.spec.alarms import Alarms, Rule


class Channels:
    """What the rules are for each key of a table."""

    def __init__(self, spec: Alarms, keys: KeyTable) -> None:
        self._spec, self._keys = spec, keys
        self.watched = np.empty((0, len(KINDS)), bool)
        self.register = np.empty(0, bool)  # must not fall, by REVERSE_FLOW

    def learn(self) -> None:
        """Look at the keys that are new."""
        known = len(self.register)
        if len(self._keys) == known:
            return
        spec = self._spec
        rules = {
            AlarmKind.OVER: spec.thresholds,
            AlarmKind.UNDER: spec.thresholds,
            AlarmKind.FLATLINE: spec.flatline,
            AlarmKind.SPIKE: spec.spike,
            AlarmKind.REVERSE_FLOW: spec.reverse_flow,
            AlarmKind.NIGHT_LEAK: spec.night_leak,
            AlarmKind.SILENCE: spec.silence,
        }
        names = list(self._keys.ids)[known:]
        watched = np.array([[_fits(rules[kind], key) for kind in KINDS] for key in names], bool)
        register = np.array([spec.reverse_flow.enabled and self._is_register(key) for key in names], bool)
        watched[:, NUMBER[AlarmKind.REVERSE_FLOW]] |= register
        self.watched = np.concatenate([self.watched, watched])
        self.register = np.append(self.register, register)

    def _is_register(self, key: Key) -> bool:
        rule = self._spec.reverse_flow
        return key[2] in rule.registers and (not rule.metrics or key[1] in rule.metrics)

    def of(self, kind: AlarmKind) -> Mask:
        """By key: whether it is watched. A view."""
        return self.watched[:, NUMBER[kind]]


def _fits(rule: Rule, key: Key) -> bool:
    return (
        rule.enabled
        and (not rule.metrics or key[1] in rule.metrics)
        and (not rule.attributes or key[2] in rule.attributes)
    )
