"""Accounts in memory: what the event tables hold, as stories and calendars. A cache: everything can be loaded again."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from schemas.events import TOPICS
from schemas.rows import AccountId, Loaded, Mark, Stored
from streams.core.account import Account, bytes_of
from streams.core.metrics import FOREVER, Terms
from streams.core.stories import FACT_OF_TOPIC, AnyFact

HEAT_EVENTS = 200_000  # stored events that a flush has time to load
LOAD_EVENTS = 50_000  # in one go: rows, facts and stories of them are in memory at once
IDLE_FLUSHES = 100  # an account that none of the last ones touched makes room for another


class HotAccounts:
    """Accounts in memory, of which the one touched longest ago goes first when they outgrow a budget of bytes.

    With each account the day before which nobody can have written a row of it.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.bytes = 0
        self.floors: dict[AccountId, int] = {}
        self._accounts: dict[AccountId, Account] = {}  # those touched last are last
        self._sizes: dict[AccountId, int] = {}
        self._flush = 0
        self._used: dict[AccountId, int] = {}  # the flush that touched it last

    def next_flush(self) -> None:
        """What is touched from here on is touched by another flush."""
        self._flush += 1

    def room(self) -> int:
        """Bytes that others may take: what is free, and what is idle.

        Were accounts in use put out for others in use, all of them would come and go, and none be there when wanted.
        """
        room = self.budget - self.bytes
        for key, used in self._used.items():
            if used > self._flush - IDLE_FLUSHES or room >= self.budget:
                break
            room += self._sizes[key]
        return room

    def has_room(self) -> bool:
        """Whether others may come; of whatever size, if none is here."""
        return self.room() > 0 or not self._accounts

    def light_ones(self, stored: Mapping[AccountId, Stored]) -> list[list[AccountId]]:
        """Those with the fewest events, until they are enough for a flush, in portions that take little memory."""
        room = self.room()
        chosen: defaultdict[int, list[AccountId]] = defaultdict(list)
        events = 0
        for key in sorted(stored, key=lambda key: stored[key].events):
            events += stored[key].events
            room -= bytes_of(stored[key].events, stored[key].events)  # about a day with steps for each
            if events > HEAT_EVENTS or (room < 0 and (chosen or self._accounts)):
                break
            chosen[events // LOAD_EVENTS].append(key)
        return list(chosen.values())

    def put(self, account: Account, first_row: int) -> None:
        """One more account, with the first day that has a row as far as is noted."""
        key = account.id
        self._accounts[key] = account
        self.floors[key] = min(account.first_day, first_row)
        self._sizes[key] = 0
        self.touch(key)

    def touch(self, key: AccountId) -> None:
        """The account was used: it is the last to go, and its size may be another."""
        account = self._accounts[key] = self._accounts.pop(key)
        self._used.pop(key, None)
        self._used[key] = self._flush
        size = account.bytes
        self.bytes += size - self._sizes[key]
        self._sizes[key] = size

    def drop(self, key: AccountId) -> None:
        """The account leaves memory."""
        del self._accounts[key], self.floors[key], self._used[key]
        self.bytes -= self._sizes.pop(key)

    def surplus(self) -> Iterator[AccountId]:
        """Accounts to drop, one by one, until the rest is within the budget."""
        for key in list(self._accounts):
            if self.bytes <= self.budget:
                return
            yield key

    def __getitem__(self, key: AccountId) -> Account:
        return self._accounts[key]

    def get(self, key: AccountId) -> Account | None:
        """The account, None if it is not in memory."""
        return self._accounts.get(key)

    def __contains__(self, key: AccountId) -> bool:
        return key in self._accounts

    def __iter__(self) -> Iterator[AccountId]:
        return iter(list(self._accounts))

    def __len__(self) -> int:
        return len(self._accounts)


def first_row(mark: Mark | None) -> int:
    """The first day that has a row, as far as a mark tells."""
    return mark.first_day if mark is not None and mark.first_day <= mark.as_of else FOREVER


def restore(
    accounts: Iterable[AccountId], loaded: Loaded, terms_of: Callable[[str], Terms]
) -> dict[AccountId, Account]:
    """These accounts with the events that are stored of them, none for a new one; not yet restated.

    `terms_of` gives the terms of a marketplace.
    """
    restored = {account: Account(account, terms_of(account[1])) for account in accounts}
    for topic in TOPICS:
        for seller, marketplace, subject, *fields in loaded.events[topic]:
            restored[seller, marketplace].add(subject, _fact(topic, fields))
    return restored


def _fact(topic: str, fields: list[object]) -> AnyFact:
    if topic == "feedback":
        *first, on_time, as_described, service, source = fields
        answers = (on_time, as_described, service)
        fields = [*first, answers if answers != (None, None, None) else None, source]
    return FACT_OF_TOPIC[topic]._make(fields)
