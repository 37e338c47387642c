"""The whole pipeline moved by hand: a log in partitions, workers that come and go, every call of the sink on command.

Kafka is a list a partition and a table of committed offsets. A worker is a pipeline with a thread whose calls wait
until the test makes them: in time, or long after the worker lost its partitions. Nothing takes time: the loop's clock
stands still until nothing else can happen.
"""

import asyncio
import json
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Executor, Future
from typing import Any, Literal, NamedTuple, cast

from aiokafka.partitioner import murmur2

from schemas.codec import Codec
from schemas.errors import Unavailable
from schemas.events import TOPICS, UNKNOWN_TOPIC, Topic, account_key
from schemas.rows import Standard
from streams.alerter import TOPIC, Alerter
from streams.casework import CaseChange
from streams.checking import Sampler
from streams.core.metrics import Terms
from streams.core.rules import Rule
from streams.following import Written
from streams.intake import Outgoing, Partition
from streams.marks import Tenure
from streams.outbox import Outbox
from streams.pipeline import Pipeline
from streams.refusals import NO_LIMIT, Refusals
from streams.rewrite import Historian
from streams.tally import Tally
from tests.memory import MemoryStore

DEAD_LETTERS = tuple(f"{topic}.dlq" for topic in (*TOPICS, UNKNOWN_TOPIC))
CODEC = Codec()
STANDARD = Standard(1)
FINISH_S = 8.0

# What becomes of a call of the sink: it is made and answered; made, and the answer is lost; or not made at all.
Outcome = Literal["done", "answer lost", "not made"]


# --- time ----------------------------------------------------------------------------------------------------


class HandMovedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when nothing else can happen, and then at once."""

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
    """Let everything happen that can, in no time or within so much of it."""
    for _ in range(12):
        await asyncio.sleep(0)
    if seconds:
        await asyncio.sleep(seconds)


# --- Kafka ---------------------------------------------------------------------------------------------------


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

    def append(self, to: Outgoing) -> Record:
        """A record at the end of its partition."""
        partition = to.partition if to.partition is not None else self.home(to.key or b"")
        records = self.records[to.topic, partition]
        records.append(Record(to.key, to.value, tuple(to.headers), len(records), 0))
        return records[-1]

    def is_drained(self) -> bool:
        return all(self.committed[at] == len(records) for at, records in self.records.items())


# --- workers -------------------------------------------------------------------------------------------------


class _Call(NamedTuple):
    name: str
    future: Future[Any]
    make: Callable[[], Any]


class Thread(Executor):
    """A sink's thread: one call after another, each when it is told to. `names` gets those that were."""

    def __init__(self, names: list[str]) -> None:
        self.calls: deque[_Call] = deque()
        self.names = names

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        name = getattr(getattr(call, "func", call), "__name__", "")
        self.calls.append(_Call(name, future, lambda: call(*args, **kwargs)))
        if len(self.calls) == 1:
            future.set_running_or_notify_cancel()
        return future

    def step(self, outcome: Outcome = "done") -> bool:
        """Make the first call, with this outcome; whether there was one."""
        if not self.calls:
            return False
        name, future, make = self.calls.popleft()
        try:
            result = make() if outcome != "not made" else None
        except Exception as failed:  # noqa: BLE001  # as an executor's thread does
            future.set_exception(failed)
        else:
            if outcome != "not made":
                self.names.append(name)
            if outcome == "done":
                future.set_result(result)
            else:
                future.set_exception(Unavailable(outcome))
        while self.calls and not self.calls[0].future.set_running_or_notify_cancel():
            self.calls.popleft()
        return True


