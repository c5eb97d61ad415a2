import json
from itertools import pairwise

import numpy as np
from meterpipe.core.codecs import Decoder
from meterpipe.core.validation.stage import Stage
from meterpipe.datasets.validation_oracle import Oracle, Passed, Reading, Refused
from meterpipe.spec.validation import Validation

START = 1_704_067_200_000
MINUTE = 60_000


def message(reading):
    names = ("gateway", "metricType", "metricAttribute", "timestamp", "value", "interval", "quality", "revision")
    return json.dumps(dict(zip(names, reading[:8], strict=True))).encode()


def spec_of(**changes):
    return Validation.model_validate({"enabled": True} | changes)


def stage_of(spec, max_ahead=2**40):
    return Stage(spec, Decoder(), max_ahead)


def take(stage, readings):
    """Passed and refused readings of one batch, in order."""
    appended = np.array([reading.appended for reading in readings], np.int64)
    return outcome(stage, stage.take([message(r) for r in readings], appended))


def outcome(stage, judged):
    names = list(stage.judge.keys.ids)
    passed, refused = [], []
    for rows, _ in judged.passed:
        columns = (rows.key, rows.ts, rows.value, rows.interval_s, rows.quality, rows.revision, rows.epoch)
        for key, *numbers, epoch in zip(*(c.tolist() for c in columns), strict=True):
            passed.append(Passed(*names[key], *numbers, None if epoch < 0 else epoch))
    for rows, rules, reasons in judged.refused:
        assert len(rows) == len(rules) == len(reasons)
        for key, ts, value, rule in zip(rows.key.tolist(), rows.ts.tolist(), rows.value.tolist(), rules, strict=True):
            refused.append(Refused(*names[key], ts, value, rule.title))
    return passed, refused


def run(spec, readings, cuts=()):
    """All passed and refused readings, the log cut into batches at `cuts`."""
    stage, passed, refused = stage_of(spec), [], []
    bounds = [0, *sorted(cuts), len(readings)]
    for first, end in pairwise(bounds):
        some, others = take(stage, readings[first:end])
        passed += some
        refused += others
    assert stage.tally.missing == 0
    assert stage.tally.raw == len(readings)
    return passed, refused, stage


def expected(spec, readings):
    oracle = Oracle(spec).take_all(readings)
    return oracle.passed, oracle.refused, oracle


def register(ts, value, meter="m", **more):
    return Reading(meter, "ELECTRICITY", "SUMMATION", START + ts, value, **more)


def power(ts, value, meter="m", **more):
    return Reading(meter, "ELECTRICITY", "ACTIVE_POWER", START + ts, value, **more)
