"""The Faust shell: agents that take batches, and the hooks by which partitions come and go.

An agent only hands a batch on; what is committed is what the pipeline calls durable (`streams.transport`). An
exception in an agent would acknowledge its batch and go on, so whatever goes wrong crashes the app instead, and no
later batch is taken: its offset would be committed over the one that failed.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, cast

from faust.types import TP

from schemas.codec import Codec
from schemas.errors import TooManyRefused
from schemas.events import MS_A_DAY, TOPICS, UNKNOWN_TOPIC, Topic
from schemas.rows import ForgottenOrder, InForce, Standard
from streams.casework import CaseChange
from streams.checking import Sampler
from streams.clocks import Clocks
from streams.core.metrics import Terms
from streams.core.pseudonyms import pseudonyms_of
from streams.digest import DigestStore
from streams.failpoints import reach
from streams.following import Written
from streams.intake import Outgoing, Partition
from streams.marks import Tenure
from streams.pipeline import Pipeline
from streams.port import Call, Sink, patiently
from streams.refusals import Refusals
from streams.rewrite import AlertStore
from streams.tally import Tally
from streams.transport import App, Consumer

log = logging.getLogger(__name__)

REVOKE_S = 8.0  # for a last flush, within the session time-out
TELL_S = 5.0  # for messages under way to receivers
TURN_S = 0.2  # how often the clock is looked at
CHECK_S = 60.0  # how often some rows are held against their events
LAG_S = 10.0  # how often the lag is noted
ASK_S = 5.0  # how often the store is asked whether it is there


class Store(Sink, AlertStore, DigestStore, Protocol):
    """What a worker needs of a store beside what its pipelines do. Calls block."""

    def next_epoch(self) -> int:
        """A fencing epoch greater than any taken before."""

    def forgotten(self) -> list[ForgottenOrder]:
        """The orders that are forgotten."""

    def adopt(self, said: InForce) -> None:
        """From now on views show, and rows age, by these settings."""

    def add_lags(self, lags: Mapping[Partition, int]) -> None:
        """So many records of each topic and partition are not durable yet."""

    def close(self) -> None:
        """Let go of the connection."""


class Judge(Protocol):
    """Evaluates the alert rules: `Alerter` for a live worker, `Historian` for a replay."""

    async def begin(self, pipeline: Pipeline) -> None:
        """A tenure begins; no row of it was judged yet."""

    async def tell(self, pipeline: Pipeline, changes: Sequence[CaseChange]) -> None:
        """These changes of cases are about to be written."""

    async def judge(self, pipeline: Pipeline, store: AlertStore, written: Written) -> None:
        """Rows were written."""

    def clocks(self, pipeline: Pipeline, store: Store, call: Call) -> Clocks | None:
        """What looks at the clocks of a tenure; None: nothing does."""

    async def digest(self, pipeline: Pipeline, store: Store, call: Call) -> None:
        """Send digests when they are due, until the tenure ends."""

    async def end(self, timeout_s: float) -> None:
        """The tenure ends, within so much time."""

    async def close(self) -> None:
        """The worker stops."""


class Worker:
    """One Faust worker: the pipeline of its present tenure, and what connects it to Faust.

    `open_sink` connects to the store, in the sink's own thread. `as_of` gives the as-of day that the worker is to
    have: the wall clock's for a live one. `judge` evaluates the alert rules; `standard` tells the settings apart;
    `in_force` is what the store is to know of them, None: it does; `hot_bytes` is what accounts may take of memory,
    `dlq_limit` the share of records that may be refused; every `check_s` some rows are held against their events.
    `tally` is what it counts of itself.
    """

    def __init__(
        self,
        app: App,
        codec: Codec,
        terms_of: Callable[[str], Terms],
        *,
        open_sink: Callable[[], Store],
        as_of: Callable[[Store], int | None],
        judge: Judge,
        standard: Standard,
        in_force: InForce | None,
        hot_bytes: int,
        dlq_limit: float,
        check_s: float,
        tally: Tally,
    ) -> None:
        self.app, self.codec, self.terms_of = app, codec, terms_of
        self.open_sink, self.as_of, self.judge, self.standard = open_sink, as_of, judge, standard
        self.in_force = in_force
        self.hot_bytes, self.check_s, self.tally = hot_bytes, check_s, tally
        self.pipeline: Pipeline | None = None
        self.sink: Store | None = None
        self._thread = ThreadPoolExecutor(1, "sink")
        self._computing = ThreadPoolExecutor(1, "rows")  # for statements that compute rows, by a connection of its own
        self._beside = ThreadPoolExecutor(1, "beside")  # for checks and clocks, by another
        self._store_computing: Store | None = None
        self._store_beside: Store | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._assigned = asyncio.Event()
        self._refusals = Refusals(dlq_limit)
        self._failed = False

    # --- batches -----------------------------------------------------------------------------------------

    async def events(self, stream: Any) -> None:
        """The agent of a topic of events."""
        async for message in self._current(stream):
            pipeline = cast("Pipeline", self.pipeline)
            await self._or_crash(pipeline.take(cast("Topic", message.topic), message.partition, message.value))

    async def dead_letters(self, stream: Any) -> None:
        """The agent of the dead-letter topics."""
        async for message in self._current(stream):
            pipeline = cast("Pipeline", self.pipeline)
            await self._or_crash(pipeline.take_rejected(message.topic, message.partition, message.value))

    async def _current(self, stream: Any) -> AsyncIterator[Any]:
        """The batches of the present tenure; those fetched under an earlier one are read again by whom they belong to.

        Faust fetches before the new tenure's state is set up, hence the wait.
        """
        async for event in stream.events():
            await self._assigned.wait()
            if self._failed:
                continue
            if self.pipeline is not None and event.message.generation_id == self.pipeline.tenure.generation:
                yield event.message

    # --- partitions --------------------------------------------------------------------------------------

    async def assigned(self, partitions: Iterable[TP]) -> None:
        """A tenure begins: with an epoch that outranks every owner before, and state that is loaded when touched."""
        owned = frozenset(tp.partition for tp in partitions if tp.topic in TOPICS)
        if self.sink is None:
            self.sink = await self._in_thread(self.open_sink)
            self._store_computing = await self._in_thread(self.open_sink)
            if self.in_force is not None:
                await self._in_thread(self.sink.adopt, self.in_force)
        sink = self.sink
        epoch, as_of = await self._in_thread(sink.next_epoch), await self._in_thread(sink.as_of)
        forgotten = pseudonyms_of(await self._in_thread(sink.forgotten))  # after the epoch, by which `forget` sees us
        count = await cast("Consumer", self.app.consumer).count_partitions(TOPICS)
        generation = self.app.consumer_generation_id
        self.pipeline = pipeline = Pipeline(
            sink, self.codec, self.terms_of, tenure=Tenure(generation, epoch, count, owned),
            standard=self.standard, as_of=as_of, hot_bytes=self.hot_bytes, refusals=self._refusals, thread=self._thread,
            computing=(cast("Store", self._store_computing), self._computing), clock=now_ms,
            waiting=cast("Consumer", self.app.consumer).waiting, send=self.send, commit=self.commit,
            tell=self.judge.tell, judge=self._judge, tally=self.tally, forgotten=forgotten,
        )  # fmt: skip
        await self.judge.begin(pipeline)
        self._assigned.set()
        log.info("epoch %d: partitions %s of %d", epoch, sorted(owned), count)
        reach("assigned")
        self._start(pipeline.run())
        self._start(self._mend_and_turn(pipeline))

    async def revoked(self, partitions: Iterable[TP]) -> None:
        """The tenure ends, with a last flush and commit."""
        pipeline, self.pipeline = self.pipeline, None
        self._assigned.clear()
        if pipeline is not None:
            reach("revoked")
            await asyncio.gather(self._or_crash(pipeline.finish(REVOKE_S)), self.judge.end(TELL_S))

    async def _mend_and_turn(self, pipeline: Pipeline) -> None:
        """Rows that a crash left behind are written, then days turn by the clock with no event needed.

        In between clocks are looked at, and some rows are checked.
        """
        await pipeline.mend()
        call = partial(patiently, self._beside, lambda: not pipeline.over)
        if self._store_beside is None:
            self._store_beside = await call(self.open_sink)
        store = self._store_beside
        sampler = Sampler(store, self.terms_of, self.standard, pipeline.tenure.epoch, call)
        clocks = self.judge.clocks(pipeline, store, call)
        self._start(self.judge.digest(pipeline, store, call))
        check_due, ask_due, lag_due = time.monotonic() + self.check_s, 0.0, 0.0
        while not pipeline.over:
            day = await self._in_thread(self.as_of, self.sink)
            if day is not None:
                await pipeline.turn(day)
            if time.monotonic() >= ask_due:  # or nobody would know that it is gone while no record comes
                await self._in_thread(pipeline.sink.as_of)
                ask_due = time.monotonic() + ASK_S
            if self.in_force is not None and time.monotonic() >= lag_due:
                await call(store.add_lags, self._lags())
                lag_due = time.monotonic() + LAG_S
            if clocks is not None:
                await clocks.look(now_ms(), is_behind=pipeline.is_behind())
            if time.monotonic() >= check_due:
                await pipeline.check(sampler)
                check_due = time.monotonic() + self.check_s
            await asyncio.sleep(TURN_S)

    def _lags(self) -> dict[Partition, int]:
        """Of topics of events, as far as they are known."""
        lags = cast("Consumer", self.app.consumer).lag()
        return {(tp.topic, tp.partition): records for tp, records in lags.items() if tp.topic in TOPICS}

    async def _judge(self, pipeline: Pipeline, written: Written) -> None:
        await self.judge.judge(pipeline, cast("Store", pipeline.sink), written)

    # --- what the pipeline asks for ----------------------------------------------------------------------

    async def send(self, records: list[Outgoing]) -> None:
        """Records to other topics; returns when Kafka has them."""
        producer = self.app.producer
        sent = [
            await producer.send(record.topic, record.key, record.value, record.partition, None, record.headers)
            for record in records
        ]
        await asyncio.gather(*sent)

    async def commit(self, offsets: dict[Partition, int]) -> None:
        """These records are durable."""
        consumer = cast("Consumer", self.app.consumer)
        consumer.durable.update({TP(*at): offset for at, offset in offsets.items()})
        await consumer.commit()

    async def stop(self) -> None:
        """The app stops: a last flush, and the sink is let go of."""
        await self.revoked(())
        await self.judge.close()
        for thread in (self._thread, self._computing, self._beside):
            thread.shutdown(wait=True, cancel_futures=True)
        for store in (self._store_beside, self._store_computing, self.sink):
            if store is not None:
                store.close()

    # --- tasks -------------------------------------------------------------------------------------------

    async def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return await patiently(self._thread, lambda: not self.app.should_stop, call, *args, waits=self.tally.waits)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._or_crash(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _or_crash(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except TooManyRefused as refused:
            self._failed = True
            await self.app.end(refused)
        except Exception as failed:  # Faust would log it and go on
            self._failed = True
            log.exception("the worker stops")
            await self.app.crash(failed)


def now_ms() -> int:
    """The wall clock, epoch ms."""
    return time.time_ns() // 1_000_000


def today(_: Store) -> int:
    """The as-of day of a live worker."""
    return now_ms() // MS_A_DAY


def dead_letter_topics() -> list[str]:
    """Where refused records go."""
    return [f"{topic}.dlq" for topic in (*TOPICS, UNKNOWN_TOPIC)]
