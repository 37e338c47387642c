"""Rows follow events: what is written of accounts, when, and what tells that it is right.

An account is hot or cold. A hot one is in memory, its rows follow its events at once. A cold one costs no memory: its
events are stored as they come, and its rows lag until the store computes them (`lagging`). For both rows are written
first, then cases, then the account is judged by the alert rules, then marked with the checksum of the events that all
this knows of (`marks`): an account whose mark is not the checksum of its events is found by `Sink.behind`.

Its place in the flow: under the pipeline, which calls all of this while it holds its lock.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from time import perf_counter
from typing import Literal, NamedTuple

import numpy as np

from schemas.rows import AccountId, DailyRows, Mark, OrderId, Standard, Stored
from streams.accounts import HotAccounts, restore
from streams.casework import Tell, restate_cases
from streams.core.account import Account, Rows, snapshot_columns
from streams.core.metrics import FOREVER, Terms, snapshot
from streams.failpoints import reach
from streams.lagging import ROWS_A_SLICE, Computed, Lagging
from streams.marks import Marks, Tenure
from streams.port import Call, Connection, Sink

HEAT_ACCOUNTS = 2_000
FRESH_DAYS = 2  # what is older is past when it comes

# Why an account's rows are written: events, or nothing but the day, since a live worker judged it last; or what is past
# came in bulk, or was there before any live worker.
Cause = Literal["events", "day", "history"]


class Written(NamedTuple):
    """Accounts whose rows are there up to `as_of`, with the version of those; `latest`: that day's, if at hand.

    `causes` tells why, of each account.
    """

    as_of: int
    versions: dict[AccountId, int]
    latest: DailyRows | None
    causes: dict[AccountId, Cause]


class Follower:
    """The accounts of one tenure, hot and cold, and how far their rows are.

    `standard` tells the settings that rows follow, `hot_bytes` is what accounts may take of memory, 0 for none at all.
    Statements that compute rows of cold accounts go by `computing`, the rest by `sink` and `call`.
    `tell` hears of what is new about cases, before it is written; `judge` of accounts whose rows were written, before
    they are marked. `marks_written`: under this epoch.
    """

    def __init__(
        self,
        sink: Sink,
        terms_of: Callable[[str], Terms],
        *,
        tenure: Tenure,
        standard: Standard,
        as_of: int | None,
        hot_bytes: int,
        call: Call,
        computing: Connection,
        tell: Tell,
        judge: Callable[[Written], Awaitable[None]],
        marks_written: int = 0,
    ) -> None:
        self.sink, self.terms_of, self.tenure, self.standard, self.as_of = sink, terms_of, tenure, standard, as_of
        self.hot = HotAccounts(hot_bytes)
        self.changed: set[AccountId] = set()  # hot accounts whose rows are behind what is in memory
        self.marks = Marks(sink, call, tenure=tenure, standard=standard, written=marks_written)
        self.lagging = Lagging(computing, terms_of, tenure=tenure, standard=standard, marks=self.marks)
        self.backfilled: set[AccountId] = set()  # accounts whose past came in bulk since they were judged
        self.counts: Counter[str] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)
        self._call, self._tell, self._judge = call, tell, judge
        self._unsure: set[AccountId] = set()  # hot accounts of which any case may be behind, whatever changed since
        self._marked: dict[AccountId, Mark] = {}  # hot accounts' marks

    # --- all accounts ------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Find the accounts of ours, and what others left behind of them."""
        if self.tenure.owned:
            await self.marks.look()
            await self.lagging.look(self.as_of)

    async def turn(self, as_of: int) -> None:
        """It is another as-of day: all accounts lag."""
        self.as_of = as_of
        self.changed.update(self.hot)
        self._unsure.update(self.hot)  # events of the days between count from now on
        if self.tenure.owned:
            await self.lagging.turn(as_of, self.hot)

    # --- hot accounts ------------------------------------------------------------------------------------

    async def heat(self, touched: Iterable[AccountId]) -> None:
        """Take accounts into memory, as many as a flush has time for; a new one has nothing to load.

        One that lags is settled first: its rows are to be computed anyway.
        """
        cold = []
        self.hot.next_flush()
        for key in touched:
            if key in self.hot:
                self.hot.touch(key)
            elif key in self.marks.first_rows:
                if key not in self.lagging:
                    cold.append(key)
            else:
                self.hot.put(Account(key, self.terms_of(key[1])), FOREVER)
                self.marks.first_rows[key] = FOREVER
        stored = await self._call(self.sink.stored, cold[:HEAT_ACCOUNTS]) if cold and self.hot.has_room() else {}
        for portion in self.hot.light_ones(stored):
            loaded = await self._call(self.sink.load, portion)
            reach("loading")
            for key, account in restore(portion, loaded, self.terms_of).items():
                self._take_in(account, loaded.marks.get(key))
            await self.cool(self.hot.surplus())

    def _take_in(self, account: Account, mark: Mark | None) -> None:
        self.hot.put(account, self.marks.first_rows[account.id])
        if mark is not None:
            self._marked[account.id] = mark
        if mark is not None and mark.checksum == account.checksum and mark.follows(self.standard):
            account.restate(mark.as_of)  # its rows are written: only what changes from here on is news
            if mark.as_of == self.as_of:
                return
        self.changed.add(account.id)
        self._unsure.add(account.id)

    async def cool(self, accounts: Iterable[AccountId]) -> None:
        """Accounts leave memory; if rows of theirs are not written yet, they lag."""
        late = {}
        for key in accounts:
            if key in self.changed:
                self.changed.discard(key)
                late[key] = self.hot.floors[key]
            self._unsure.discard(key)
            self.hot.drop(key)
            self._marked.pop(key, None)
        await self.lagging.add(late)

    async def bury(self, days: Mapping[AccountId, int]) -> None:
        """Hot accounts have events, the earliest on that day, of which some may have given way to those of later days.

        Then the rows before an account's first day are gone. Before that content is stored, because whoever finds it
        alone would not look for such rows; and whether or not we wrote any, because an owner before us still may.
        """
        for key, day in days.items():
            if (account := self.hot.get(key)) is not None:
                floor = min(self.hot.floors[key], day)
                if floor < account.first_day < FOREVER:
                    rows = range(floor, account.first_day)
                    await self._call(self.sink.add_gone, key, rows, self.tenure.version(account.count))
                    floor = account.first_day
                self.hot.floors[key] = floor

    async def restate(self) -> None:
        """Write the rows of hot accounts that changed, a slice at a time."""
        as_of = self.as_of  # one for all of them: the day may turn while this goes on
        assert as_of is not None
        these: list[AccountId] = []
        blocks: list[Rows] = []
        orders: list[OrderId] = []
        size, changed = 0, list(self.changed)
        for n, key in enumerate(changed, 1):
            started, account = perf_counter(), self.hot[key]
            orders += [(*key, order) for order in account.badly_rated()]
            touched = account.restate(as_of)
            rows = account.rows(touched) if touched is not None else None
            self.hot.touch(key)
            self.seconds["restate"] += perf_counter() - started
            await asyncio.sleep(0)  # a large account takes a while, and Faust has other things to do
            these.append(key)
            if rows is not None:
                blocks.append(rows)
                size += len(rows.last_event_time)
            if size >= ROWS_A_SLICE or n == len(changed):
                await self._write(these, blocks, orders, as_of)
                these, blocks, orders, size = [], [], [], 0
        await self.cool(self.hot.surplus())

    async def _write(self, accounts: list[AccountId], blocks: list[Rows], orders: list[OrderId], as_of: int) -> None:
        """Rows of hot accounts, and cases of these orders of theirs; judged, then marked."""
        versions = {key: self.tenure.version(self.hot[key].count) for key in accounts}
        unsure = [key for key in accounts if key in self._unsure]
        latest = await self._write_rows(blocks) if blocks else None
        reach("rows_stored")
        orders = [order for order in orders if order[:2] not in self._unsure]
        await self.marks.claim({*unsure, *(order[:2] for order in orders)})
        await self._write_cases(versions, orders, unsure, as_of)
        if blocks:
            written = {block.account: versions[block.account] for block in blocks}
            known = {key: _in_memory(self.hot[key]) for key in written}
            await self._judge(Written(as_of, written, latest, self._causes(known, self._marked, as_of)))
        await self.bury({key: self.hot[key].first_day for key in accounts})
        marks = await self.marks.write({key: _in_memory(self.hot[key]) for key in accounts}, as_of)
        self._marked |= {mark.account: mark for mark in marks}
        self.changed.difference_update(accounts)
        self._unsure.difference_update(accounts)

    async def _write_rows(self, blocks: list[Rows]) -> DailyRows:
        """Write rows; those of the last day."""
        started = perf_counter()
        columns = snapshot_columns(blocks, lambda account: self.terms_of(account[1]))
        rows = snapshot(columns) | {"day": columns["day"]}
        accounts, sizes = [block.account for block in blocks], [len(block.last_event_time) for block in blocks]
        versions = [self.tenure.version(self.hot[account].count) for account in accounts]
        rows["version"] = np.repeat(np.array(versions, dtype=np.uint64), sizes)
        self.seconds["snapshot"] += perf_counter() - started
        await self._call(self.sink.add_rows, accounts, sizes, rows)
        self.counts["rows"] += len(rows["day"])
        last = np.cumsum(sizes) - 1
        return DailyRows(accounts, [1] * len(accounts), {name: values[last] for name, values in rows.items()})

    # --- cold accounts -----------------------------------------------------------------------------------

    async def settle(self, parts: int = 1, *, goes_on: Callable[[], bool] = lambda: False) -> None:
        """Have rows of lagging accounts computed; judged, then marked.

        Of as many accounts as one statement should compute, one of so many `parts`; then of others, as long as there
        are any and it `goes_on`: the next statement while the accounts before are judged.
        """
        as_of = self.as_of
        assert as_of is not None
        computed = await self.lagging.compute(as_of, parts)
        while computed is not None:
            follows = self.lagging.compute(as_of, parts) if goes_on() else _nothing()
            computed, _ = await asyncio.gather(follows, self._finish(computed, as_of))

    async def _finish(self, computed: Computed, as_of: int) -> None:
        """Rows of cold accounts are written: so are their cases, then they are judged and marked."""
        keys, stored, marks, versions = computed
        if versions:
            reach("rows_stored")
        of_events = {key: self.tenure.version(of.events) for key, of in stored.items()}
        await self.marks.claim(keys, marks)
        await self._write_cases(of_events, [], list(of_events), as_of)
        if versions:
            causes = self._causes({key: stored[key] for key in versions}, marks, as_of)
            await self._judge(Written(as_of, versions, None, causes))
        await self.marks.write(stored, as_of)
        self.lagging.drop(keys)

    # --- both --------------------------------------------------------------------------------------------

    async def _write_cases(
        self, versions: Mapping[AccountId, int], orders: list[OrderId], whole: list[AccountId], as_of: int
    ) -> None:
        """Cases of these orders, and of all orders of `whole` accounts; the accounts are claimed."""
        if orders or whole:
            self.counts["cases"] += await restate_cases(
                self.sink, self._call, self._tell, versions, orders, whole=whole, as_of=as_of
            )
            reach("cases_stored")

    async def known(self, accounts: Iterable[AccountId], since_ms: int) -> dict[AccountId, Account]:
        """Accounts to look at, with all that is troubled about them; those that are cold do not stay in memory.

        Of orders those that have an event, or a promise, at that time (epoch) or later.
        """
        found = {key: account for key in accounts if (account := self.hot.get(key)) is not None}
        if cold := [key for key in accounts if key not in found]:
            loaded = await self._call(partial(self.sink.load, troubled=True, since_ms=since_ms), cold)
            found |= restore(cold, loaded, self.terms_of)
        return found

    def at_rest(self) -> list[AccountId]:
        """Our accounts whose rows are those of all that is stored of them."""
        return [key for key in self.marks.first_rows if key not in self.changed and key not in self.lagging]

    def _causes(
        self, accounts: Mapping[AccountId, Stored], marks: Mapping[AccountId, Mark], as_of: int
    ) -> dict[AccountId, Cause]:
        """Why rows of these accounts are written, with their marks of before; they are being judged."""
        causes = {
            key: "history" if key in self.backfilled else _cause(of, marks.get(key), as_of)
            for key, of in accounts.items()
        }
        self.backfilled.difference_update(accounts)
        return causes


async def _nothing() -> None:
    return None


def _in_memory(account: Account) -> Stored:
    return Stored(account.count, account.checksum, account.first_day)


def _cause(stored: Stored, mark: Mark | None, as_of: int) -> Cause:
    """Why an account's rows are written, by its mark of before: those of a live worker know of no rules."""
    if mark is None or mark.standard.formula == 0:  # nobody ever judged it
        return "events" if stored.first_day >= as_of - FRESH_DAYS else "history"
    if mark.checksum != stored.checksum:
        return "events"
    return "day" if mark.standard.rules == 0 else "history"
