"""From records to rows: decode -> story -> calendar -> snapshot -> sink, in flushes.

A flush writes in this order, and a crash after any step loses nothing and counts nothing twice:

1. the accounts that its events touch are loaded, if they are not in memory;
2. the events go into their stories, and those that are new into the event tables;
3. refused records go to their dead-letter topics, dead letters into `rejected_events`;
4. only then are the records' offsets durable, and committed;
5. rows of the changed days are written, then a mark per account: the checksum of the events its rows know of. While
   records wait, rows get a share of the time; at rest they follow at once.

After a crash the records since the last commit come again and are found in their stories; accounts whose mark is
not the checksum of their events are found by `Sink.behind` and restated. Nothing here knows of Faust.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from aiokafka.partitioner import murmur2

from schemas.codec import Codec
from schemas.errors import Unavailable
from schemas.events import TOPICS, Refusal, Topic
from schemas.rows import AccountId, Loaded, Mark, Rejected
from streams.accounts import restore
from streams.core.calendar import Account, Rows, snapshot_columns
from streams.core.metrics import Array, Terms, snapshot
from streams.core.privacy import mask_event
from streams.core.stories import AnyFact, fact_of

log = logging.getLogger(__name__)

FLUSH_EVENTS = 20_000  # what waits beyond twice that holds the agents back
LINGER_S = 0.2  # what a small flush waits for company: parts of a table are better few
ROWS_SHARE = 4  # while records wait, writing rows takes at most one part in so many of the time
ROWS_A_SLICE = 50_000
ACCOUNTS_A_SLICE = 500
RETRY_S = (0.2, 10.0)  # first and longest pause before an unavailable sink is tried again

Partition = tuple[str, int]  # topic, partition
T = TypeVar("T")


class Sink(Protocol):
    """What the pipeline needs of a store; every write may be repeated. Calls block."""

    def add_events(self, topic: Topic, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Store (payload, digest) pairs of accepted events."""

    def load(self, accounts: Sequence[AccountId]) -> Loaded:
        """All that is stored of these accounts."""

    def add_rows(self, accounts: Sequence[AccountId], sizes: Sequence[int], columns: Mapping[str, Array]) -> None:
        """Write rows of `seller_daily`, so many for each account."""

    def add_gone(self, mark: Mark, first: int) -> None:
        """The account has no rows any more from `first` until the mark's first day."""

    def add_marks(self, marks: Sequence[Mark]) -> None:
        """Write how far accounts' rows are."""

    def behind(self, as_of: int, partitions: int, owned: Iterable[int]) -> list[AccountId]:
        """Accounts of these partitions whose rows lag their events or the as-of day."""

    def move_as_of(self, day: int) -> int:
        """Move the as-of day forward, never back; what it is then."""

    def add_rejected(self, rejected: Sequence[Rejected]) -> None:
        """Write refused records."""

    def add_misplaced(self, offsets: Mapping[Partition, int], counts: Mapping[Partition, int]) -> None:
        """Note how many records of a batch, which ended there, were found outside their account's partition."""


class Snapshot(NamedTuple):
    """Rows just written: the accounts, how many rows each, `day` and the metrics of all, and the as-of day."""

    accounts: list[AccountId]
    sizes: list[int]
    columns: dict[str, Array]
    as_of: int