class Worker:
    """A worker in one tenure, and where it reads. It starts with a look at what a crash left behind, as a real one."""

    def __init__(self, world: "World", owned: Iterable[int]) -> None:
        names: list[str] = []
        self.world, self.thread, self.computing = world, Thread(names), Thread(names)
        self._steps = 0
        tenure = Tenure(world.generation, world.store.next_epoch(), world.log.partitions, frozenset(owned))
        self.pipeline = Pipeline(
            world.store, world.codec, lambda _: world.terms, tenure=tenure, standard=world.standard,
            as_of=world.store.as_of(), hot_bytes=world.hot_bytes, refusals=world.refusals, thread=self.thread,
            computing=(world.store, self.computing), clock=lambda: world.now_ms, waiting=lambda: world.waiting,
            send=self._send, commit=self._commit, tell=self._tell, judge=self._judge, tally=world.tally,
        )  # fmt: skip
        outbox = Outbox((), lambda: cast("Any", world.store))  # nobody is told, so nobody asks
        is_live = world.rules and world.is_live
        self.alerter = Alerter(world.rules, (), outbox, None) if is_live else Historian(world.rules, ())
        self.sampler = Sampler(world.store, lambda _: world.terms, STANDARD, tenure.epoch, self.pipeline.call)
        self.reads = {at: offset for at, offset in world.log.committed.items() if at[1] in tenure.owned}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._begin("days", self._mend())

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """One task of a name at a time: a worker flushes in one and turns the days in another."""
        if (before := self._tasks.get(name)) is not None and not before.done():
            work.close()
            return
        self._tasks[name] = asyncio.create_task(work)

    def take(self, at: Partition, most: int = 1_000_000) -> None:
        """Fetch a batch and hand it on."""
        batch = self.world.log.records[at][self.reads[at] : self.reads[at] + most]
        if batch:
            self.reads[at] += len(batch)
            topic, partition = at
            taken = (
                self.pipeline.take_rejected(topic, partition, batch)
                if topic in DEAD_LETTERS
                else self.pipeline.take(cast("Topic", topic), partition, batch)
            )
            self._begin(f"take {at} to {self.reads[at]}", taken)

    def take_all(self) -> None:
        for at in self.reads:
            self.take(at)

    def flush(self, *, idle: bool = True) -> None:
        self._begin("flush", self.pipeline.flush(idle))

    def turn(self, day: int) -> None:
        self._begin("days", self._turn(day))

    def finish(self) -> None:
        self._begin("finish", self.pipeline.finish(FINISH_S))

    def is_busy(self) -> bool:
        return self._next() is not None or not all(task.done() for task in self._tasks.values())

    async def step(self, outcome: Outcome = "done") -> bool:
        """One call of the sink, and what follows from it."""
        thread = self._next()
        stepped = thread is not None and thread.step(outcome)
        self._steps += 1
        await settle(15.0 if outcome != "done" else 0.0)  # the longest pause before it is tried again
        return stepped

    async def steps(self, *, until: str = "") -> None:
        """Calls of the sink until none waits, or the next is this one."""
        await settle()
        while (thread := self._next()) is not None and thread.calls[0].name != until:
            await self.step()

    def _next(self) -> Thread | None:
        """Whose call is made next: where both threads have one, the one's and the other's by turns."""
        waiting = [thread for thread in (self.thread, self.computing) if thread.calls]
        return waiting[self._steps % len(waiting)] if waiting else None

    def kill(self) -> None:
        """The process is gone, with all that it would have done."""
        for task in self._tasks.values():
            task.cancel()
        self.thread.calls.clear()
        self.computing.calls.clear()

    def failures(self) -> list[BaseException]:
        """What tasks ended with, other than by themselves or by their tenure's end."""
        ended = [task for task in self._tasks.values() if task.done() and not task.cancelled()]
        return [failed for task in ended if (failed := task.exception()) is not None]

    async def _mend(self) -> None:
        await self.pipeline.mend()
        await self.pipeline.flush()

    async def _turn(self, day: int) -> None:
        await self.pipeline.turn(day)
        await self.pipeline.flush()

    async def _send(self, records: list[Outgoing]) -> None:
        await asyncio.sleep(0)
        for record in records:
            if record.topic == TOPIC:
                self.world.alerts.append(json.loads(record.value or b""))
            else:
                self.world.log.append(record)

    async def _commit(self, offsets: dict[Partition, int]) -> None:
        await asyncio.sleep(0)
        if self.pipeline.tenure.generation == self.world.generation:  # others are fenced by the group
            self.world.log.committed |= offsets

    async def _tell(self, pipeline: Pipeline, changes: Sequence[CaseChange]) -> None:
        await asyncio.sleep(0)
        self.world.told += changes

    async def _judge(self, pipeline: Pipeline, written: Written) -> None:
        if self.world.rules:
            await self.alerter.judge(pipeline, self.world.store, written)
            return
        await pipeline.call(self.world.store.alerts, list(written.versions), True)


class World:
    """A log, a store, and the workers of the present and of the past."""

    def __init__(
        self,
        now_ms: int,
        *,
        partitions: int = 2,
        terms: Terms | None = None,
        codec: Codec = CODEC,
        hot_bytes: int = 1 << 30,
        dlq_limit: float = NO_LIMIT,
        rules: tuple[Rule, ...] = (),
    ) -> None:
        self.rules, self.is_live = rules, True  # else workers judge as those of a replay do
        self.alerts: list[dict[str, Any]] = []  # what is on the topic
        self.log, self.store, self.codec = Log(partitions), MemoryStore(), codec
        self.hot_bytes, self.waiting = hot_bytes, 0  # what accounts may take of memory; records yet to be fetched
        self.refusals, self.tally = Refusals(dlq_limit), Tally()  # one process after the other
        self.terms, self.now_ms = terms or Terms(), now_ms
        self.generation = 0
        self.workers: list[Worker] = []
        self.sleepers: list[Worker] = []
        self.events: list[dict[str, Any]] = []  # produced so far
        self.told: list[CaseChange] = []  # of cases
        self.rubbish: list[tuple[str, int, int]] = []  # where it was put

    @property
    def standard(self) -> Standard:
        return STANDARD if self.is_live else STANDARD._replace(rules=1)

    def produce(self, event: dict[str, Any], *, astray: int = 0) -> None:
        """An event on its topic, so many partitions from where it belongs."""
        key = account_key(event)
        partition = (self.log.home(key) + astray) % self.log.partitions
        self.events.append(event)
        self.log.append(Outgoing(event["topic"], partition, key, CODEC.encode(event["topic"], event), []))

    def produce_rubbish(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> None:
        """What must be refused."""
        record = self.log.append(Outgoing(topic, partition, key, value, [("trace", b"\xff")]))
        self.rubbish.append((topic, partition, record.offset))

    def assign(self, workers: int = 1) -> None:
        """A new generation: the partitions are dealt out to so many workers. Those of before sleep through it."""
        self.generation += 1
        self.sleepers += self.workers
        self.workers = [Worker(self, range(n, self.log.partitions, workers)) for n in range(workers)]

    async def drain(self, day: int) -> None:
        """All that is to happen happens, in good order, until nothing is left."""
        is_quiet = False
        while not is_quiet:
            is_quiet = True
            for worker in self.workers:
                worker.take_all()
                await settle()
                worker.flush()
                worker.turn(day)
                await settle()
                while worker.is_busy():
                    is_quiet = False
                    assert await worker.step(), "a worker waits for nothing"
                assert worker.failures() == []
            is_quiet = is_quiet and self.log.is_drained()

    async def wake(self) -> None:
        """Those who slept through an assignment do what they had begun."""
        for sleeper in self.sleepers:
            await sleeper.steps()
            assert sleeper.failures() == []

    def end(self) -> None:
        for worker in self.workers + self.sleepers:
            worker.kill()
