"""One account out of the database: its stored events, folded as a worker folds them.

Place in the flow: behind it, reading. What a command needs that looks into one account.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from schemas.errors import SellerpulseError

if TYPE_CHECKING:
    from sink.store import Store
    from streams.core.account import Account
    from streams.settings import Settings


class Opened(NamedTuple):
    """An account brought up to `as_of`, the last day that has a row, and the store that it came from."""

    account: "Account"
    as_of: int
    store: "Store"


@contextmanager
def open_account(
    settings: "Settings",
    seller: str,
    marketplace: str,
    as_of: int | None = None,
    *,
    since: Callable[[int], int | None] = lambda last: None,
) -> Iterator[Opened]:
    """The account as of a day (UTC, a day number), without what happened later; the store is closed afterwards.

    Without `as_of` it has all its events and is as of the database's as-of day. `since` tells by that day from which on
    orders matter, if not all do: what of others would only fill memory is left out. Creates nothing. Raises
    ConfigurationError for a day without a row, SellerpulseError for an account without events or before any row.
    """
    from schemas.errors import ConfigurationError
    from streams.accounts import restore
    from streams.core.metrics import iso
    from streams.core.stories import MS_A_DAY
    from streams.credentials import open_to_read
    from streams.rebuild import as_of_day

    store = open_to_read(settings.clickhouse)
    try:
        last = as_of_day(store)
        key = seller, marketplace
        first_wanted = since(last)
        loaded = store.load([key], since_ms=None if first_wanted is None else max(first_wanted, 0) * MS_A_DAY)
        if as_of is not None:
            until_ms = (as_of + 1) * MS_A_DAY
            loaded = loaded._replace(
                events={topic: [row for row in rows if row[3] < until_ms] for topic, rows in loaded.events.items()}
            )
        account = restore([key], loaded, settings.metrics.terms_of)[key]
        if not account.count and not store.stored([key]):
            raise SellerpulseError(_unknown(store, seller, marketplace))
        day = last if as_of is None else as_of
        if not account.count or day > last or day < account.first_day:
            first = store.stored([key])[key].first_day
            raise ConfigurationError(f"{iso(day)} has no row: this account's are of {iso(first)} to {iso(last)}")
        account.restate(day)
        yield Opened(account, day, store)
    finally:
        store.close()


def _unknown(store: "Store", seller: str, marketplace: str) -> str:
    elsewhere = sorted(market for of, market in store.accounts() if of == seller)
    hint = f": {seller!r} sells on {', '.join(map(repr, elsewhere))}" if elsewhere else ""
    return f"no event is stored of {seller!r} on {marketplace!r}{hint}"
