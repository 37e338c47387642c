"""The whole pipeline moved by hand: a log in partitions, workers that come and go, every call of the sink on command.

Kafka is a list a partition and a table of committed offsets. A worker is a pipeline with a thread whose calls wait
until the test makes them, in time or long after the worker lost its partitions. Nothing here takes time: a loop whose
clock stands still until nothing else can happen.
"""

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor, Future
from typing import Any, Literal, NamedTuple

from aiokafka.partitioner import murmur2

from schemas.codec import Codec
from schemas.errors import Unavailable
from schemas.events import MS_A_DAY, TOPICS, UNKNOWN_TOPIC
from schemas.rows import AccountId, Standard
from sink.memory import MemoryStore
from streams.core.metrics import Terms
from streams.intake import Outgoing, Partition
from streams.pipeline import Pipeline, Tenure

DEAD_LETTERS = tuple(f"{topic}.dlq" for topic in (*TOPICS, UNKNOWN_TOPIC))
CODEC = Codec()
STANDARD = Standard(1)
FINISH_S = 8.0

# What becomes of a call of the sink: it is made and answered; made, and the answer is lost; or not made at all.
Outcome = Literal["done", "answer lost", "not made"]


class HandMovedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while nothing else can happen, and then at once."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        super().__init__(_Impatient(self))

    def time(self) -> float:
        return self.passed_s