class Outgoing(NamedTuple):
    """A record to send on: refused to a dead-letter topic (any partition), or misplaced to where it belongs."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class Incoming(NamedTuple):
    """An accepted event on its way into its story."""

    account: AccountId
    subject: str
    fact: AnyFact
    topic: Topic
    payload: bytes
    digest: bytes


@dataclass
class Pending:
    """What waits for the next flush, and the offsets that are durable after it."""

    events: list[Incoming] = field(default_factory=list)
    outgoing: list[Outgoing] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    misplaced: Counter[Partition] = field(default_factory=Counter)
    offsets: dict[Partition, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.events) + len(self.outgoing) + len(self.rejected)


class Tenure(NamedTuple):
    """Partitions given to a worker, from an assignment to the next: these, of so many, under this fencing epoch."""

    generation: int
    epoch: int
    partitions: int
    owned: frozenset[int]


class Pipeline:
    """State and flushes of one tenure. All but the sink's calls runs on the event loop; those run on `thread`.

    `clock` gives epoch ms; `send` returns when Kafka has the records; `commit` is told what is durable; `on_rows`
    is told of rows after they are written. When the tenure is over the pipeline is dropped with all its state; a
    write still under way then does no harm, because rows of a later epoch outrank it.
    """

    def __init__(
        self,
        sink: Sink,
        codec: Codec,
        terms_of: Callable[[str], Terms],
        *,
        tenure: Tenure,
        as_of: int | None,
        thread: Executor,
        clock: Callable[[], int],
        send: Callable[[list[Outgoing]], Awaitable[None]],
        commit: Callable[[dict[Partition, int]], Awaitable[None]],
        on_rows: Callable[["Pipeline", Snapshot], Awaitable[None]] | None = None,
    ) -> None:
        self.sink, self.codec, self.terms_of, self.tenure, self.as_of = sink, codec, terms_of, tenure, as_of
        self.clock, self.send, self.commit, self.on_rows = clock, send, commit, on_rows
        self.accounts: dict[AccountId, Account] = {}
        self.counts: Counter[str] = Counter()
        self.over = False
        self._thread = thread
        self._marks: dict[AccountId, Mark] = {}
        self._changed: set[AccountId] = set()  # accounts whose rows are behind what is in memory
        self._homes: dict[AccountId, int] = {}  # account -> hash of its key
        self._pending = Pending()
        self._flushing = asyncio.Lock()
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._rows_due = 0.0

    async def finish(self, timeout_s: float) -> None:
        """The tenure ends: make durable what can be in the time given. Another may go on with the rest."""
        try:
            await asyncio.wait_for(self.flush(), timeout_s)
        except TimeoutError:
            log.warning("partitions go before everything was flushed; their next owner reads it again")
        finally:
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
        pending, now = self._pending, self.clock()
        accept = self.codec.accept
        for record in records:
            found = accept(topic, record.key, record.value, now)
            if isinstance(found, Refusal):
                pending.outgoing.append(_dead_letter(topic, partition, record, found.reason, now))
                self.counts["refused"] += 1
                continue
            event, payload, digest = found.event, found.payload, found.digest
            account = (event["seller_id"], event["marketplace_id"])
            home = self._home(account, record.key)
            if home != partition:
                pending.misplaced[topic, partition] += 1
                if home not in self.tenure.owned:
                    pending.outgoing.append(Outgoing(topic, home, record.key, record.value, list(record.headers)))
                    continue
            if topic != "orders" and mask_event(topic, event):
                payload, digest = self.codec.restated(topic, event)
            subject, fact = fact_of(topic, event, digest)
            pending.events.append(Incoming(account, subject, fact, topic, payload, digest))
        self._took(topic, partition, records)

    async def take_rejected(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        """Dead letters become rows of `rejected_events`."""
        await self._room.wait()
        if not self.over:
            self._pending.rejected += [_rejected(topic, record) for record in records]
            self._took(topic, partition, records)

    def _took(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        self._pending.offsets[topic, partition] = records[-1].offset + 1
        self._work.set()
        if len(self._pending) >= 2 * FLUSH_EVENTS:
            self._room.clear()

    def _home(self, account: AccountId, key: bytes) -> int:
        """The partition that an account belongs in."""
        hashed = self._homes.get(account)
        if hashed is None:
            hashed = self._homes[account] = murmur2(key) & 0x7FFFFFFF
        return hashed % self.tenure.partitions

    # --- flushes -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Flush whenever there is something to until the tenure is over; rows follow when no record waits."""
        while not self.over:
            idle = False
            try:
                await asyncio.wait_for(self._work.wait(), LINGER_S if self._changed else None)
            except TimeoutError:
                idle = True
            if not idle and len(self._pending) < FLUSH_EVENTS // 4:
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
            if work.outgoing:
                await self.send(work.outgoing)
            if work.rejected:
                await self.call(self.sink.add_rejected, work.rejected)
            if work.misplaced:
                await self.call(self.sink.add_misplaced, work.offsets, work.misplaced)
            if work.offsets and not self.over:
                await self.commit(work.offsets)
            if self._changed and self.as_of is not None:
                started = asyncio.get_running_loop().time()
                if idle or started >= self._rows_due:
                    await self._restate(list(self._changed))
                    ended = asyncio.get_running_loop().time()
                    self._rows_due = ended + (ROWS_SHARE - 1) * (ended - started)

    async def _store(self, events: list[Incoming]) -> None:
        await self._load({event.account for event in events} - self.accounts.keys())
        fresh: dict[Topic, list[tuple[bytes, bytes]]] = {topic: [] for topic in TOPICS}
        for account, subject, fact, topic, payload, digest in events:
            if self.accounts[account].add(subject, fact):
                fresh[topic].append((payload, digest))
                self._changed.add(account)
        for topic, records in fresh.items():
            if records:
                await self.call(self.sink.add_events, topic, records)
                self.counts["accepted"] += len(records)
        self.counts["taken"] += len(events)

    async def _load(self, missing: Iterable[AccountId]) -> None:
        accounts = list(missing)
        for at in range(0, len(accounts), ACCOUNTS_A_SLICE):
            these = accounts[at : at + ACCOUNTS_A_SLICE]
            loaded = await self.call(self.sink.load, these)
            for key, account in restore(these, loaded, self.terms_of).items():
                mark = loaded.marks.get(key)
                if mark is not None and mark.checksum == account.checksum:
                    account.restate(mark.as_of)  # its rows are written: only what changes from here on is news
                elif account.count:
                    self._changed.add(key)
                self.accounts[key] = account
            self._marks |= loaded.marks

    # --- rows --------------------------------------------------------------------------------------------

    async def turn(self, day: int) -> None:
        """The as-of day moves to `day`, if it is later: every account gets its rows up to there."""
        if self.as_of is None or day > self.as_of:
            self.as_of = await self.call(self.sink.move_as_of, day)
            await self.mend()

    async def mend(self) -> None:
        """Write the rows of all our accounts, in memory or not, that lag their events or the as-of day."""
        if self.as_of is None or not self.tenure.owned:
            return
        lagging = await self.call(self.sink.behind, self.as_of, self.tenure.partitions, self.tenure.owned)
        for at in range(0, len(lagging), ACCOUNTS_A_SLICE):
            async with self._flushing:
                if self.over:
                    return
                these = lagging[at : at + ACCOUNTS_A_SLICE]
                cold = [account for account in these if account not in self.accounts]
                await self._load(cold)
                await self._restate(these)
                for account in cold:
                    del self.accounts[account], self._marks[account]

    async def _restate(self, accounts: list[AccountId]) -> None:
        """Write the rows that changed, a slice of accounts at a time, each followed by its marks."""
        blocks: list[Rows] = []
        marks: list[Mark] = []
        size = 0
        for key in accounts:
            rows, mark = self._rows_of(self.accounts[key])
            marks.append(mark)
            if rows is not None:
                blocks.append(rows)
                size += len(rows.last_event_time)
            if size >= ROWS_A_SLICE:
                await self._write(blocks, marks)
                blocks, marks, size = [], [], 0
        await self._write(blocks, marks)

    def _rows_of(self, account: Account) -> tuple[Rows | None, Mark]:
        assert self.as_of is not None
        touched = account.restate(self.as_of)
        version = self.tenure.epoch << 40 | account.count
        mark = Mark(account.id, account.checksum, min(account.first_day, self.as_of + 1), self.as_of, version)
        return account.rows(touched) if touched is not None else None, mark

    async def _write(self, blocks: list[Rows], marks: list[Mark]) -> None:
        if blocks:
            await self._write_rows(blocks, {mark.account: mark.version for mark in marks})
        for mark in marks:
            before = self._marks.get(mark.account)
            if before is not None and before.first_day < min(mark.first_day, before.as_of + 1):
                await self.call(self.sink.add_gone, mark, before.first_day)
        if marks:
            await self.call(self.sink.add_marks, marks)
        for mark in marks:
            self._marks[mark.account] = mark
            self._changed.discard(mark.account)

    async def _write_rows(self, blocks: list[Rows], versions: Mapping[AccountId, int]) -> None:
        columns = snapshot_columns(blocks, lambda account: self.terms_of(account[1]))
        accounts = [block.account for block in blocks]
        sizes = [len(block.last_event_time) for block in blocks]
        rows = snapshot(columns) | {"day": columns["day"]}
        rows["version"] = np.repeat(np.array([versions[account] for account in accounts], dtype=np.uint64), sizes)
        await self.call(self.sink.add_rows, accounts, sizes, rows)
        self.counts["rows"] += len(rows["day"])
        if self.on_rows is not None and self.as_of is not None:
            await self.on_rows(self, Snapshot(accounts, sizes, rows, self.as_of))

    # --- the sink's thread -------------------------------------------------------------------------------

    async def call(self, call: Callable[..., T], *args: Any) -> T:
        """Run a blocking call of the sink; one that is unavailable is tried until it is not, which holds all back.

        Raises CancelledError if the tenure is over before.
        """
        pause, longest = RETRY_S
        while not self.over:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)
            except Unavailable as failed:
                log.warning("%s; trying again in %.1f s", failed, pause)
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                pause = min(2 * pause, longest)
        raise asyncio.CancelledError


def _dead_letter(topic: str, partition: int, record: Any, reason: str, now_ms: int) -> Outgoing:
    about = {
        "reason": reason, "source_topic": topic, "source_partition": partition, "source_offset": record.offset,
        "refused_at": now_ms,
    }  # fmt: skip
    headers = [*record.headers, *((name, str(value).encode()) for name, value in about.items())]
    return Outgoing(f"{topic}.dlq", None, record.key, record.value, headers)


def _rejected(dlq: str, record: Any) -> Rejected:
    """The row of a dead letter. Of a header that comes twice the last one counts: it is ours."""
    said = {name: value.decode("utf-8", "replace") for name, value in record.headers if value is not None}
    return Rejected(
        said.get("source_topic") or dlq.removesuffix(".dlq"),
        _number(said.get("source_partition")),
        _number(said.get("source_offset")),
        said.get("source_file", ""),
        _number(said.get("source_line")),
        said.get("reason", "not said"),
        _number(said.get("refused_at"), record.timestamp),
    )


def _number(text: str | None, otherwise: int = -1) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 16 else otherwise
