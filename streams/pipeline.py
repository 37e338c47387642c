"""From records to rows: decode -> story -> calendar -> snapshot -> sink, in flushes.

A flush writes in this order, and a crash after any step loses nothing and counts nothing twice:

1. the accounts that its events touch are loaded, if they are not in memory;
2. the events go into their stories, and those that are new into the event tables;
3. refused records go to their dead-letter topics, dead letters into `rejected_events`;
4. only then are the records' offsets durable, and committed;
5. rows of the changed days are written, the accounts are judged by the alert rules, then marked: with the checksum of
   the events that their rows know of. While records wait, rows get a share of the time; near the head they follow at
   once.

After a crash the records since the last commit come again and are found in their stories; accounts whose mark is
not the checksum of their events are found by `Sink.behind` and restated. Nothing here knows of Faust.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import numpy as np

from schemas.codec import Accepted, Codec
from schemas.errors import Unavailable
from schemas.events import MS_A_DAY, TOPICS, Refusal, Topic
from schemas.rows import AccountId, Mark, Standard
from streams.accounts import restore
from streams.core.calendar import Account, Rows, snapshot_columns
from streams.core.metrics import FOREVER, Terms, snapshot
from streams.intake import Incoming, Intake, Outgoing, Partition, Pending, rejected
from streams.port import Sink, patiently

log = logging.getLogger(__name__)

FLUSH_EVENTS = 20_000  # what waits beyond twice that holds the agents back
LINGER_S = 0.2  # what a small flush waits for company: parts of a table are better few
ROWS_SHARE = 4  # while records wait, writing rows takes at most one part in so many of the time
NEAR_EVENTS = 5_000  # fewer in a flush: the head of the topics is near
JUDGE_EVERY_S = 60.0  # far from it, accounts are judged and marked so often all the same
ROWS_A_SLICE = 50_000
ACCOUNTS_A_SLICE = 500

T = TypeVar("T")


class Tenure(NamedTuple):
    """Partitions given to a worker, from an assignment to the next: these, of so many, under this fencing epoch."""

    generation: int
    epoch: int
    partitions: int
    owned: frozenset[int]


class Pipeline:
    """State and flushes of one tenure. All but the sink's calls runs on the event loop; those run on `thread`.

    `standard` tells the settings that rows follow; `clock` gives epoch ms; `send` returns when Kafka has the records;
    `commit` is told what is durable; `judge` is told of accounts whose rows were written, before their marks. When the
    tenure is over the pipeline is dropped with all its state; a write still under way then does no harm, because rows
    of a later epoch outrank it.
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
        thread: Executor,
        clock: Callable[[], int],
        send: Callable[[list[Outgoing]], Awaitable[None]],
        commit: Callable[[dict[Partition, int]], Awaitable[None]],
        judge: "Callable[[Pipeline, list[AccountId]], Awaitable[None]]",
    ) -> None:
        self.sink, self.codec, self.terms_of, self.tenure, self.as_of = sink, codec, terms_of, tenure, as_of
        self.standard, self.clock, self.send, self.commit, self.judge = standard, clock, send, commit, judge
        self.accounts: dict[AccountId, Account] = {}
        self.counts: Counter[str] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)  # by stage; calls of the sink overlap with decoding
        self.over = False
        self._thread = thread
        self._stored: set[AccountId] | None = None  # accounts that have events in the sink; None: not asked yet
        self._marks: dict[AccountId, Mark | None] = {}  # of the accounts in memory
        self._floors: dict[AccountId, int] = {}  # before which no account in memory may have a row, whoever wrote it
        self._changed: set[AccountId] = set()  # accounts whose rows are behind what is in memory
        self._intake = Intake(codec, tenure.partitions, tenure.owned)
        self._pending = Pending()
        self._flushing = asyncio.Lock()
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._rows_due = self._judged_at = 0.0

    async def finish(self, timeout_s: float) -> None:
        """The tenure ends: make durable what can be in the time given. Another may go on with the rest."""
        try:
            await asyncio.wait_for(self.flush(), timeout_s)
        except TimeoutError:
            log.warning("partitions go before everything was flushed; their next owner reads it again")
        finally:
            log.info("%s; seconds: %s", dict(self.counts), {name: round(s, 2) for name, s in self.seconds.items()})
            self.over = True
            self._room.set()  # agents that wait go on, and find it over
            self._work.set()

    # --- records in --------------------------------------------------------------------------------------

    async def take(self, topic: Topic, partition: int, records: Sequence[Any]) -> None:
        """Decode a fetched batch and let it wait for the next flush; waits itself while too much does.

        A record is anything with the `key`, `value`, `headers` and `offset` of a Kafka record.
        """
        await self._room.wait()
        if self.over:
            return
        started, now = perf_counter(), self.clock()
        decoded = await self._decoded(topic, records, now)
        if decoded is not None:
            self._intake.sort(topic, partition, records, decoded, now, self._pending)
            self.seconds["decode"] += perf_counter() - started
            self._took(topic, partition, records)

    async def _decoded(self, topic: Topic, records: Sequence[Any], now_ms: int) -> list[Accepted | Refusal] | None:
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
            self._pending.rejected += [rejected(topic, record) for record in records]
            self._took(topic, partition, records)

    def _took(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        self._pending.offsets[topic, partition] = records[-1].offset + 1
        self._work.set()
        if len(self._pending) >= 2 * FLUSH_EVENTS:
            self._room.clear()

    # --- flushes -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Flush whenever there is something to until the tenure is over; rows follow when no record waits."""
        while not self.over:
            idle = False
            try:
                await asyncio.wait_for(self._work.wait(), LINGER_S if self._changed else None)
            except TimeoutError:
                idle = True
            if not idle and len(self._pending) < NEAR_EVENTS:
                await asyncio.sleep(LINGER_S)
            await self.flush(idle)

    async def flush(self, idle: bool = True) -> None:
        """Make durable what waits, and write rows if nothing else does or it is their turn."""
        async with self._flushing:
            work, self._pending = self._pending, Pending()
            self._work.clear()
            self._room.set()
            if work.events:
                await self._store(work.events)
            self.counts["refused"] += work.refused
            if work.outgoing:
                await self.send(work.outgoing)
            if work.rejected:
                await self.call(self.sink.add_rejected, work.rejected)
            if work.misplaced:
                await self.call(self.sink.add_misplaced, work.offsets, work.misplaced)
            if work.offsets and not self.over:
                await self.commit(work.offsets)
            if self._changed and self.as_of is not None:
                await self._write_what_changed(is_near=idle or len(work) < NEAR_EVENTS)

    async def _write_what_changed(self, *, is_near: bool) -> None:
        """Rows, if it is their turn; near the head of the topics, or after long enough, judged and marked as well."""
        started = asyncio.get_running_loop().time()
        if is_near or started - self._judged_at > JUDGE_EVERY_S:
            await self._restate(list(self._changed))
            self._judged_at = started
        elif started >= self._rows_due:
            await self._restate(list(self._changed), judged=False)
            ended = asyncio.get_running_loop().time()
            self._rows_due = ended + (ROWS_SHARE - 1) * (ended - started)

    async def _store(self, events: list[Incoming]) -> None:
        await self._load({event.account for event in events} - self.accounts.keys())
        fresh: dict[Topic, list[tuple[bytes, bytes]]] = {topic: [] for topic in TOPICS}
        started, floors = perf_counter(), self._floors
        for account, subject, fact, topic, payload, digest in events:
            if self.accounts[account].add(subject, fact):
                fresh[topic].append((payload, digest))
                self._changed.add(account)
            if (day := fact.time_ms // MS_A_DAY) < floors[account]:
                floors[account] = day
        self.seconds["stories"] += perf_counter() - started
        await self._bury({event.account for event in events})
        for topic, records in fresh.items():
            if records:
                await self.call(self.sink.add_events, topic, records)
                self.counts["accepted"] += len(records)
        self.counts["taken"] += len(events)

    async def _load(self, missing: Iterable[AccountId]) -> None:
        if self._stored is None:
            self._stored = set(await self.call(self.sink.accounts, *self.tenure[2:]))
        accounts = []
        for key in missing:
            if key in self._stored:
                accounts.append(key)
            else:  # new: nothing to ask for
                self.accounts[key], self._marks[key] = Account(key, self.terms_of(key[1])), None
                self._floors[key] = FOREVER
                self._stored.add(key)
        for at in range(0, len(accounts), ACCOUNTS_A_SLICE):
            these = accounts[at : at + ACCOUNTS_A_SLICE]
            loaded = await self.call(self.sink.load, these)
            for key, account in restore(these, loaded, self.terms_of).items():
                self.accounts[key] = account
                mark = self._marks[key] = loaded.marks.get(key)
                has_rows = mark is not None and mark.first_day <= mark.as_of
                self._floors[key] = min(account.first_day, mark.first_day) if mark and has_rows else account.first_day
                if mark is not None and self._is_right(account, mark):
                    account.restate(mark.as_of)  # its rows are written: only what changes from here on is news
                elif account.count:
                    self._changed.add(key)

    def _is_right(self, account: Account, mark: Mark) -> bool:
        """Whether the rows up to the mark's as-of day are those of the account's events and of our settings."""
        judged = self.standard.rules in (0, mark.standard.rules)
        return judged and (mark.checksum, mark.standard.formula) == (account.checksum, self.standard.formula)

    # --- rows --------------------------------------------------------------------------------------------

    async def turn(self, day: int) -> None:
        """The as-of day moves to `day`, if it is later: every account gets its rows up to there."""
        if self.as_of is None or day > self.as_of:
            self.as_of = await self.call(self.sink.move_as_of, day)
            await self.mend(thorough=False)

    async def mend(self, *, thorough: bool = True) -> None:
        """Write the rows of all our accounts, in memory or not, that lag the as-of day or the settings.

        Rows that lag their events, which only a crash leaves behind, take a `thorough` look: at a tenure's start.
        """
        if self.as_of is None or not self.tenure.owned:
            return
        behind = partial(self.sink.behind, thorough=thorough)
        lagging = await self.call(behind, self.as_of, self.standard, *self.tenure[2:])
        for at in range(0, len(lagging), ACCOUNTS_A_SLICE):
            async with self._flushing:
                if self.over:
                    return
                these = lagging[at : at + ACCOUNTS_A_SLICE]
                cold = [account for account in these if account not in self.accounts]
                await self._load(cold)
                # Those in memory may have been written since we asked.
                await self._restate([account for account in these if not self._is_up_to_date(account)])
                for account in cold:
                    del self.accounts[account], self._marks[account], self._floors[account]

    def _is_up_to_date(self, key: AccountId) -> bool:
        mark = self._marks[key]
        return mark is not None and mark.as_of == self.as_of and self._is_right(self.accounts[key], mark)

    async def _restate(self, accounts: list[AccountId], *, judged: bool = True) -> None:
        """Write the rows that changed, a slice at a time; then, if `judged`, judge the accounts and mark them.

        Accounts that are not judged yet stay changed: an alert on half of a backlog would be a false one.
        """
        blocks: list[Rows] = []
        these: list[AccountId] = []
        size = 0
        as_of = self.as_of  # one for all of them: the day may turn while this goes on
        assert as_of is not None
        for n, key in enumerate(accounts, 1):
            these.append(key)
            started = perf_counter()
            account = self.accounts[key]
            touched = account.restate(as_of)
            rows = account.rows(touched) if touched is not None else None
            self.seconds["restate"] += perf_counter() - started
            await asyncio.sleep(0)  # a large account takes a while, and Faust has other things to do
            if rows is not None:
                blocks.append(rows)
                size += len(rows.last_event_time)
            if size >= ROWS_A_SLICE or n == len(accounts):
                await self._write_rows(blocks)
                if judged:
                    await self.judge(self, these)
                    await self._mark(these)
                blocks, these, size = [], [], 0

    def version_of(self, account: Account) -> int:
        """The version of rows written now: fencing epoch, then number of accepted events. The greatest stands."""
        return self.tenure.epoch << 40 | account.count

    async def _write_rows(self, blocks: list[Rows]) -> None:
        if not blocks:
            return
        started = perf_counter()
        columns = snapshot_columns(blocks, lambda account: self.terms_of(account[1]))
        accounts = [block.account for block in blocks]
        sizes = [len(block.last_event_time) for block in blocks]
        versions = [self.version_of(self.accounts[account]) for account in accounts]
        rows = snapshot(columns) | {"day": columns["day"]}
        rows["version"] = np.repeat(np.array(versions, dtype=np.uint64), sizes)
        self.seconds["snapshot"] += perf_counter() - started
        await self.call(self.sink.add_rows, accounts, sizes, rows)
        self.counts["rows"] += len(rows["day"])

    async def _bury(self, accounts: Iterable[AccountId]) -> None:
        """Where an event's content gave way to one of a later day, the rows before the account's first day are gone.

        Before that content is stored, because whoever finds it alone would not look for such rows; and whether or
        not we wrote any, because an owner before us still may.
        """
        for key in accounts:
            account = self.accounts[key]
            if self._floors[key] < account.first_day < FOREVER:
                mark = self._mark_of(account)._replace(first_day=account.first_day)
                await self.call(self.sink.add_gone, mark, self._floors[key])
                self._floors[key] = account.first_day

    async def _mark(self, accounts: list[AccountId]) -> None:
        """Note that the rows of these accounts are all there, and that rows before their first day are gone."""
        await self._bury(accounts)
        marks = [self._mark_of(self.accounts[account]) for account in accounts]
        await self.call(self.sink.add_marks, marks)
        for mark in marks:
            self._marks[mark.account] = mark
            self._changed.discard(mark.account)

    def _mark_of(self, account: Account) -> Mark:
        as_of = account.as_of  # not ours: the day may have turned since the rows were written
        first_day = min(account.first_day, as_of + 1)
        return Mark(account.id, account.checksum, self.standard, first_day, as_of, self.version_of(account))

    # --- the sink's thread -------------------------------------------------------------------------------

    async def call(self, call: Callable[..., T], *args: Any) -> T:
        """Run a blocking call of the sink, `patiently`. Raises CancelledError if the tenure is over before."""
        started = perf_counter()
        try:
            return await patiently(self._thread, lambda: not self.over, call, *args)
        finally:
            self.seconds[getattr(call, "__name__", "sink")] += perf_counter() - started
