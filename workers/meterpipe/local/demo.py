"""The demo: the whole pipeline on real household data, and the proof that its numbers are right."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaException

from meterpipe.adapters.progress import Progress
from meterpipe.core.balance import Balance
from meterpipe.datasets.households import Household
from meterpipe.datasets.packaged import NotAvailableError, read_packaged_london
from meterpipe.local import process, replayed
from meterpipe.local.errors import LocalError
from meterpipe.local.live import Live
from meterpipe.local.paths import DataDir, cache_dir
from meterpipe.local.replayed import DAY_MS, Replayed
from meterpipe.local.replayer import Replayer, readings_of
from meterpipe.local.session import Session
from meterpipe.local.verdict import Verdict, judge
from meterpipe.local.view import View

FIRST_DAY = 1_350_086_400_000  # 2012-10-13, the first day on which both households have readings
LAST_DAY = 1_390_521_600_000  # 2014-01-24, the last one
MOST_DAYS = (LAST_DAY - FIRST_DAY) // DAY_MS + 1
LOOK_EVERY = 1.0
STANDSTILL = 90.0  # seconds without any change after which the demo gives up
CLOSE = 500  # offsets of lag that are few enough to be read one by one


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user wants the pipeline to hold."""

    households: int
    days: int

    def replayed(self) -> Replayed:
        """The same as days."""
        return Replayed(self.households, FIRST_DAY, FIRST_DAY + self.days * DAY_MS)


def load_households() -> Sequence[Household]:
    """The two London households, fetched into the cache the first time."""
    try:
        return read_packaged_london(cache_dir()).households
    except NotAvailableError as error:
        raise LocalError(
            str(error), "the package index must be reachable; a mirror is named by UV_INDEX_URL"
        ) from error


def plan(data: DataDir, pipeline: str, wish: Wish) -> Replayed:
    """The days that are still to be sent to `pipeline` for it to hold what is wished."""
    return replayed.left_to_send(replayed.load(data.replayed(pipeline)), wish.replayed())


def perform(running: Session, base: Sequence[Household], todo: Replayed, screen: View) -> Verdict:
    """Send what is missing, wait until all of it is through, compare."""
    note = running.data.replayed(running.config.pipeline.metadata.name)
    sender = Replayer(running.config, base, todo, note)
    progress = Progress(running.config)
    try:
        sender.start()
        balance = _wait(running, sender, progress, screen)
    finally:
        sender.stop()
        progress.close()
    held = replayed.load(note)
    if held is None:
        raise LocalError("nothing was sent", "run it again")
    screen.say("comparing all windows with a recomputation from the readings")
    return judge(running.config, list(readings_of(base, held)), balance)


def _wait(running: Session, sender: Replayer, progress: Progress, screen: View) -> Balance:
    """Look on until every reading is in a closed window, in Cassandra and in the lake."""
    live = Live(running.metrics, progress.lag_or_none)
    changed, before = time.monotonic(), None
    while True:
        for line in running.supervisor.tick():
            screen.say(line)
        if sender.error:
            raise sender.error
        figures = live.look()
        screen.show(figures, [("sent", f"{sender.publisher.sent.readings:,}")])
        if not sender.is_alive() and (balance := _through(progress)):
            sent = sender.publisher.sent.readings
            speed = f", {sent / figures.seconds:,.0f} readings/s through everything" if sent else ""
            screen.say(f"all is through after {figures.seconds:.1f} s{speed}")
            return balance
        now = (sender.publisher.sent.readings, figures.readings, figures.windows, figures.rows, figures.lake_rows)
        if now != before:
            before, changed = now, time.monotonic()
        elif time.monotonic() - changed > STANDSTILL:
            raise _standstill(running, progress)
        time.sleep(LOOK_EVERY)


def _through(progress: Progress) -> Balance | None:
    """The balance, if all workers have committed all their input and no window is open."""
    try:
        if any(progress.lag(kind) > CLOSE for kind in progress.kinds) or any(
            progress.remaining(kind) for kind in progress.kinds
        ):
            return None
        balance = progress.balance()
    except KafkaException:  # busy; asked again in a moment
        return None
    return None if balance.open else balance


def _standstill(running: Session, progress: Progress) -> LocalError:
    lag = {kind: progress.lag(kind) for kind in progress.kinds}
    worst = max(lag, key=lambda kind: lag[kind])
    tails = [
        f"{name}:\n{process.log_tail(running.data, name, 5)}" for name in running.metrics if name.startswith(worst)
    ]
    return LocalError(
        f"nothing has moved for {STANDSTILL:.0f} s; lag {lag}, open readings {progress.balance().open}\n"
        + "\n".join(tails),
        f"see the logs in {running.data.root / 'logs'}",
    )
