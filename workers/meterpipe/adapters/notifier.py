"""The notifier: tells of alarms. The table of open alarms and the webhook are two consumer groups: neither waits for
the other, and whatever dies, each event reaches both at least once.
"""

import logging
import time
from collections.abc import Callable

from meterpipe.adapters.alarm_api import FIELD as API_FIELD
from meterpipe.adapters.alarm_api import ApiServer
from meterpipe.adapters.alarm_letters import AlarmLetters
from meterpipe.adapters.alarm_reader import AlarmReader, Taken, Unreadable
from meterpipe.adapters.alarm_table import AlarmTable
from meterpipe.adapters.ingest.http import listener
from meterpipe.adapters.webhook_lane import WebhookLane
from meterpipe.core.deadletters import Reason
from meterpipe.core.notify.ledger import Place
from meterpipe.spec.connections import NotifierConnection, WorkerConfig
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
        self._api = self._serve(config) if spec.api.enabled else None
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
        """Whether Cassandra, if there is a table, has been reached, and the API, if there is one, takes requests.

        A webhook that is down is no business of ours.
        """
        return (self._table is None or self._table.ready()) and (self._api is None or self._api.ready())

    def close(self) -> None:
        """Finish and commit what can be, leave."""
        if self._api is not None:
            self._api.close()
        for lane in self._lanes:
            lane.close()
        self._letters.flush(STEP_SECONDS)

    def _serve(self, config: WorkerConfig) -> ApiServer:
        spec, host = config.pipeline.spec.alarms.notifier, (config.notifier or NotifierConnection()).host
        bound = listener(host, spec.api.port, spec.replicas > 1, API_FIELD)
        return ApiServer(config, self._telemetry, lambda: self._table.session if self._table else None, bound)

    def _unwritable(self, record: Taken, gone: Callable[[], None]) -> None:
        """A message that is no row. The webhook, where there is one, has made a dead letter of what is no event."""
        match record.event:
            case Unreadable(reason, detail):
                if self._webhook is None:
                    self._letters.send(record, reason, detail, gone)
                else:
                    gone()
            case _:
                self._letters.send(
                    record, Reason.OUT_OF_RANGE, "its meter is empty, or its names are too long for Cassandra", gone
                )

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
