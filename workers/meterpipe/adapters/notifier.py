"""The notifier: tells of alarms. The table of open alarms and the webhook are two consumer groups: neither waits for
the other, and whatever dies, each event reaches both at least once.
"""

import logging
import time
from collections.abc import Callable

from meterpipe.adapters.alarm_letters import AlarmLetters
from meterpipe.adapters.alarm_reader import AlarmReader, Taken, Unreadable
from meterpipe.adapters.alarm_table import AlarmTable
from meterpipe.adapters.webhook_lane import WebhookLane
from meterpipe.core.deadletters import Reason
from meterpipe.core.notify.ledger import Place
from meterpipe.spec.connections import WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger("meterpipe.notifier")

STEP_SECONDS = 0.1
GAUGE_SECONDS = 1.0


class Notifier:
    """See worker.ports.Worker."""

    kind = "notifier"

    def __init__(self, config: WorkerConfig, telemetry: Telemetry) -> None:
        spec, names = config.pipeline.spec.alarms.notifier, names_of(config.pipeline)
        self._telemetry = telemetry
        self._letters = AlarmLetters(config.kafka, names.dead_letters, telemetry)
        self._table = AlarmTable(config, telemetry, self._unwritable) if spec.open_alarms else None
        self._webhook = WebhookLane(config, telemetry, self._letters) if spec.webhook else None
        self._lanes: list[AlarmTable | WebhookLane] = [one for one in (self._table, self._webhook) if one is not None]
        self._gauged = 0.0
        self._lagging: set[Place] = set()
        telemetry.gauge_from(Metric.COMMIT_AGE, lambda: max((reader.age() for reader in self._readers), default=0.0))
        telemetry.gauge(Metric.PARTITIONS, 0)

    @property
    def _readers(self) -> list[AlarmReader]:
        return [lane.reader for lane in self._lanes]

    def step(self) -> int:
        """Give each lane its turn."""
        if not self._lanes:
            with self._telemetry.waiting:
                time.sleep(STEP_SECONDS)
        taken = sum(lane.step(STEP_SECONDS / len(self._lanes)) for lane in self._lanes)
        self._letters.poll()
        self._gauge()
        return taken

    def ready(self) -> bool:
        """Whether Cassandra, if there is a table, has been reached. A webhook that is down is no business of ours."""
        return self._table is None or self._table.ready()

    def close(self) -> None:
        """Finish and commit what can be, leave."""
        for lane in self._lanes:
            lane.close()
        self._letters.flush(STEP_SECONDS)

    def _unwritable(self, record: Taken, gone: Callable[[], None]) -> None:
        """A message that is no row. The webhook, where there is one, has made a dead letter of what is no event."""
        match record.event:
            case Unreadable(reason, detail):
                if self._webhook is None:
                    self._letters.send(record, reason, detail, gone)
                else:
                    gone()
            case _:
                self._letters.send(record, Reason.OUT_OF_RANGE, "its key is too long for Cassandra", gone)

    def _gauge(self) -> None:
        now = time.monotonic()
        if now - self._gauged < GAUGE_SECONDS:
            return
        self._gauged = now
        self._telemetry.gauge(Metric.PARTITIONS, max((reader.partitions for reader in self._readers), default=0))
        lags: dict[Place, int] = {}
        for reader in self._readers:
            for place, lag in reader.lags().items():
                lags[place] = max(lag, lags.get(place, 0))
        for topic, partition in self._lagging - lags.keys():
            self._telemetry.forget(Metric.LAG, topic=topic, partition=str(partition))
        for (topic, partition), lag in lags.items():
            self._telemetry.gauge(Metric.LAG, lag, topic=topic, partition=str(partition))
        self._lagging = set(lags)