class _Impatient(selectors.SelectSelector):
    def __init__(self, loop: HandMovedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits for what will not come")
        self._loop.passed_s += timeout
        return super().select(0)


def play(drama: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on a hand-moved loop."""
    with asyncio.Runner(loop_factory=HandMovedLoop) as runner:
        runner.run(drama)


async def settle(seconds: float = 0.0) -> None:
    """Let everything happen that can, without time or within so much of it."""
    for _ in range(12):
        await asyncio.sleep(0)
    if seconds:
        await asyncio.sleep(seconds)


class Record(NamedTuple):
    """What a consumer gets."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    offset: int
    timestamp: int


class Log:
    """Topics in partitions, and what is committed of them."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        every = [(topic, n) for topic in (*TOPICS, *DEAD_LETTERS) for n in range(partitions)]
        self.records: dict[Partition, list[Record]] = {partition: [] for partition in every}
        self.committed: dict[Partition, int] = dict.fromkeys(every, 0)

    def home(self, key: bytes) -> int:
        """The partition that a key belongs in."""
        return int(murmur2(key) & 0x7FFFFFFF) % self.partitions

    def append(self, to: Outgoing) -> None:
        """A record at the end of its partition."""
        partition = to.partition if to.partition is not None else self.home(to.key or b"")
        records = self.records[to.topic, partition]
        records.append(Record(to.key, to.value, tuple(to.headers), len(records), 0))

    def is_drained(self) -> bool:
        return all(self.committed[at] == len(records) for at, records in self.records.items())


class _Call(NamedTuple):
    future: Future[Any]
    make: Callable[[], Any]


class Thread(Executor):
    """A sink's thread: one call after another, each when it is told to."""

    def __init__(self) -> None:
        self.calls: deque[_Call] = deque()

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.append(_Call(future, lambda: call(*args, **kwargs)))
        if len(self.calls) == 1:
            future.set_running_or_notify_cancel()
        return future

    def step(self, outcome: Outcome = "done") -> bool:
        """Make the first call, with this outcome; whether there was one."""
        if not self.calls:
            return False
        future, make = self.calls.popleft()
        try:
            result = make() if outcome != "not made" else None
            if outcome == "done":
                future.set_result(result)
            else:
                future.set_exception(Unavailable(outcome))
        except Exception as failed:  # noqa: BLE001  # as an executor's thread does
            future.set_exception(failed)
        while self.calls and not self.calls[0].future.set_running_or_notify_cancel():
            self.calls.popleft()
        return True


class Worker:
    """A worker in one tenure, with where it reads; it starts with a look at what a crash may have left."""

    def __init__(self, world: "World", owned: Iterable[int]) -> None:
        self.world, self.thread = world, Thread()
        tenure = Tenure(world.generation, world.store.next_epoch(), world.log.partitions, frozenset(owned))
        self.pipeline = Pipeline(
            world.store, CODEC, lambda _: world.terms, tenure=tenure, standard=STANDARD, as_of=world.store.as_of(),
            thread=self.thread, clock=lambda: world.now_ms, send=self._send, commit=self._commit, judge=self._judge,
        )  # fmt: skip
        self.reads = {at: offset for at, offset in world.log.committed.items() if at[1] in tenure.owned}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._begin("days", self.pipeline.mend())

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """One task of each name at a time: a worker flushes in one and turns the days in another."""
        task = self._tasks.get(name)
        if task is None or task.done():
            if task is not None and not task.cancelled():
                task.result()
            self._tasks[name] = asyncio.create_task(work)
        else:
            work.close()

    def take(self, at: Partition, most: int) -> None:
        """Fetch a batch and hand it on."""
        batch = self.world.log.records[at][self.reads[at] : self.reads[at] + most]
        if batch:
            self.reads[at] += len(batch)
            topic, partition = at
            if topic in DEAD_LETTERS:
                self._begin(f"take {at} {self.reads[at]}", self.pipeline.take_rejected(topic, partition, batch))
            else:
                taking = self.pipeline.take(topic, partition, batch)  # type: ignore[arg-type]
                self._begin(f"take {at} {self.reads[at]}", taking)

    def flush(self, idle: bool = True) -> None:
        self._begin("flush", self.pipeline.flush(idle))

    def turn(self, day: int) -> None:
        self._begin("days", self.pipeline.turn(day))

    def finish(self) -> None:
        self._begin("finish", self.pipeline.finish(FINISH_S))

    def is_busy(self) -> bool:
        return bool(self.thread.calls) or any(not task.done() for task in self._tasks.values())

    async def step(self, outcome: Outcome = "done") -> bool:
        """One call of the sink, and what follows from it."""
        stepped = self.thread.step(outcome)
        await settle(15.0 if outcome != "done" else 0.0)  # the longest pause before it is tried again
        return stepped

    def kill(self) -> None:
        """The process is gone, with what it would have done."""
        for task in self._tasks.values():
            task.cancel()
        self.thread.calls.clear()

    def failed(self) -> list[BaseException]:
        """What tasks ended with, other than their tenure's end."""
        ended = [task for task in self._tasks.values() if task.done() and not task.cancelled()]
        return [error for task in ended if (error := task.exception()) is not None]

    async def _send(self, records: list[Outgoing]) -> None:
        await asyncio.sleep(0)
        for record in records:
            self.world.log.append(record)

    async def _commit(self, offsets: dict[Partition, int]) -> None:
        await asyncio.sleep(0)
        if self.pipeline.tenure.generation == self.world.generation:  # else fenced by the group
            self.world.log.committed |= offsets

    async def _judge(self, pipeline: Pipeline, accounts: list[AccountId]) -> None:
        await pipeline.call(self.world.store.alerts, accounts, True)


class World:
    """A log, a store, and the workers of the present and of the past."""

    def __init__(
        self, *, partitions: int = 2, terms: Terms | None = None, now_ms: int, store: MemoryStore | None = None
    ) -> None:
        self.log, self.store = Log(partitions), store or MemoryStore()
        self.terms, self.now_ms = terms or Terms(), now_ms
        self.generation = 0
        self.produced: list[dict[str, Any]] = []
        self.workers: list[Worker] = []
        self.sleepers: list[Worker] = []

    def produce(self, event: dict[str, Any], *, astray: int = 0) -> None:
        """An event on its topic, so many partitions from where it belongs."""
        key = f"{event['seller_id']}|{event['marketplace_id']}".encode()
        partition = (self.log.home(key) + astray) % self.log.partitions
        self.produced.append(event)
        self.log.append(Outgoing(event["topic"], partition, key, CODEC.encode(event["topic"], event), []))

    def assign(self, workers: int) -> None:
        """A new generation: the partitions are dealt out to so many workers. Those of before sleep through it."""
        self.generation += 1
        self.sleepers += self.workers
        self.workers = [Worker(self, range(n, self.log.partitions, workers)) for n in range(workers)]

    def turn(self, day: int) -> None:
        """The day turns: every worker sees it."""
        for worker in self.workers:
            worker.turn(day)

    async def drain(self, day: int) -> None:
        """Everything there is happens, in good order, until nothing is left to do."""
        quiet = 0
        while quiet < 2:
            quiet += 1
            for worker in self.workers:
                for at in worker.reads:
                    worker.take(at, 1_000_000)
                await settle()
                worker.flush()
                worker.turn(day)
                await settle()
                while worker.is_busy():
                    quiet = 0
                    assert await worker.step() or worker.thread.calls, "a worker waits for nothing"
            if not self.log.is_drained():
                quiet = 0

    async def wake(self) -> None:
        """Those who slept do what they had begun."""
        for worker in self.sleepers:
            while await worker.step():
                pass

    def end(self) -> None:
        for worker in self.workers + self.sleepers:
            worker.kill()

    @property
    def day_of_rows(self) -> int | None:
        return self.store.as_of()


def day_of(ms: int) -> int:
    return ms // MS_A_DAY
