"""Real readings into a pipeline of the cluster, day by day, and the proof that its numbers are right.

Both are done in the platform's client pod: this machine sends nothing itself.
"""

import csv
import io
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import dataplatform
import numpy as np
from dataplatform import Platform
from meterpipe.datasets.packaged import read_packaged_london
from meterpipe.local.paths import cache_dir

DAY_MS = 86_400_000
FIRST_DAY = 1_350_086_400_000  # 2012-10-13, the first day on which both households have readings
DAYS = 100
HOUSEHOLDS = 20
FILE = "/tmp/london.csv"
JUDGE = Path(__file__).parent / "data_platform" / "judge.py"


@dataclass
class Load:
    """Days of readings for one pipeline: each call of `start` sends the next ones, `check` compares all sent so far."""

    platform: Platform
    namespace: str
    name: str
    spec: Mapping[str, Any]
    households: int = HOUSEHOLDS
    sent: int = 0  # days
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, days: int = 1, rate: float | None = None) -> None:
        """Begin to send days in the background; ``rate``: readings a second, None as fast as can be."""
        self._configure()
        since, self.sent = FIRST_DAY + self.sent * DAY_MS, self.sent + days
        until = FIRST_DAY + self.sent * DAY_MS
        words = ["replay", "--dataset", "london", "--file", FILE, "--households", str(self.households), "--json"]
        span = ["--from", _iso(since), "--to", _iso(until), "--config", self._file]
        pace = ["--rate", str(rate)] if rate else []
        self.running.append(self.platform.background("meterpipe", *words, *span, *pace))

    def finish(self) -> None:
        """Wait until all that was begun is sent."""
        while self.running:
            process = self.running.pop(0)
            out, error = process.communicate(timeout=600)
            assert process.returncode == 0, out + error

    def send(self, days: int = 1, rate: float | None = None) -> None:
        """Send days and wait until they are sent."""
        self.start(days, rate)
        self.finish()

    def check(self, seconds: float = 120, judge: Path = JUDGE) -> dict[str, Any]:
        """Wait until all is through, then fail unless every window and the lake are as recomputed; the figures.

        ``judge``: another script that looks at other results.
        """
        self.finish()
        until = FIRST_DAY + self.sent * DAY_MS
        arguments = (self._file, FILE, self.households, FIRST_DAY, until, seconds)
        printed = self.platform.python(judge.read_text(), *map(str, arguments), timeout=seconds + 120)
        found: dict[str, Any] = json.loads(printed.splitlines()[-1])
        assert found["problems"] == [], "\n".join(found["problems"])
        return found

    def threshold(self, judge: Path) -> None:
        """Set the alarms' threshold that the judge works with."""
        self._configure()
        self.platform.python(judge.read_text(), "threshold", self._file)

    @property
    def _file(self) -> str:
        return f"/tmp/{self.namespace}-{self.name}.json"

    def _configure(self) -> None:
        if not self.platform.has(FILE):
            self.platform.put(FILE, london(DAYS))
        self.platform.put(self._file, json.dumps(config(self.namespace, self.name, self.spec)))


def config(namespace: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a WorkerConfig by which the client pod reaches what a pipeline uses, as superuser."""
    resource = {"apiVersion": "meterpipe.io/v1alpha1", "kind": "MeterPipeline", "spec": spec}
    redis = spec.get("activity", {}).get("redis")
    superuser = {"username": "main-superuser", "passwordFile": "/secrets/cassandra/password"}
    return {
        "pipeline": {**resource, "metadata": {"name": name, "namespace": namespace}},
        "kafka": {"bootstrapServers": f"{dataplatform.BOOTSTRAP}:9092"},
        "cassandra": {"contactPoints": [dataplatform.CASSANDRA], "datacenter": "dc1", **superuser},
        "lake": {
            "endpoint": dataplatform.S3,
            "accessKeyFile": "/secrets/s3/accessKey",
            "secretKeyFile": "/secrets/s3/secretKey",
        },
        **({"redis": {"host": redis["host"]}} if redis and redis.get("host") else {}),
    }


@cache
def london(days: int) -> str:
    """Return the first days of the two London households in the form of the trial's own files."""
    rows: list[Sequence[object]] = [("LCLid", "stdorToU", "DateTime", "KWH/hh (per half hour) ")]
    for household in read_packaged_london(cache_dir()).households:
        inside = (household.ts >= FIRST_DAY) & (household.ts < FIRST_DAY + days * DAY_MS)
        (channel,) = household.take(inside).channels
        for ts, value in zip(household.ts[inside], channel.value, strict=True):
            stamp = datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.0000000")
            rows.append((household.meter, "Std", stamp, "Null" if np.isnan(value) else repr(float(value))))
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
