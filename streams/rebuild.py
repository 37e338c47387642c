"""Rows computed anew from the stored events: after a change of settings, or to see whether they are right.

The same statement as for accounts that a worker leaves cold, slice by slice, each marked when it is done: a rebuild
that was interrupted goes on where it stopped. It may run beside workers: rows and marks are written under the epoch of
the worker that wrote the account last, so what that one writes later outranks them.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from schemas.errors import SellerpulseError
from schemas.rows import EPOCH_BITS, AccountId, Mark, Standard
from streams.accounts import first_row
from streams.core.metrics import Terms
from streams.following import Follower, Lag, Tenure, Written, next_slice
from streams.port import Sink

_EVERYTHING = frozenset((0,))  # partitions, of one

T = TypeVar("T")
Progress = Callable[[int, int], None]


class Store(Sink, Protocol):
    """What a rebuild needs of a store beside what a pipeline does. Calls block."""

    def as_of(self) -> int | None:
        """The as-of day, None before there is one."""

    def differing(self, accounts: list[AccountId], terms: Terms, *, as_of: int) -> dict[AccountId, int]:
        """Of these accounts those with rows other than their stored events give, with the number of them."""


def rebuild(store: Store, terms_of: Callable[[str], Terms], standard: Standard, progress: Progress) -> int:
    """Bring all rows up to date with the stored events and these settings; of how many accounts that took.

    `progress` hears of accounts done, of how many. Raises SellerpulseError before there is an as-of day.
    """
    as_of = _as_of(store)
    lagging = store.behind(as_of, standard, 1, _EVERYTHING, thorough=True)
    marks = store.marks(list(lagging))
    done = 0
    for epoch, accounts in _by_epoch(lagging, marks).items():
        written = max((mark.version & (1 << EPOCH_BITS) - 1 for key in accounts if (mark := marks.get(key))), default=0)
        follower = Follower(
            store, terms_of, tenure=Tenure(0, epoch, 1, _EVERYTHING), standard=standard, as_of=as_of, hot_bytes=0,
            call=_at_once, judge=_by_nobody, marks_written=written,
        )  # fmt: skip
        follower.lagging = {key: Lag(True, min(lagging[key], first_row(marks.get(key)))) for key in accounts}
        while follower.lagging:
            progress(done, len(lagging))
            before = len(follower.lagging)
            asyncio.run(follower.settle())
            done += before - len(follower.lagging)
    progress(done, len(lagging))
    return done


def differing(store: Store, terms_of: Callable[[str], Terms], progress: Progress) -> dict[AccountId, int]:
    """Accounts whose rows are other than the stored events give, each with the number of those rows; writes nothing."""
    as_of = _as_of(store)
    sizes = store.sizes(1, _EVERYTHING, among=None)

    def cost(key: AccountId) -> tuple[int, int]:
        events, first_day = sizes[key]
        return as_of + 1 - first_day, events

    accounts, done = iter(sorted(sizes)), 0
    found: dict[AccountId, int] = {}
    while these := next_slice(accounts, cost):
        progress(done, len(sizes))
        for terms in {terms_of(marketplace) for _, marketplace in these}:
            found |= store.differing([key for key in these if terms_of(key[1]) == terms], terms, as_of=as_of)
        done += len(these)
    progress(done, len(sizes))
    return found


def _as_of(store: Store) -> int:
    as_of = store.as_of()
    if as_of is None:
        raise SellerpulseError("there are no rows yet: no worker or replay has written any")
    return as_of


def _by_epoch(accounts: Iterable[AccountId], marks: dict[AccountId, Mark]) -> dict[int, list[AccountId]]:
    found: dict[int, list[AccountId]] = {}
    for key in accounts:
        mark = marks.get(key)
        found.setdefault(mark.version >> EPOCH_BITS if mark else 0, []).append(key)
    return found


async def _at_once(call: Callable[..., T], *args: Any) -> T:
    return call(*args)


async def _by_nobody(_: Written) -> None:
    """Alerts are the workers' and the replays' business."""
