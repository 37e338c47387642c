"""One account out of the database: its stored events, folded as a worker folds them.

Place in the flow: behind it, reading. What answers need that look into one account.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from schemas.errors import ConfigurationError, SellerpulseError
from schemas.rows import AccountId
from streams.accounts import restore
from streams.core.account import Account
from streams.core.metrics import Terms, iso
from streams.core.stories import MS_A_DAY
from streams.credentials import open_to_read
from streams.port import as_of_day

if TYPE_CHECKING:
    from sink.store import Store
    from streams.settings import Settings


class Unknown(SellerpulseError):
    """Nothing is stored of what is asked about."""


class TooLarge(SellerpulseError):
    """An account has more events than whoever asks has time for."""


class Opened(NamedTuple):
    """An account brought up to `as_of`, the last day that has a row, and the store that it came from."""

    account: Account
    as_of: int
    store: "Store"

    def day_of(self, asked: int | None, last: int) -> int:
        """The day that is asked for, else the `last`. Raises ConfigurationError if it is none of the account's."""
        first = self.account.first_day
        if asked is not None and not first <= asked <= last:
            raise ConfigurationError(
                f"{iso(asked)} is not among the days that can be asked for, {iso(first)} to {iso(last)}"
            )
        return last if asked is None else asked


@contextmanager
def open_account(
    settings: "Settings",
    seller: str,
    marketplace: str,
    *,
    since: Callable[[int], int | None] = lambda last: None,
) -> Iterator[Opened]:
    """The account as `read_account` gives it; the store is closed afterwards. Creates nothing."""
    store = open_to_read(settings.clickhouse)
    try:
        yield read_account(store, settings.terms_of, seller, marketplace, since=since)
    finally:
        store.close()


def read_account(
    store: "Store",
    terms_of: Callable[[str], Terms],
    seller: str,
    marketplace: str,
    *,
    since: Callable[[int], int | None] = lambda last: None,
    most: int | None = None,
) -> Opened:
    """The account with all its events, as of the database's as-of day.

    `since` tells by that day from which on orders matter, if not all do: what of others would only fill memory is left
    out. Raises Unknown for an account without events, TooLarge for one with more than `most` events, ConfigurationError
    for one without a row yet, SellerpulseError before any row.
    """
    last, key = as_of_day(store), (seller, marketplace)
    if most is not None and (events := events_of(store, key)) > most:
        raise TooLarge(f"the account has {events:,} events, more than the {most:,} that are looked into here")
    first_wanted = since(last)
    loaded = store.load([key], since_ms=None if first_wanted is None else max(first_wanted, 0) * MS_A_DAY)
    account = restore([key], loaded, terms_of)[key]
    if not account.count and not store.stored([key]):
        raise Unknown(_unknown(store, seller, marketplace))
    if not account.count or last < account.first_day:
        first = store.stored([key])[key].first_day
        raise ConfigurationError(f"{iso(last)} has no row: this account's are of {iso(first)} to {iso(last)}")
    account.restate(last)
    return Opened(account, last, store)


def events_of(store: "Store", account: AccountId) -> int:
    """How many events are stored of an account, one that came twice perhaps twice. Raises Unknown if none is."""
    events, _ = store.sizes(among=[account]).get(account, (0, 0))
    if not events:
        raise Unknown(f"no event is stored of {account[0]!r} on {account[1]!r}")
    return events


def _unknown(store: "Store", seller: str, marketplace: str) -> str:
    elsewhere = sorted(market for of, market in store.accounts() if of == seller)
    hint = f": {seller!r} sells on {', '.join(map(repr, elsewhere))}" if elsewhere else ""
    return f"no event is stored of {seller!r} on {marketplace!r}{hint}"
