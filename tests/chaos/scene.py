"""A scene: workers under load at a place of their own, watched, and at the end held against a clean run."""

import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import psutil
from confluent_kafka import KafkaException, Producer

from schemas.errors import Unavailable
from streams.broker import Progress
from tests.chaos.stream import Stream, Tables, tables
from tests.integration.broker import Broker, fetch
from tests.integration.program import (
    PARTITIONS,
    SELLERPULSE,
    Ground,
    Partition,
    Place,
    Program,
    every_partition,
    laid_out,
    serving,
    wait_until,
)

PART = 200  # records sent at once
LASTS_S = 90.0  # the stream, before it comes again
AHEAD = 2_000  # records that may wait
LOOK_S = 0.25
KILLED_WITHIN_S = 120.0
DRAINED_WITHIN_S = 240.0
RIGHT_WITHIN_S = 90.0


@contextmanager
def alone() -> Iterator[tuple[Ground, Broker]]:
    """A broker and a served folder of their own, for what no test runs."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        folder = Path(scratch)
        fetch()
        broker = Broker(folder)
        broker.start()
        try:
            with serving(folder) as database:
                yield laid_out(folder, broker.bootstrap, database), broker
        finally:
            broker.kill()


class Outcome(NamedTuple):
    """What a fault led to.

    `events`: records sent, those sent again among them. `stall_s`: the longest time in which nothing was committed
    although records waited. `note`: what else was seen.
    """

    fault: str
    kills: int
    events: int
    lost: int
    doubled: int
    differing: int
    stall_s: float
    note: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the guarantee held."""
        return not (self.lost or self.doubled or self.differing)


class Difference(NamedTuple):
    """Rows lost and doubled, of events and of refused records, and rows of `seller_daily` that differ."""

    lost: int
    doubled: int
    differing: int


def difference(found: Tables, wanted: Tables) -> Difference:
    """What is not as in a clean run."""
    rest, right = Counter(found.rest), Counter(wanted.rest)
    daily, right_daily = Counter(found.daily), Counter(wanted.daily)
    differing = max((daily - right_daily).total(), (right_daily - daily).total())
    return Difference((right - rest).total(), (rest - right).total(), differing)


class Watch(threading.Thread):
    """Follows a group: how many records wait, and the longest time in which it got nowhere although some did."""

    def __init__(self, kafka: str, place: Place, partitions: int) -> None:
        super().__init__(name="watch", daemon=True)
        self._kafka, self._group = kafka, place.group
        self._progress = Progress(kafka, place.group, every_partition(partitions))
        self._begin: Mapping[Partition, int] = place.begin
        self._over = threading.Event()
        self._moved = time.monotonic()
        self._done = -1
        self.lag = 0
        self.stall_s = 0.0

    def look_at(self, partitions: int) -> None:
        """The topics have so many partitions now."""
        self._progress = Progress(self._kafka, self._group, every_partition(partitions))

    def run(self) -> None:
        """Look, until stopped."""
        while not self._over.wait(LOOK_S):
            try:
                self.look()
            except (Unavailable, KafkaException):  # a broker that is away
                self.stall_s = max(self.stall_s, time.monotonic() - self._moved)

    def look(self) -> None:
        """See how far it is now."""
        committed, ends = self._progress.committed(), self._progress.ends()
        done = sum(committed.values())
        self.lag = sum(end - max(committed[at], self._begin.get(at, 0)) for at, (_, end) in ends.items())
        now = time.monotonic()
        if done != self._done or self.lag == 0:
            self._done, self._moved = done, now
        self.stall_s = max(self.stall_s, now - self._moved)

    def stop(self) -> None:
        """No more."""
        self._over.set()
        self.join()
        self._progress.close()


class Feed(threading.Thread):
    """Sends the stream in so many seconds, or more if many records wait; over and over until that is enough.

    After that as fast as it can what was not sent at all.
    """

    def __init__(self, kafka: str, stream: Stream, watch: Watch, *, lasts_s: float) -> None:
        super().__init__(name="feed", daemon=True)
        self.sent = self.refused = 0
        self._pause_s = lasts_s * PART / len(stream.records)
        self.paused, self.enough = threading.Event(), threading.Event()
        self._stream, self._watch = stream, watch
        self._over = threading.Event()
        self._failed: Exception | None = None
        self._producer = Producer(
            {
                "bootstrap.servers": kafka, "partitioner": "murmur2_random", "enable.idempotence": True,
                "message.timeout.ms": 900_000,  # longer than any outage
                "log_level": 0,
            }
        )  # fmt: skip

    def run(self) -> None:
        """Until it is enough, and all of it once at least."""
        try:
            for n in count():
                at = n * PART % len(self._stream.records)
                if self._over.is_set() or (self.enough.is_set() and n * PART >= len(self._stream.records)):
                    return
                self._send(at)
        except Exception as failed:  # noqa: BLE001  # told by `finish`
            self._failed = failed

    def _send(self, at: int) -> None:
        self.enough.wait(self._pause_s)
        while (self.paused.is_set() or self._watch.lag > AHEAD) and not self._over.is_set():
            time.sleep(LOOK_S)
        part = self._stream.records[at : at + PART]
        for (topic, key, value, _), _ in part:
            self._producer.produce(topic, value, key)
        if self._producer.flush(900):
            raise RuntimeError("Kafka did not take everything")
        self.sent += len(part)
        self.refused += sum(not sending.is_event for sending in part)
        self._watch.lag += len(part)  # until it is looked at again

    def finish(self) -> None:
        """Block until the stream was sent. Raises what went wrong."""
        self.enough.set()
        self.paused.clear()
        self.join()
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        """At once."""
        self._over.set()
        self.join()


