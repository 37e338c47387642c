"""From records to rows: decode -> story -> calendar -> snapshot -> sink, in flushes.

A flush writes in this order, and a crash after any step loses nothing and counts nothing twice:

1. accounts that its events touch are loaded, as far as time and memory allow: they are hot, the others cold;
2. the events of hot accounts go into their stories; those that are new, and all of cold ones, into the event tables;
3. refused records go to their dead-letter topics, dead letters into `rejected_events`;
4. only then are the records' offsets durable, and committed;
5. rows follow: near the head of the topics at once, far from it (where all accounts are cold) now and then.

After a crash the records since the last commit come again and change nothing; how rows are found that lag their events
is told in `streams.following`. Nothing here knows of Faust.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

from schemas.batch import Checked
from schemas.codec import Codec
from schemas.errors import Unavailable
from schemas.events import MS_A_DAY, Refusal, Topic
from schemas.rows import AccountId, Standard
from streams.casework import CaseChange
from streams.checking import Sampler
from streams.core.metrics import FOREVER, Terms
from streams.core.pseudonyms import Pseudonyms
from streams.failpoints import reach
from streams.following import FRESH_DAYS, Follower, Written
from streams.intake import Intake, Outgoing, Partition, Pending, rejected
from streams.marks import Tenure
from streams.port import Connection, Sink, patiently
from streams.refusals import Refusals
from streams.tally import Tally

log = logging.getLogger(__name__)

FLUSH_EVENTS = 25_000  # enough for a flush; what waits beyond twice that holds the agents back
FLUSH_BYTES = 32 << 20  # and as much of large records, whatever their number
LINGER_S = 0.2  # what a flush waits for company: parts of a table are better few
NEAR_EVENTS = 5_000  # fewer in a flush: the head of the topics is near
NEAR_ACCOUNTS = 500  # fewer whose rows lag: the worker is not behind
FAR_EVENTS = 100_000  # more are waiting: no account is worth loading
NEAR_PARTS = 8  # there a statement computes an eighth of what it should, for the sake of what waits meanwhile
ROWS_EVERY_S = 60.0  # far from the head rows follow so often all the same
ROWS_SHARE = 4  # and take at most one part in so many of the time

T = TypeVar("T")


class Pipeline:
    """Flushes of one tenure. All but the sink's calls runs on the event loop; those run on `thread`, and the statements
    that compute rows on `computing`, by a sink of their own.

    `refusals` and `tally` outlive the tenure; `clock` gives epoch ms; `waiting` tells how many records have yet to be
    fetched; `send` returns when Kafka has the records; `commit` is told what is durable; `tell` hears of changes of
    cases before they are written, `judge` of accounts whose rows were; events of orders that are `forgotten` get
    pseudonyms. When the tenure is over the pipeline is dropped with all its state; a write still under way then does no
    harm, because rows of a later epoch outrank it.
    """

    def __init__(
        self,
        sink: Sink,
        codec: Codec,
        terms_of: Callable[[str], Terms],
        *,
        tenure: Tenure,
        standard: Standard,
        as_of: int | None,
        hot_bytes: int,
        refusals: Refusals,
        thread: Executor,
        computing: tuple[Sink, Executor],
        clock: Callable[[], int],
        waiting: Callable[[], int],
        send: Callable[[list[Outgoing]], Awaitable[None]],
        commit: Callable[[dict[Partition, int]], Awaitable[None]],
        tell: "Callable[[Pipeline, Sequence[CaseChange]], Awaitable[None]]",
        judge: "Callable[[Pipeline, Written], Awaitable[None]]",
        tally: Tally | None = None,
        forgotten: Pseudonyms | None = None,
    ) -> None:
        self.sink, self.tenure, self.clock, self.waiting = sink, tenure, clock, waiting
        self.send, self.commit = send, commit
        self.rows = Follower(
            sink, terms_of, tenure=tenure, standard=standard, as_of=as_of, hot_bytes=hot_bytes, call=self.call,
            computing=Connection(computing[0], partial(self._call_on, computing[1])),
            tell=lambda changes: tell(self, changes), judge=lambda written: judge(self, written),
        )  # fmt: skip
        self.counts: Counter[str] = self.rows.counts
        self.seconds: dict[str, float] = self.rows.seconds  # by stage; calls of the sink overlap with decoding
        self.over = False
        self.differing = 0  # rows that checks found wrong
        self._thread, self._refusals = thread, refusals
        self._tally = tally or Tally()
        self._intake = Intake(codec, tenure.partitions, tenure.owned, forgotten)
        self._pending, self._storing = Pending(), Pending()  # what waits for a flush, and what is in one
        self._flushing = asyncio.Lock()
        self._looked = asyncio.Event()  # at what others left behind
        self._work, self._full = asyncio.Event(), asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._time = asyncio.get_running_loop().time
        self.moved = self._time()  # when anything went on last
        self._came = 0.0  # when the first record came of those that wait
        self._rows_due = self._time() + ROWS_EVERY_S
        self._settling_due = 0.0

    async def finish(self, timeout_s: float) -> None:
        """The tenure ends: make durable what can be in the time given. Another goes on with the rest."""
        try:
            await asyncio.wait_for(self.flush(idle=False), timeout_s)
        except TimeoutError:
            log.warning("partitions go before everything was flushed; their next owner reads it again")
        finally:
            log.info("%s; seconds: %s", dict(self.counts), {name: round(s, 2) for name, s in self.seconds.items()})
            self.over = True
            self._room.set()  # agents that wait go on, and find it over
            self._work.set()
            self._full.set()

    # --- records in --------------------------------------------------------------------------------------

    async def take(self, topic: Topic, partition: int, records: Sequence[Any]) -> None:
        """Decode a fetched batch and let it wait for the next flush; waits itself while too much does.

        A record is anything with the `key`, `value`, `headers` and `offset` of a Kafka record. Raises TooManyRefused,
        and nothing of the batch goes anywhere: then no later one of the partition may be taken, or it would be lost.
        """
        await self._room.wait()
        if self.over:
            return
        started, now = perf_counter(), self.clock()
        decoded = await self._decoded(topic, records, now)
        if decoded is not None:
            self._refusals.add(topic, decoded)
            self._intake.sort(topic, partition, records, decoded, now, self._pending)
            self.seconds["decode"] += perf_counter() - started
            self._took(topic, partition, records)
            reach("decoded")

    async def _decoded(self, topic: Topic, records: Sequence[Any], now_ms: int) -> list[Checked | Refusal] | None:
        """What the records are; None if the tenure is over before a Schema Registry tells."""
        try:
            return self._intake.decode(topic, records, now_ms)
        except Unavailable:
            try:
                return await self.call(self._intake.decode, topic, records, now_ms)
            except asyncio.CancelledError:
                if self.over:
                    return None
                raise

    async def take_rejected(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        """Dead letters become rows of `rejected_events`."""
        await self._room.wait()
        if not self.over:
            self._pending.rejected += [rejected(topic, partition, record) for record in records]
            self._took(topic, partition, records)

    def _took(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        self.moved = self._time()
        if not self._pending.offsets:
            self._pending.came = self.moved
        self._pending.offsets[topic, partition] = records[-1].offset + 1
        if not self._work.is_set():
            self._came = self._time()
            self._work.set()
        self._pending.bytes += sum(len(record.value) for record in records if record.value)
        flushes = max(len(self._pending) / FLUSH_EVENTS, self._pending.bytes / FLUSH_BYTES)
        if flushes >= 1:
            self._full.set()
        if flushes >= 2:
            self._room.clear()

    # --- flushes -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Flush whenever there is something to until the tenure is over; rows follow when no record waits."""
        while not self.over:
            idle = False
            try:
                await asyncio.wait_for(self._work.wait(), LINGER_S if self._rows_lag() else None)
            except TimeoutError:
                idle = True
            if not idle:
                with suppress(TimeoutError):  # what came during the last flush has waited long enough
                    await asyncio.wait_for(self._full.wait(), self._came + LINGER_S - self._time())
            await self.flush(idle)

    def _rows_lag(self) -> bool:
        return self.rows.as_of is not None and bool(self.rows.changed or self.rows.lagging)

    async def flush(self, idle: bool = True) -> None:
        """Make durable what waits, and write rows if nothing else does or it is their turn."""
        await self._looked.wait()
        async with self._flushing:
            started = self._time()
            work, self._pending = self._pending, Pending()
            self._storing = work
            self._work.clear()
            self._full.clear()
            self._room.set()
            fresh = await self._store(work)
            self.counts["refused"] += work.refused.total()
            if work.outgoing:
                await self.send(work.outgoing)
            if work.rejected:
                await self.call(self.sink.add_rejected, work.rejected)
            if work.misplaced:
                await self.call(self.sink.add_misplaced, work.offsets, work.misplaced)
            if work.offsets and not self.over:
                reach("before_commit")
                await self.commit(work.offsets)
                reach("after_commit")
                self._tally.add(work.outcomes(fresh), work.refused)
            self._storing = Pending()
            if self._rows_lag():
                await self._follow(is_idle=idle, is_near=idle or len(work) < NEAR_EVENTS)
            self.moved = self._time()
            if work.offsets:
                self._tally.flushed(self.moved - started)

    async def _store(self, work: Pending) -> dict[Topic, int]:
        """Of each topic, how many events were new as far as is known here."""
        days = _first_days(work)
        if not days:
            return {}
        if self.waiting() + len(work) >= NEAR_EVENTS:
            past = self.clock() // MS_A_DAY - FRESH_DAYS
            self.rows.backfilled.update(key for key, day in days.items() if day < past)
        hot, hits = self.rows.hot, 0
        if hot.budget == 0 or self.waiting() + len(work) > FAR_EVENTS:
            await self.rows.cool(hot)
        else:
            hits = sum(map(hot.__contains__, days))
            await self.rows.heat(days)
        warm = sum(map(hot.__contains__, days))
        self._tally.accounts.update(hit=hits, loaded=max(warm - hits, 0), cold=len(days) - max(warm, hits))
        fresh = {topic: self._into_stories(topic, events) for topic, events in work.events.items()}
        for key in days.keys() - self.rows.changed:
            if (account := self.rows.hot.get(key)) is not None:
                account.pack()  # nothing was new, so its rows stay, and nobody else would
        reach("stories_changed")
        await self.rows.bury(days)
        await self.rows.lagging.expect({key: day for key, day in days.items() if key not in self.rows.hot})
        for topic, events in fresh.items():
            if events:
                await self.call(self.sink.add_events, topic, [(found.payload, found.digest) for found in events])
                self.counts["stored"] += len(events)
                reach("events_stored")
        return {topic: len(events) for topic, events in fresh.items()}

    def _into_stories(self, topic: Topic, events: list[Checked]) -> list[Checked]:
        """Hot accounts take their events; what there is to store: those that are new to them, and all of cold ones."""
        self.counts["taken"] += len(events)
        hot = self.rows.hot
        if not len(hot):
            return events
        started, fresh = perf_counter(), []
        for found in events:
            account = hot.get(found.account)
            if account is None:
                fresh.append(found)
                continue
            if account.add(*self._intake.fact(topic, found)):
                fresh.append(found)
                self.rows.changed.add(found.account)
        self.seconds["stories"] += perf_counter() - started
        return fresh

    # --- rows --------------------------------------------------------------------------------------------

    async def _follow(self, *, is_idle: bool, is_near: bool) -> None:
        """Rows, if it is their turn.

        Near the head of the topics those of hot accounts at once, of cold ones in what is half of the time, or all of
        it while nothing else waits; far from it all of them now and then.
        """
        started = self._time()
        if not is_near and started < self._rows_due:
            return
        rows, computed = self.counts["rows"], self.rows.lagging.rows
        if self.rows.changed:
            await self.rows.restate()
        if is_idle or not is_near or started >= self._settling_due:
            parts = 1 if is_idle or not is_near else NEAR_PARTS
            await self.rows.settle(parts, goes_on=lambda: not is_near or (is_idle and not self._work.is_set()))
            self._settling_due = 2 * self._time() - started
        self._rows_due = self._time() + max(ROWS_EVERY_S, (ROWS_SHARE - 1) * (self._time() - started))
        self._tally.rows.update(memory=self.counts["rows"] - rows, statement=self.rows.lagging.rows - computed)

    async def mend(self) -> None:
        """Find the accounts whose rows others left behind. Before any flush; the rows follow."""
        await self.rows.look()
        self._looked.set()
        self._work.set()

    async def turn(self, day: int) -> None:
        """The as-of day moves to `day`, if it is later: every account gets its rows up to there."""
        if self.rows.as_of is not None and day <= self.rows.as_of:
            return
        await self._looked.wait()
        as_of = await self.call(self.sink.move_as_of, day)
        reach("turned")
        async with self._flushing:
            await self.rows.turn(as_of)
        self._work.set()

    def is_behind(self) -> bool:
        """Whether many records wait, or rows of many accounts do."""
        return self.waiting() + len(self._pending) >= NEAR_EVENTS or len(self.rows.lagging) >= NEAR_ACCOUNTS

    async def check(self, sampler: Sampler) -> None:
        """Hold rows of a few accounts against their events; not while much waits. Flushes go on meanwhile."""
        await self._looked.wait()
        if not self.is_behind():
            await sampler.check(self.rows.at_rest(), self.clock())
            self.differing = sampler.so_far.differing

    def oldest_s(self) -> float | None:
        """How long ago the oldest record came that is not durable yet; None if there is none."""
        work = self._storing if self._storing.offsets else self._pending
        return self._time() - work.came if work.offsets else None

    # --- the sink's thread -------------------------------------------------------------------------------

    async def call(self, call: Callable[..., T], *args: Any) -> T:
        """Run a blocking call of the sink, `patiently`. Raises CancelledError if the tenure is over before."""
        return await self._call_on(self._thread, call, *args)

    async def _call_on(self, thread: Executor, call: Callable[..., T], *args: Any) -> T:
        started = perf_counter()
        try:
            return await patiently(thread, lambda: not self.over, call, *args, waits=self._tally.waits)
        finally:
            self.moved = self._time()
            self.seconds[getattr(call, "func", call).__name__] += perf_counter() - started


def _first_days(work: Pending) -> dict[AccountId, int]:
    """The accounts that events touch, each with the day of its earliest."""
    first: dict[AccountId, int] = {}
    for events in work.events.values():
        for found in events:
            if found.time_ms < first.get(found.account, FOREVER * MS_A_DAY):
                first[found.account] = found.time_ms
    return {account: time_ms // MS_A_DAY for account, time_ms in first.items()}
