"""What the pods of a worker say at /metrics, as values. The names are those of the workers' list of metrics."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from meterpipe_operator.autoscale.policy import Pod, Sample
from meterpipe_operator.kinds import Manifest

RECORDS = "meterpipe_records_total"
READINGS = "meterpipe_readings_total"
BUSY = "meterpipe_busy_seconds_total"
LAG = "meterpipe_lag_records"
PARTITIONS = "meterpipe_assigned_partitions"
ASKED = frozenset({RECORDS, READINGS, BUSY, LAG, PARTITIONS})
TIMEOUT = aiohttp.ClientTimeout(total=5)
AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at all pods of one worker. `readings`: by pod, since its start."""

    sample: Sample
    readings: Mapping[str, float]


def parsed(exposition: str) -> dict[str, float]:
    """Sums over all labels of the metrics that are asked for, from Prometheus' text format; NaN counts as nothing."""
    sums: dict[str, float] = defaultdict(float)
    for line in exposition.splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if name in ASKED:
            value = float(line.rpartition("}")[2].split()[0] if "{" in line else line.split()[1])
            sums[name] += value if value == value else 0.0
    return dict(sums)


def pod_of(name: str, figures: Mapping[str, float]) -> Pod:
    """The figures that the scaling policy needs."""
    records, busy, lag = (figures.get(metric, 0.0) for metric in (RECORDS, BUSY, LAG))
    return Pod(name, records, busy, lag, int(figures.get(PARTITIONS, 0)))


def rate(earlier: Figures, later: Figures) -> float:
    """Readings a second between two looks, over the pods seen in both."""
    seconds = later.sample.at - earlier.sample.at
    grown = [
        count - earlier.readings[name]
        for name, count in later.readings.items()
        if name in earlier.readings and count >= earlier.readings[name]
    ]
    return sum(grown) / seconds if seconds > 0 else 0.0


def targets(pods: Iterable[Manifest]) -> list[tuple[str, str]]:
    """Name and URL of each pod that runs and is not on its way out."""
    return [
        (pod["metadata"]["name"], f"http://{_host(pod['status']['podIP'])}:{port}/metrics")
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        and pod.get("status", {}).get("phase") == "Running"
        and pod["status"].get("podIP")
        and (port := _port(pod)) is not None
    ]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _port(pod: Manifest) -> int | None:
    ports: Sequence[Mapping[str, Any]] = pod["spec"]["containers"][0].get("ports") or ()
    return next((port["containerPort"] for port in ports if port.get("name") == "metrics"), None)


class Scraper:
    """Asks pods for their figures. A pod that does not answer is missing from the look, which then is incomplete."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def look(self, at: float, pods: Sequence[Manifest], expected: int) -> Figures:
        """Ask all pods of one worker; `at`: the time now, `expected`: how many should answer."""
        asked = targets(pods)
        answers = await asyncio.gather(*(self._ask(url) for _, url in asked))
        told = {name: figures for (name, _), figures in zip(asked, answers, strict=True) if figures is not None}
        sample = Sample(at, tuple(pod_of(name, one) for name, one in told.items()), len(told) >= expected)
        return Figures(sample, {name: figures.get(READINGS, 0.0) for name, figures in told.items()})

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _ask(self, url: str) -> dict[str, float] | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT)
        async with self._slots:
            try:
                async with self._session.get(url) as response:
                    return parsed(await response.text()) if response.status == 200 else None
            except (aiohttp.ClientError, TimeoutError, ValueError, IndexError):
                return None
