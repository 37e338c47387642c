"""The whole pipeline over event files until drained: embedded broker, feeder, worker processes, then the alerts."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from typing import NamedTuple

from schemas.codec import Codec
from schemas.errors import ConfigurationError, SellerpulseError
from schemas.events import MS_A_DAY, TOPICS
from schemas.rows import Mark, Standard
from sink.connect import is_server
from sink.process import Addresses, DatabaseProcess
from sink.store import Store
from streams.agents import dead_letter_topics, now_ms
from streams.broker import PARTITIONS, EmbeddedBroker, Progress, Window
from streams.connectors.files import Source
from streams.core.metrics import iso
from streams.credentials import desk_of, open_store
from streams.feeder import Fed, Feeder
from streams.inforce import in_force
from streams.run import WorkerProcesses
from streams.sections import ClickHouse, Kafka
from streams.settings import Settings

POLL_S = 0.1
DATA_TOPICS = (*TOPICS, *dead_letter_topics())


class Watch(NamedTuple):
    """Who follows a replay: each stage with how much of how much is done."""

    fed: Callable[[int, int], None]  # bytes
    drained: Callable[[int, int], None]  # records
    rows: Callable[[int, int], None]  # accounts


def _nothing(done: int, total: int) -> None:
    """Nobody watches."""


QUIET = Watch(_nothing, _nothing, _nothing)


class Replayed(NamedTuple):
    """What a replay did: what became of the input, the as-of day, and seconds a stage."""

    fed: Fed
    as_of: int
    seconds: dict[str, float]


class Replay:
    """A pipeline over files, open: an embedded broker with workers on it, and the store that they write to."""

    def __init__(self, settings: Settings, store: Store, pipe: "Pipe", at: Addresses) -> None:
        self.store, self.url, self.analysts = store, at.url, at.analysts
        self._settings, self._pipe = settings, pipe

    def run(self, sources: Sequence[Source], *, as_of: int | None = None, watch: Watch) -> Replayed:
        """Feed the sources, wait until every row is right and the rules are evaluated over all of them.

        The as-of day moves to `as_of`, or to the day of the last accepted event. Interrupted at any moment, it can
        be run again. Raises ConfigurationError if that day is before the first event, SellerpulseError for no event.
        """
        clock = _Stopwatch()
        fed = self._pipe.feed(sources, watch)
        clock.lap("feed")
        self._pipe.drain(watch)
        clock.lap("drain")
        day = _as_of_day(self.store, fed, as_of)
        self._pipe.settle(self.store, day, self._settings.standard(judged=True), watch)
        clock.lap("rows")
        return Replayed(fed, day, clock.seconds)


@contextmanager
def replaying(settings: Settings, *, workers: int = 1, port: int = 0, analysts: bool = False) -> Iterator[Replay]:
    """A `Replay` for the block. An embedded database is served to all its processes, on loopback at `port`.

    With `analysts` it is also served to them, as the settings say.
    """
    with ExitStack() as stack:
        processes = stack.enter_context(WorkerProcesses(workers))  # first, for what they load meanwhile
        clickhouse = settings.clickhouse
        at = Addresses(clickhouse.url, None)
        if not is_server(clickhouse.url):
            desk = desk_of(clickhouse) if analysts else None
            at = stack.enter_context(DatabaseProcess(clickhouse.url, port, desk))
            clickhouse = ClickHouse(url=at.url)
        store = open_store(clickhouse)
        stack.callback(store.close)
        store.adopt(in_force(settings))
        broker = EmbeddedBroker(DATA_TOPICS)
        stack.callback(broker.close)
        kafka = Kafka(bootstrap=broker.bootstrap, group=settings.kafka.group)  # in plain text, without a registry
        processes.work(settings.model_copy(update={"kafka": kafka, "clickhouse": clickhouse}))
        stack.callback(processes.stop)  # before what they work on is gone
        pipe = Pipe(kafka, processes)
        stack.callback(pipe.close)
        yield Replay(settings, store, pipe, at)


class Pipe:
    """An embedded broker with workers on it, fed from this process."""

    def __init__(self, kafka: Kafka, workers: WorkerProcesses) -> None:
        every = [(topic, partition) for topic in DATA_TOPICS for partition in range(PARTITIONS)]
        self._progress = Progress(kafka.bootstrap, kafka.group, every)
        self._workers = workers
        window = Window(self._progress, while_waiting=workers.check)
        self._feeder = Feeder(kafka, Codec(), clock=now_ms, window=window)

    def feed(self, sources: Sequence[Source], watch: Watch) -> Fed:
        """Send all of the sources; returns when the broker has them."""
        return self._feeder.feed(sources, watch.fed)

    def drain(self, watch: Watch) -> None:
        """Wait until all that was sent is durable."""
        total = sum(end for _, end in self._progress.ends().values())
        while (done := sum(self._progress.committed().values())) < total:
            watch.drained(done, total)
            self._workers.check()
            time.sleep(POLL_S)
            # Dead letters that the workers write come on top.
            total = sum(end for _, end in self._progress.ends().values())
        watch.drained(total, total)

    def settle(self, store: Store, as_of: int, standard: Standard, watch: Watch) -> None:
        """Move the as-of day and wait until every account has its rows and its alerts."""
        store.move_as_of(as_of)
        waiting = set(store.behind(as_of, standard, thorough=False))
        most = 0
        while True:
            asked = time.monotonic()
            marks = store.marks(list(waiting))
            waiting = {key for key in waiting if not _is_right(marks.get(key), standard, as_of)}
            # That rows lag events alone shows only in a look at every event.
            if not waiting and not (waiting := set(store.behind(as_of, standard))):
                break
            most = max(most, len(waiting))
            watch.rows(most - len(waiting), most)
            self._workers.check()
            time.sleep(POLL_S + 3 * (time.monotonic() - asked))  # asked more often it would keep them from their work
        watch.rows(most, most)

    def close(self) -> None:
        """Let go of the broker."""
        self._progress.close()


def _is_right(mark: Mark | None, standard: Standard, as_of: int) -> bool:
    return mark is not None and mark.standard == standard and mark.as_of >= as_of


def _as_of_day(store: Store, fed: Fed, asked: int | None) -> int:
    """The as-of day that is due, never before the stored one."""
    if asked is not None or not fed.accepted:
        first = store.first_day()
        if first is None:
            raise SellerpulseError("there is no event, so there is nothing to compute")
        if asked is not None and asked < first:
            raise ConfigurationError(f"{iso(asked)} is before the first event, which is of {iso(first)}")
    days = [day for day in (store.as_of(), asked) if day is not None]
    if asked is None and fed.last_ms is not None:
        days.append(fed.last_ms // MS_A_DAY)
    if not days:  # events of a replay that was interrupted, and nothing accepted since
        raise SellerpulseError("no event was accepted, and none tells the as-of day: give --as-of")
    return max(days)


class _Stopwatch:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name], self._since = now - self._since, now


def parse_day(text: str) -> int:
    """YYYY-MM-DD as a day number. Raises ValueError."""
    return (date.fromisoformat(text) - date(1970, 1, 1)).days
