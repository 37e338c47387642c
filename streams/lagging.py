"""Cold accounts: their events are stored as they come, and their rows lag until the store computes them.

Many accounts in one statement, neighbours first; how many is bounded by what the statement reads and writes.

Its place in the flow: under `following`, which has what is computed here judged and marked.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import NamedTuple

from schemas.rows import AccountId, Mark, Standard, Stored
from streams.accounts import HotAccounts
from streams.core.metrics import FOREVER, Terms
from streams.marks import Marks, Tenure
from streams.port import Connection

ROWS_A_SLICE = 400_000
EVENTS_A_SLICE = 600_000  # a statement takes about 1 KB of memory for each
ACCOUNTS_A_SLICE = 10_000


class Lag(NamedTuple):
    """A cold account needs all rows `anew`, or those after its mark; nobody can have written one before `floor`."""

    anew: bool
    floor: int


class Computed(NamedTuple):
    """A slice of cold accounts whose rows were computed: what is stored of them, their marks of before, and the version
    of the rows of each that has any.
    """

    keys: list[AccountId]
    stored: dict[AccountId, Stored]
    marks: dict[AccountId, Mark]
    versions: dict[AccountId, int]


class Lagging:
    """The cold accounts of one tenure whose rows are behind what is stored, the settings or the day."""

    def __init__(
        self,
        computing: Connection,
        terms_of: Callable[[str], Terms],
        *,
        tenure: Tenure,
        standard: Standard,
        marks: Marks,
    ) -> None:
        self.accounts: dict[AccountId, Lag] = {}
        (self._sink, self._call), self._terms_of, self._marks = computing, terms_of, marks
        self._tenure, self._standard = tenure, standard
        self._queue: Iterator[AccountId] = iter(())  # in the order in which they are computed
        self._sizes: dict[AccountId, tuple[int, int]] = {}  # of stored accounts: events, first day
        self.rows = 0  # computed so far
        self._computed: set[AccountId] = set()  # with rows, but not yet marked

    def __len__(self) -> int:
        return len(self.accounts)

    def __contains__(self, key: AccountId) -> bool:
        return key in self.accounts

    # --- who lags ----------------------------------------------------------------------------------------

    async def expect(self, days: Mapping[AccountId, int]) -> None:
        """Cold accounts are about to get events, the earliest on that day: their rows lag, perhaps from the first on.

        For an event may take the place of one that nobody has in memory, of whatever day.
        """
        for key, day in days.items():
            known, noted = self.accounts.get(key), self._marks.first_rows.setdefault(key, FOREVER)
            self.accounts[key] = Lag(True, min(day, known.floor if known else noted))
        await self._note(days)

    async def add(self, floors: Mapping[AccountId, int]) -> None:
        """Accounts left memory before their rows were written, of which none can be before these days."""
        self.accounts |= {key: Lag(True, floor) for key, floor in floors.items()}
        await self._note(floors)

    async def look(self, as_of: int | None) -> None:
        """Find the accounts of ours whose rows lag their events, settings or day: what others left behind."""
        found = await self._call(self._sink.behind, as_of or 0, self._standard, *self._tenure[2:])
        for key, day in found.items():
            self.accounts[key] = Lag(True, min(day, self._marks.first_rows.setdefault(key, FOREVER)))
        await self._note(found)

    async def turn(self, as_of: int, hot: HotAccounts) -> None:
        """It is another as-of day: all that are not hot lag."""
        behind = partial(self._sink.behind, thorough=False)
        for key, day in (await self._call(behind, as_of, self._standard, *self._tenure[2:])).items():
            if key not in hot:
                noted = self._marks.first_rows.setdefault(key, FOREVER)
                self.accounts.setdefault(key, Lag(False, min(day, noted)))

    async def _note(self, accounts: Iterable[AccountId]) -> None:
        await self._marks.note({key: self.accounts[key].floor for key in accounts})

    # --- their rows --------------------------------------------------------------------------------------

    async def compute(self, as_of: int, parts: int) -> Computed | None:
        """Write rows up to that day of as many accounts as one statement should compute, one of so many `parts`.

        They lag until `drop`; None if no others do.
        """
        if not (keys := await self._next_ones(as_of, parts)):
            return None
        self._computed.update(keys)
        stored = await self._call(self._sink.stored, keys)
        marks = await self._call(self._sink.marks, keys)
        return Computed(keys, stored, marks, await self._write(stored, marks, as_of))

    async def _next_ones(self, as_of: int, parts: int) -> list[AccountId]:
        """The accounts of a slice: neighbours, as tables are read by range."""

        def cost(key: AccountId) -> tuple[int, int]:
            events, first_day = self._sizes.get(key, (0, as_of))  # of this moment or before: near enough
            return (as_of + 1 - first_day if self.accounts[key].anew else 1), events

        if not (keys := next_slice((key for key in self._queue if key in self.accounts), cost, parts)):
            if not (keys := [key for key in self.accounts if key not in self._computed]):
                return []
            few = keys if len(keys) <= ACCOUNTS_A_SLICE else None  # else all: quicker asked
            self._sizes = await self._call(partial(self._sink.sizes, among=few), *self._tenure[2:])
            self._queue = iter(sorted(keys, key=lambda key: (self.accounts[key].anew, key)))
            keys = next_slice(self._queue, cost, parts)
        return keys

    async def _write(
        self, stored: Mapping[AccountId, Stored], marks: Mapping[AccountId, Mark], as_of: int
    ) -> dict[AccountId, int]:
        """Write the rows of these accounts; the version of each that has any."""
        for key, of in stored.items():
            if (floor := self.accounts[key].floor) < of.first_day:
                days = range(floor, of.first_day)
                await self._call(self._sink.add_gone, key, days, self._tenure.version(of.events))
        versions = {key: self._tenure.version(of.events) for key, of in stored.items() if of.first_day <= as_of}
        if versions:
            firsts = {key: self._first(key, marks.get(key)) for key in versions}
            await self._compute(firsts, as_of)
            self.rows += sum(as_of + 1 - max(first, stored[key].first_day) for key, first in firsts.items())
        return versions

    def _first(self, key: AccountId, mark: Mark | None) -> int:
        """The day from which an account's rows are to be computed, 0 for all of them."""
        return mark.as_of + 1 if mark and mark.follows(self._standard) and not self.accounts[key].anew else 0

    async def _compute(self, firsts: Mapping[AccountId, int], as_of: int) -> None:
        def alike(key: AccountId) -> tuple[int, bool]:
            return kinds.setdefault(self._terms_of(key[1]), len(kinds)), firsts[key] == 0

        kinds: dict[Terms, int] = {}
        for _, group in groupby(sorted(firsts, key=alike), alike):
            accounts = sorted(group)
            first = min(firsts[key] for key in accounts)
            if first <= as_of:
                terms = self._terms_of(accounts[0][1])
                recompute = partial(self._sink.recompute, first=first, as_of=as_of, epoch=self._tenure.epoch)
                await self._call(recompute, accounts, terms)

    def drop(self, accounts: Iterable[AccountId]) -> None:
        """Their rows are written and marked."""
        for key in accounts:
            del self.accounts[key]
        self._computed.difference_update(accounts)
        if not self.accounts:
            self._sizes = {}  # of all accounts there are


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