class Scene:
    """One fault's place: a group and a database of its own, workers on them, the stream under way; a `with` block."""

    def __init__(
        self,
        ground: Ground,
        name: str,
        stream: Stream,
        *,
        seed: int,
        db: str | None = None,
        lasts_s: float = LASTS_S,
        partitions: int = PARTITIONS,
    ) -> None:
        self.rng = random.Random(f"{seed} {name}")
        self.name, self.kills, self.note = name, 0, ""
        self.place: Place = ground.place(f"chaos-{name.replace(' ', '-')}-{time.monotonic_ns()}".replace(".", "-"))
        if db is not None:  # a folder, or a server where it has a database of its own
            self.place.db = f"{db}/{self.place.group}" if "://" in db else db
        self.workers: list[Program] = []
        self.watch = Watch(ground.kafka, self.place, partitions)
        self.feed = Feed(ground.kafka, stream, self.watch, lasts_s=lasts_s)
        self._stream = stream

    def start(self, environ: Mapping[str, str] | None = None, **settings: str) -> Program:
        """One more worker."""
        variables = [f"{name}={value}" for name, value in (environ or {}).items()]
        worker = self.place.worker(command=("env", *variables, *SELLERPULSE), **settings)
        self.workers.append(worker)
        return worker

    def begin(self, workers: int, environ: Mapping[str, str] | None = None, **settings: str) -> list[Program]:
        """So many workers share the partitions, and the stream begins."""
        started = [self.start(environ, **settings) for _ in range(workers)]
        wait_until(lambda: self.place.shared_by(workers), 90, f"{workers} workers that share", *started)
        self.load()
        return started

    def load(self) -> None:
        """The stream begins."""
        self.watch.start()
        self.feed.start()

    def drop(self, worker: Program) -> None:
        """This worker is no longer of the scene."""
        self.workers.remove(worker)

    def settle(self, seconds: float) -> None:
        """Let it go on for so long; no worker may end."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for worker in self.workers:
                assert worker.runs(), f"a worker ended: {worker.log()[-3000:]}"
            time.sleep(LOOK_S)

    def moves_on(self, within_s: float = 60) -> None:
        """Block until something was committed after now."""
        before = wait_until(self._progress, within_s, "a broker that tells how far they are")
        wait_until(lambda: self._progress() > before, within_s, "workers that go on", *self.workers)

    def _progress(self) -> int:
        try:
            return self.place.progress()
        except KafkaException:  # a broker that has just started looks for its groups
            return 0

    def _is_drained(self) -> bool:
        try:
            return not self.place.left()
        except KafkaException:
            return False

    def resident_mb(self) -> float:
        """Memory of the workers together."""
        return sum(psutil.Process(worker.process.pid).memory_info().rss for worker in self.workers) / 1e6

    def drain(self) -> None:
        """Send the rest, and wait until nothing waits."""
        self.feed.finish()
        wait_until(self._is_drained, DRAINED_WITHIN_S, f"{self.name}: drained", *self.workers)

    def outcome(self) -> Outcome:
        """Drain, and hold the tables against the clean run's."""
        self.drain()
        self.watch.stop()
        found = self._difference()
        until = time.monotonic() + RIGHT_WITHIN_S
        while any(found) and time.monotonic() < until:  # rows follow
            time.sleep(1)
            found = self._difference()
        return Outcome(self.name, self.kills, self.feed.sent, *found, self.watch.stall_s, self.note)

    def _difference(self) -> Difference:
        found = difference(tables(self.place.db), self._stream.live)
        (counted,) = self.place.ask("SELECT count() AS n FROM rejected_events")
        too_many = int(counted["n"]) - self.feed.refused
        return found._replace(lost=found.lost + max(-too_many, 0), doubled=found.doubled + max(too_many, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.feed.is_alive():
            self.feed.stop()
        if self.watch.is_alive():
            self.watch.stop()
        for worker in self.workers:
            worker.stop() if worker.runs() and error is None else worker.kill()
