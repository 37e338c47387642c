"""Rows follow events: what is written of accounts, when, and what tells that it is right.

An account is hot or cold. A hot one is in memory, its rows follow its events at once. A cold one costs no memory: its
events are stored as they come, and its rows lag until the store computes them, many accounts in one statement. Rows are
written first, then the account is judged by the alert rules, then marked with the checksum of the events that its rows
know of; an account whose mark is not the checksum of its events is found by `Sink.behind`.

Its place in the flow: under the pipeline, which calls all of this while it holds its lock.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import count, groupby
from time import perf_counter
from typing import Literal, NamedTuple

import numpy as np

from schemas.rows import EPOCH_BITS, AccountId, DailyRows, Mark, OrderId, Standard, Stored
from streams.accounts import HotAccounts, first_row, restore
from streams.casework import Tell, restate_cases
from streams.core.account import Account, Rows, bytes_of, snapshot_columns
from streams.core.metrics import FOREVER, Terms, snapshot
from streams.failpoints import reach
from streams.port import Call, Sink

HEAT_EVENTS = 200_000  # stored events that a flush has time to load
LOAD_EVENTS = 50_000  # in one go: rows, facts and stories of them are in memory at once
HEAT_ACCOUNTS = 2_000
FRESH_DAYS = 2  # what is older is past when it comes
ROWS_A_SLICE = 400_000
EVENTS_A_SLICE = 600_000  # a statement takes about 1 KB of memory for each
ACCOUNTS_A_SLICE = 10_000


class Tenure(NamedTuple):
    """Partitions given to a worker, from an assignment to the next: these, of so many, under this fencing epoch."""

    generation: int
    epoch: int
    partitions: int
    owned: frozenset[int]


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


class Lag(NamedTuple):
    """A cold account needs all rows `anew`, or those after its mark; nobody can have written one before `floor`."""

    anew: bool
    floor: int


class Follower:
    """The accounts of one tenure, hot and cold, and how far their rows are.

    `standard` tells the settings that rows follow, `hot_bytes` is what accounts may take of memory, 0 for none at all.
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
        tell: Tell,
        judge: Callable[[Written], Awaitable[None]],
        marks_written: int = 0,
    ) -> None:
        self.sink, self.terms_of, self.tenure, self.standard, self.as_of = sink, terms_of, tenure, standard, as_of
        self.hot = HotAccounts(hot_bytes)
        self.changed: set[AccountId] = set()  # hot accounts whose rows are behind what is in memory
        self.lagging: dict[AccountId, Lag] = {}  # cold accounts whose rows are behind what is stored
        self.backfilled: set[AccountId] = set()  # accounts whose past came in bulk since they were judged
        self.counts: Counter[str] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)
        self._call, self._tell, self._judge = call, tell, judge
        self._first_rows: dict[AccountId, int] = {}  # of stored accounts: the first day of a row, as far as is noted
        self._queue: Iterator[AccountId] = iter(())  # lagging ones, in the order in which they are settled
        self._sizes: dict[AccountId, tuple[int, int]] = {}  # of stored accounts: events, first day
        self._unsure: set[AccountId] = set()  # hot accounts of which any case may be behind, whatever changed since
        self._claimed: set[AccountId] = set()  # marked under this epoch
        self._marks_written = count(marks_written + 1)
        self._marked: dict[AccountId, Mark] = {}  # hot accounts' marks

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
            elif key in self._first_rows:
                if key not in self.lagging:
                    cold.append(key)
            else:
                self.hot.put(Account(key, self.terms_of(key[1])), FOREVER)
                self._first_rows[key] = FOREVER
        for portion in await self._light_ones(cold[:HEAT_ACCOUNTS]) if cold else ():
            loaded = await self._call(self.sink.load, portion)
            reach("loading")
            for key, account in restore(portion, loaded, self.terms_of).items():
                self._take_in(account, loaded.marks.get(key))
            await self.cool(self.hot.surplus())

    async def _light_ones(self, accounts: list[AccountId]) -> list[list[AccountId]]:
        """Those with the fewest events, until they are enough for a flush, in portions that take little memory."""
        room, nothing_is_hot = self.hot.room(), not len(self.hot)
        if room <= 0 and not nothing_is_hot:
            return []
        stored = await self._call(self.sink.stored, accounts)
        chosen: defaultdict[int, list[AccountId]] = defaultdict(list)
        events = 0
        for key in sorted(stored, key=lambda key: stored[key].events):
            events += stored[key].events
            room -= bytes_of(stored[key].events, stored[key].events)  # about a day with steps for each
            if events > HEAT_EVENTS or (room < 0 and (chosen or not nothing_is_hot)):
                break
            chosen[events // LOAD_EVENTS].append(key)
        return list(chosen.values())

    def _take_in(self, account: Account, mark: Mark | None) -> None:
        self.hot.put(account, self._first_rows[account.id])
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
        late = []
        for key in accounts:
            if key in self.changed:
                self.changed.discard(key)
                self.lagging[key] = Lag(True, self.hot.floors[key])
                late.append(key)
            self._unsure.discard(key)
            self.hot.drop(key)
            self._marked.pop(key, None)
        await self._note_floors(late)

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
                    await self._call(self.sink.add_gone, key, rows, self._version(account.count))
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
        versions = {key: self._version(self.hot[key].count) for key in accounts}
        unsure = [key for key in accounts if key in self._unsure]
        latest = await self._write_rows(blocks) if blocks else None
        reach("rows_stored")
        orders = [order for order in orders if order[:2] not in self._unsure]
        await self._claim({*unsure, *(order[:2] for order in orders)})
        await self._write_cases(versions, orders, unsure, as_of)
        if blocks:
            written = {block.account: versions[block.account] for block in blocks}
            known = {key: _in_memory(self.hot[key]) for key in written}
            await self._judge(Written(as_of, written, latest, self._causes(known, self._marked, as_of)))
        await self.bury({key: self.hot[key].first_day for key in accounts})
        marks = await self._mark({key: _in_memory(self.hot[key]) for key in accounts}, as_of)
        self._marked |= {mark.account: mark for mark in marks}
        self.changed.difference_update(accounts)
        self._unsure.difference_update(accounts)

    async def _write_rows(self, blocks: list[Rows]) -> DailyRows:
        """Write rows; those of the last day."""
        started = perf_counter()
        columns = snapshot_columns(blocks, lambda account: self.terms_of(account[1]))
        rows = snapshot(columns) | {"day": columns["day"]}
        accounts, sizes = [block.account for block in blocks], [len(block.last_event_time) for block in blocks]
        versions = [self._version(self.hot[account].count) for account in accounts]
        rows["version"] = np.repeat(np.array(versions, dtype=np.uint64), sizes)
        self.seconds["snapshot"] += perf_counter() - started
        await self._call(self.sink.add_rows, accounts, sizes, rows)
        self.counts["rows"] += len(rows["day"])
        last = np.cumsum(sizes) - 1
        return DailyRows(accounts, [1] * len(accounts), {name: values[last] for name, values in rows.items()})

    # --- cold accounts -----------------------------------------------------------------------------------

    async def lag(self, days: Mapping[AccountId, int]) -> None:
        """Cold accounts are about to get events, the earliest on that day: their rows lag, perhaps from the first on.

        For an event may take the place of one that nobody has in memory, of whatever day.
        """
        for key, day in days.items():
            known, noted = self.lagging.get(key), self._first_rows.setdefault(key, FOREVER)
            self.lagging[key] = Lag(True, min(day, known.floor if known else noted))
        await self._note_floors(days)

    async def _note_floors(self, accounts: Iterable[AccountId]) -> None:
        """Where rows may begin earlier than the sink knows, tell it: by a mark of no checksum.

        Should the event of such a day give way to another, whoever comes after a crash would not look for its rows.
        """
        version, nothing = self._next_mark(), Standard(0)
        floors = {key: self.lagging[key].floor for key in accounts}
        lower = {key: floor for key, floor in floors.items() if floor < self._first_rows[key]}
        if lower:
            await self._call(
                self.sink.add_marks, [Mark(key, 0, nothing, day, day, version) for key, day in lower.items()]
            )
            self._first_rows |= lower

    async def look(self) -> None:
        """Find the accounts of ours whose rows lag their events, settings or day: what others left behind."""
        if self.tenure.owned:
            known = await self._call(self.sink.accounts, *self.tenure[2:])
            self._first_rows = {key: FOREVER if day is None else day for key, day in known.items()}
            found = await self._call(self.sink.behind, self.as_of or 0, self.standard, *self.tenure[2:])
            for key, day in found.items():
                self.lagging[key] = Lag(True, min(day, self._first_rows.setdefault(key, FOREVER)))
            await self._note_floors(found)

    async def turn(self, as_of: int) -> None:
        """It is another as-of day: all accounts lag."""
        self.as_of = as_of
        self.changed.update(self.hot)
        self._unsure.update(self.hot)  # events of the days between count from now on
        if self.tenure.owned:
            behind = partial(self.sink.behind, thorough=False)
            for key, day in (await self._call(behind, as_of, self.standard, *self.tenure[2:])).items():
                if key not in self.hot:
                    noted = self._first_rows.setdefault(key, FOREVER)
                    self.lagging.setdefault(key, Lag(False, min(day, noted)))

    async def settle(self, parts: int = 1) -> None:
        """Have rows of lagging accounts computed; judged, then marked.

        Of as many accounts as one statement should compute, one of so many `parts`.
        """
        as_of = self.as_of
        assert as_of is not None
        keys = await self._next_ones(as_of, parts)
        stored = await self._call(self.sink.stored, keys)
        marks = await self._call(self.sink.marks, keys)
        for key in keys:
            floor = self.lagging[key].floor
            if floor < stored[key].first_day:
                days = range(floor, stored[key].first_day)
                await self._call(self.sink.add_gone, key, days, self._version(stored[key].events))
        versions = {key: self._version(stored[key].events) for key in keys if stored[key].first_day <= as_of}
        if versions:
            await self._compute({key: self._first(key, marks.get(key)) for key in versions}, as_of)
            reach("rows_stored")
        of_events = {key: self._version(of.events) for key, of in stored.items()}
        await self._claim(keys, marks)
        await self._write_cases(of_events, [], list(of_events), as_of)
        if versions:
            causes = self._causes({key: stored[key] for key in versions}, marks, as_of)
            await self._judge(Written(as_of, versions, None, causes))
        await self._mark(stored, as_of)
        for key in keys:
            del self.lagging[key]
        if not self.lagging:
            self._sizes = {}  # of all accounts there are

    async def _next_ones(self, as_of: int, parts: int) -> list[AccountId]:
        """Lagging accounts, as many as make a slice: neighbours, as tables are read by range."""

        def cost(key: AccountId) -> tuple[int, int]:
            events, first_day = self._sizes.get(key, (0, as_of))  # of this moment or before: near enough
            return (as_of + 1 - first_day if self.lagging[key].anew else 1), events

        if not (keys := next_slice((key for key in self._queue if key in self.lagging), cost, parts)):
            few = list(self.lagging) if len(self.lagging) <= ACCOUNTS_A_SLICE else None  # else all: quicker asked
            self._sizes = await self._call(partial(self.sink.sizes, among=few), *self.tenure[2:])
            self._queue = iter(sorted(self.lagging, key=lambda key: (self.lagging[key].anew, key)))
            keys = next_slice(self._queue, cost, parts)
        return keys

    def _first(self, key: AccountId, mark: Mark | None) -> int:
        """The day from which an account's rows are to be computed, 0 for all of them."""
        return mark.as_of + 1 if mark and mark.follows(self.standard) and not self.lagging[key].anew else 0

    async def _compute(self, firsts: Mapping[AccountId, int], as_of: int) -> None:
        def alike(key: AccountId) -> tuple[int, bool]:
            return kinds.setdefault(self.terms_of(key[1]), len(kinds)), firsts[key] == 0

        kinds: dict[Terms, int] = {}
        for _, group in groupby(sorted(firsts, key=alike), alike):
            accounts = sorted(group)
            first = min(firsts[key] for key in accounts)
            if first <= as_of:
                terms = self.terms_of(accounts[0][1])
                recompute = partial(self.sink.recompute, first=first, as_of=as_of, epoch=self.tenure.epoch)
                await self._call(recompute, accounts, terms)

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

    async def _claim(self, accounts: Iterable[AccountId], marks: Mapping[AccountId, Mark] | None = None) -> None:
        """Mark accounts as ours, by the mark that they have, before we look at their cases.

        What an owner before us writes of cases after that is not taken, and what it wrote before is seen, though the
        events that it knew may have given way to others.
        """
        if theirs := [key for key in accounts if key not in self._claimed]:
            marks = await self._call(self.sink.marks, theirs) if marks is None else marks
            none = Mark(("", ""), 0, Standard(0), 1, 0, 0)
            of_others = [key for key in theirs if marks.get(key, none).version >> EPOCH_BITS != self.tenure.epoch]
            ours = [marks.get(key, none)._replace(account=key, version=self._next_mark()) for key in of_others]
            await self._call(self.sink.add_marks, ours)
            self._claimed.update(theirs)

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
        return [key for key in self._first_rows if key not in self.changed and key not in self.lagging]

    def _version(self, events: int) -> int:
        """The version of rows written now: fencing epoch, then number of accepted events. The greatest stands."""
        return self.tenure.epoch << EPOCH_BITS | events

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

    async def _mark(self, accounts: Mapping[AccountId, Stored], as_of: int) -> list[Mark]:
        """Note that all rows of these accounts up to that day are those of so many events."""
        marks = [
            Mark(key, of.checksum, self.standard, min(of.first_day, as_of + 1), as_of, self._next_mark())
            for key, of in accounts.items()
        ]
        await self._call(self.sink.add_marks, marks)
        self._first_rows |= {mark.account: first_row(mark) for mark in marks}
        self._claimed.update(accounts)
        return marks

    def _next_mark(self) -> int:
        return self.tenure.epoch << EPOCH_BITS | next(self._marks_written)


def _in_memory(account: Account) -> Stored:
    return Stored(account.count, account.checksum, account.first_day)


def _cause(stored: Stored, mark: Mark | None, as_of: int) -> Cause:
    """Why an account's rows are written, by its mark of before: those of a live worker know of no rules."""
    if mark is None or mark.standard.formula == 0:  # nobody ever judged it
        return "events" if stored.first_day >= as_of - FRESH_DAYS else "history"
    if mark.checksum != stored.checksum:
        return "events"
    return "day" if mark.standard.rules == 0 else "history"


def next_slice(
    keys: Iterator[AccountId], cost: Callable[[AccountId], tuple[int, int]], parts: int = 1
) -> list[AccountId]:
    """Of accounts the next ones: of as many as one statement should compute, one of so many `parts`.

    `cost`: how many rows, of how many events.
    """
    these: list[AccountId] = []
    rows = events = 0
    for key in keys:
        these.append(key)
        more_rows, more_events = cost(key)
        rows, events = rows + parts * more_rows, events + parts * more_events
        if parts * len(these) >= ACCOUNTS_A_SLICE or rows >= ROWS_A_SLICE or events >= EVENTS_A_SLICE:
            break
    return these
