"""Alarms from Kafka to the webhook: at least once, those of one meter in order and one at a time."""

import logging
import random
import time
from dataclasses import dataclass
from functools import partial
from queue import Empty

from meterpipe.adapters.alarm_letters import AlarmLetters
from meterpipe.adapters.alarm_reader import AlarmReader, Taken, Unreadable
from meterpipe.adapters.webhook import Posters, WebhookClient
from meterpipe.core.alarms.events import Alarm
from meterpipe.core.deadletters import Reason
from meterpipe.core.notify.cloudevents import Notice, notice, source_of
from meterpipe.core.notify.outbox import Outbox
from meterpipe.core.notify.policy import EVERYBODY, Answer, Pace, Verdict, backoff
from meterpipe.spec.connections import NotifierConnection, WorkerConfig
from meterpipe.spec.names import names_of
from meterpipe.worker.telemetry import Metric, Telemetry

log = logging.getLogger(__name__)

TAKE = 1000
MOST_HELD = 10_000
"""Alarms that wait, beyond which no more are read: Kafka keeps them."""
RELEASE_SECONDS = 5.0
COMPLAIN_SECONDS = 10.0


@dataclass(slots=True)
class _Delivery:
    record: Taken
    meter: str
    notice: Notice
    attempts: int = 0
    started: float = 0.0


class WebhookLane:
    """One consumer group, to one receiver."""

    def __init__(self, config: WorkerConfig, telemetry: Telemetry, letters: AlarmLetters) -> None:
        spec = config.pipeline.spec.alarms.notifier.webhook
        if spec is None:
            raise ValueError("spec.alarms.notifier.webhook: the pipeline has none")
        names, metadata = names_of(config.pipeline), config.pipeline.metadata
        self._spec, self._telemetry, self._letters = spec, telemetry, letters
        self._kinds = frozenset(kind.value for kind in spec.kinds)
        self._source = source_of(metadata.namespace, metadata.name)
        self._client = WebhookClient(spec, config.notifier or NotifierConnection())
        self._posters: Posters[_Delivery] = Posters(spec.max_in_flight, lambda item: self._client.post(item.notice))
        self._outbox: Outbox[_Delivery] = Outbox()
        self._pace = Pace(spec.max_in_flight)
        self._complained = 0.0
        self.reader = AlarmReader(config.kafka, names.group("webhook"), names.alarms, telemetry, self._release)
        telemetry.gauge_from(Metric.WEBHOOK_PENDING, lambda: self._outbox.held)
        self.reader.start()

    def step(self, seconds: float) -> int:
        """Take in alarms, post, take in answers, commit what is settled; waits at most `seconds`."""
        deadline = time.monotonic() + seconds
        idle = self._outbox.held == 0
        taken = self.reader.read(TAKE, seconds if idle else 0.0, hold=self._outbox.held >= MOST_HELD)
        for record in taken:
            self._queue(record)
        self._work(deadline)
        self._letters.poll()
        self.reader.commit()
        return len(taken)

    def close(self) -> None:
        """Wait a little for answers of what is under way, commit, leave."""
        self.reader.close()
        self._client.close()

    # alarms in

    def _queue(self, record: Taken) -> None:
        match record.event:
            case Unreadable(reason, detail):
                self._bury(record, reason, detail)
            case Alarm() as event if self._kinds and event.kind not in self._kinds:
                self._telemetry.count(Metric.NOTIFICATIONS, outcome="skipped")
                self.reader.settled((record,))
            case Alarm() as event:
                told = notice(event, record.message.value() or b"", self._source)
                self._outbox.put(event.meter, _Delivery(record, event.meter, told))

    # requests out

    def _work(self, deadline: float) -> None:
        """Post and take in answers until there is nothing to do or it is time for something else."""
        self._post()
        while self._outbox.flying and (left := deadline - time.monotonic()) > 0:
            if not self._take_answers(left):
                break
            self._post()
        left = deadline - time.monotonic()
        if self._outbox.held and not self._outbox.flying and left > 0:  # all of it waits for its time
            with self._telemetry.waiting:
                time.sleep(left)

    def _post(self) -> None:
        now = time.monotonic()
        most = self._pace.allowed if now >= self._pace.until else 0
        for delivery in self._outbox.take(now, most):
            delivery.attempts += 1
            delivery.started = now
            self._posters.ask(delivery)

    def _take_answers(self, seconds: float) -> bool:
        """Take in those that are there; wait for the first. Whether there was one."""
        try:
            with self._telemetry.waiting:
                found = self._posters.answers.get(timeout=seconds)
            while True:
                self._settle(*found)
                found = self._posters.answers.get_nowait()
        except Empty:
            return False

    def _settle(self, delivery: _Delivery, answer: Answer | BaseException) -> None:
        self._posters.answered()
        if isinstance(answer, BaseException):
            raise answer
        verdict, now = answer.verdict, time.monotonic()
        self._telemetry.observe(Metric.WEBHOOK_SECONDS, answer.seconds)
        self._telemetry.count(Metric.WEBHOOK_ATTEMPTS, verdict=verdict.value)
        if verdict is Verdict.AGAIN:
            self._pace.failed(delivery.started, now, random.random())
            if answer.wait is not None and answer.status in EVERYBODY:
                self._pace.told(now + answer.wait)
        else:
            self._pace.taken()
        if delivery.record.term != self.reader.term:
            return  # of a partition that has gone: whoever has it now sends it again
        if verdict is Verdict.TAKEN:
            self._outbox.done(delivery.meter)
            self._telemetry.count(Metric.NOTIFICATIONS, outcome="delivered")
            self.reader.settled((delivery.record,))
        elif verdict is Verdict.REFUSED:
            self._refuse(delivery, f"attempt {delivery.attempts}: {answer.detail}")
        elif time.time() - delivery.record.at > self._spec.give_up_after:
            late = f"not taken within {self._spec.give_up_after} s; attempt {delivery.attempts}: {answer.detail}"
            self._refuse(delivery, late)
        else:
            pause = max(backoff(delivery.attempts, random.random()), answer.wait or 0.0)
            self._outbox.again(delivery.meter, now + pause)
            self._complain(answer)

    def _refuse(self, delivery: _Delivery, detail: str) -> None:
        """It becomes a dead letter; the meter's next alarm need not wait for that."""
        self._outbox.done(delivery.meter)
        self._telemetry.count(Metric.NOTIFICATIONS, outcome="refused")
        self._bury(delivery.record, Reason.WEBHOOK_REFUSED, detail)

    def _bury(self, record: Taken, reason: Reason, detail: str) -> None:
        log.warning("refused %s: %s (%s)", record.origin, reason, detail)
        self._letters.send(record, reason, detail, partial(self.reader.settled, (record,)))

    def _complain(self, answer: Answer) -> None:
        now = time.monotonic()
        if now - self._complained > COMPLAIN_SECONDS:
            self._complained = now
            log.warning("the webhook does not take alarms, %d wait: %s", self._outbox.held, answer.detail)

    def _release(self) -> None:
        """Partitions go: requests under way are given a little time to be answered; nothing more is sent."""
        deadline = time.monotonic() + RELEASE_SECONDS
        while self._outbox.flying and (left := deadline - time.monotonic()) > 0:
            self._take_answers(left)
        self._letters.flush(RELEASE_SECONDS)
        self.reader.commit()
        self._outbox = Outbox()
